"""The purchase: one transaction that decides a list of purchases and cancellations of one product and sells exactly its
stock.

Every rival writes the product's inventory row, and the first committer wins: what this transaction read, the
held units and the orders of the same ids among it, is as safe as what it wrote.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from api.database.database import Database
from api.database.errors import Conflict, OutcomeUnknown
from api.database.pool import TRANSACTION_TIMEOUT, Transaction
from api.drops.errors import DropError, Forbidden, IdempotencyKeyReused, NotFound
from api.drops.limits import checked_text, checked_units
from api.drops.orders import SELECT_ORDERS, Cancellation, Order, OrderStatus, order_of
from api.drops.products import SELECT_PRODUCTS, Product, product_of
from api.drops.stock import StockLevel

_ORDER_NAMESPACE = uuid.UUID("5b0a1d5e-0f5c-5b43-9d0e-7c1f6a2e8d34")
"""Never to change: the ids of all orders placed under a key derive from it."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a buyer asks for. The order's id is known before it exists, so that it can be found again."""

    order_id: UUID
    product_id: UUID
    user_ref: str
    quantity: int

    @classmethod
    def checked(
        cls, *, product_id: UUID, user_ref: str, quantity: int, idempotency_key: str | None = None
    ) -> "Purchase":
        """Raises InvalidInput."""
        user_ref = checked_text("userRef", user_ref)
        checked_units("quantity", quantity, least=1)
        if idempotency_key is None:
            return cls(uuid.uuid4(), product_id, user_ref, quantity)
        idempotency_key = checked_text("idempotencyKey", idempotency_key)
        # The length keeps ("ab", "c") apart from ("a", "bc").
        name = f"{product_id}:{len(user_ref)}:{user_ref}:{idempotency_key}"
        return cls(uuid.uuid5(_ORDER_NAMESPACE, name), product_id, user_ref, quantity)

    def confirmed(self, region: str, created_at: datetime) -> Order:
        """The order that this purchase becomes when it is confirmed through `region`."""
        status = OrderStatus.CONFIRMED
        return Order(self.order_id, self.product_id, self.user_ref, self.quantity, status, region, created_at)


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """An order that is to be cancelled, its product, and the buyer who asks; None for the operator."""

    order_id: UUID
    product_id: UUID
    user_ref: str | None


Request: TypeAlias = Purchase | CancelRequest


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Sold. `remaining` units were left right after it, and perhaps fewer in the `product` as the transaction leaves
    it; `replayed` when an earlier request under the same key bought them."""

    order: Order
    product: Product
    remaining: int
    replayed: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """An earlier request under the same key bought the `order`, which has been cancelled since. Nothing was bought
    again; the `product` is as it was read."""

    order: Order
    product: Product


@dataclass(frozen=True, slots=True)
class SoldOut:
    """Fewer units are left than were asked for: `remaining`."""

    remaining: int


@dataclass(frozen=True, slots=True)
class NotOpen:
    """The drop opens at `opens_at`, by the database's clock."""

    opens_at: datetime


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The buyer holds `held` confirmed units of at most `limit`, and asked for more than the difference."""

    limit: int
    held: int


Decision: TypeAlias = Confirmed | Cancelled | SoldOut | NotOpen | LimitReached | Cancellation | DropError


@dataclass(frozen=True, slots=True)
class Decisions:
    """One decision per request, in their order, made through `region`; `level` is the stock they left, None if they
    changed nothing."""

    decisions: list[Decision]
    region: str
    level: StockLevel | None


class SaleFailed(Exception):
    """The transaction changed nothing; or, if `error` is OutcomeUnknown, nobody knows whether it did.

    `error`: what it ended with, at the endpoint of `region`.
    `settled`: the decisions of those requests, by their position, that this transaction was to write nothing for, since
    what they ask for had been stored before. They hold whatever became of this transaction.
    `unknown`: the orders that a COMMIT of unknown outcome was to write, and `unknown_cancelled` those that it was to
    cancel.
    """

    def __init__(
        self,
        error: Exception,
        region: str,
        settled: Mapping[int, Decision],
        unknown: Sequence[Order],
        unknown_cancelled: Sequence[Order],
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.region = region
        self.settled = settled
        self.unknown = unknown
        self.unknown_cancelled = unknown_cancelled


_READ_PRODUCT = f"SELECT now() AS now, product.* FROM ({SELECT_PRODUCTS} WHERE products.id = $1) AS product"
_READ_ORDERS = f"{SELECT_ORDERS} WHERE id = ANY($1::text[]::uuid[])"
_READ_HELD = """
SELECT user_ref, coalesce(sum(quantity) FILTER (WHERE status = 'CONFIRMED'), 0) AS held
FROM orders WHERE user_ref = ANY($2::text[]) AND product_id = $1 GROUP BY user_ref
"""
_TAKE_UNITS = """
UPDATE inventory SET stock = stock - $2, version = version + 1 WHERE product_id = $1 AND stock >= $2
RETURNING stock, version
"""
_INSERT_ORDERS = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region)
SELECT batch.id, $1, batch.user_ref, batch.quantity, 'CONFIRMED', $2
FROM unnest($3::text[]::uuid[], $4::text[], $5::text[]::integer[]) AS batch (id, user_ref, quantity)
"""
_CANCEL_ORDERS = """
UPDATE orders SET status = 'CANCELLED' WHERE id = ANY($1::text[]::uuid[]) AND status = 'CONFIRMED' RETURNING id
"""


async def execute_requests(
    database: Database, product_id: UUID, requests: Sequence[Request], timeout: float = TRANSACTION_TIMEOUT
) -> Decisions:
    """Decide all requests, which are of this one product, in one transaction: all of it or nothing.

    `timeout` in seconds, up to the COMMIT. Raises SaleFailed, with the Conflict, Unavailable or OutcomeUnknown after
    which it is to be run again, or with what shows that one of the requests can never be carried out.
    """
    region = database.region  # by the time of an error it can be another's
    stored: dict[UUID, Order] = {}
    sale: Sale | None = None
    try:
        async with database.begin(timeout) as transaction:
            region = transaction.region
            row = await transaction.fetchrow(_READ_PRODUCT, product_id)
            if row is None:
                missing = [NotFound(f"there is no product {product_id}") for _ in requests]
                return Decisions([*missing], region, None)
            product = product_of(row)
            stored = await _read_orders(transaction, requests)
            held = await _read_held(transaction, product, requests)

            sale = Sale(row["now"], product, stored, held, region)
            for request in requests:
                sale.decide(request)
            if not sale.confirmed and not sale.cancelled:
                return Decisions(sale.decisions, region, None)  # rolled back: a read conflicts with nobody

            level = await _take_units(transaction, product_id, product.stock - sale.stock)
            await _insert_orders(transaction, product_id, sale.confirmed)
            await _cancel_orders(transaction, sale.cancelled)
            await transaction.commit()
            left = replace(product, stock=level.stock, version=level.version)
            return Decisions([_with_product(decision, left) for decision in sale.decisions], region, level)
    except Exception as error:
        # It can have failed before there were any decisions.
        decisions = [] if sale is None else sale.decisions
        settled = {
            position: _as_read(decision)
            for position, (request, decision) in enumerate(zip(requests, decisions, strict=False))
            if request.order_id in stored and not (isinstance(decision, Cancellation) and decision.first)
        }
        unknown = sale if isinstance(error, OutcomeUnknown) else None
        confirmed, cancelled = ((), ()) if unknown is None else (unknown.confirmed, unknown.cancelled)
        raise SaleFailed(error, region, settled, confirmed, cancelled) from error


class Sale:
    """Decides each request by itself, first come first served, against one snapshot of the database.

    What was decided for one request counts for those behind it: its units, its buyer's held units, its order.
    """

    def __init__(
        self, now: datetime, product: Product, orders: Mapping[UUID, Order], held: Mapping[str, int], region: str
    ) -> None:
        """`orders` by their ids, and `held` units by buyer, as they are stored."""
        self._now = now
        self._product = product
        self._orders = dict(orders)
        self._held = dict(held)
        self._region = region
        self.stock = product.stock
        """Units that the decisions so far leave."""
        self.decisions: list[Decision] = []
        self.confirmed: list[Order] = []
        """New orders, which are yet to be written."""
        self.cancelled: list[Order] = []
        """Orders that are yet to be cancelled."""

    def decide(self, request: Request) -> None:
        """Add the decision about a request."""
        decision = self._buy(request) if isinstance(request, Purchase) else self._cancel(request)
        self.decisions.append(decision)

    def _buy(self, purchase: Purchase) -> Decision:
        opens_at, limit = self._product.opens_at, self._product.limit_per_buyer
        earlier = self._orders.get(purchase.order_id)
        held = self._held.get(purchase.user_ref, 0)
        if earlier is not None and earlier.quantity != purchase.quantity:
            return IdempotencyKeyReused(
                f"this idempotencyKey was used to buy {earlier.quantity}, not {purchase.quantity}; "
                "use a new key for a new purchase"
            )
        if earlier is not None and earlier.status is OrderStatus.CANCELLED:
            return Cancelled(earlier, self._product)
        if earlier is not None:
            return Confirmed(earlier, self._product, self.stock, replayed=True)
        if opens_at is not None and opens_at > self._now:
            return NotOpen(opens_at)
        if limit is not None and held + purchase.quantity > limit:
            return LimitReached(limit, held)
        if purchase.quantity > self.stock:
            return SoldOut(self.stock)
        order = purchase.confirmed(self._region, self._now)
        self.stock -= order.quantity
        self._held[order.user_ref] = held + order.quantity
        self._orders[order.id] = order
        self.confirmed.append(order)
        return Confirmed(order, self._product, self.stock, replayed=False)

    def _cancel(self, request: CancelRequest) -> Decision:
        order = self._orders.get(request.order_id)
        if order is None:
            return NotFound(f"there is no order {request.order_id}")
        if request.user_ref is not None and request.user_ref != order.user_ref:
            return Forbidden("this order was placed by another buyer; only that buyer or the operator can cancel it")
        if order.status is OrderStatus.CANCELLED:
            return Cancellation(order, self._product, first=False)
        cancelled = replace(order, status=OrderStatus.CANCELLED)
        self.stock += order.quantity
        self._held[order.user_ref] = self._held.get(order.user_ref, 0) - order.quantity
        self._orders[order.id] = cancelled
        self.cancelled.append(cancelled)
        return Cancellation(cancelled, self._product, first=True)


def _as_read(decision: Decision) -> Decision:
    """An order that was found, without the sales of a transaction that did not commit."""
    return replace(decision, remaining=decision.product.stock) if isinstance(decision, Confirmed) else decision


def _with_product(decision: Decision, product: Product) -> Decision:
    if isinstance(decision, Confirmed):
        return Confirmed(decision.order, product, decision.remaining, decision.replayed)
    return replace(decision, product=product) if isinstance(decision, Cancellation) else decision


async def _read_orders(transaction: Transaction, requests: Sequence[Request]) -> dict[UUID, Order]:
    rows = await transaction.fetch(_READ_ORDERS, [str(request.order_id) for request in requests])
    return {row["id"]: order_of(row) for row in rows}


async def _read_held(transaction: Transaction, product: Product, requests: Sequence[Request]) -> dict[str, int]:
    if product.limit_per_buyer is None:
        return {}
    buyers = list({request.user_ref for request in requests if isinstance(request, Purchase)})
    if not buyers:
        return {}
    return {row["user_ref"]: row["held"] for row in await transaction.fetch(_READ_HELD, product.id, buyers)}


async def _take_units(transaction: Transaction, product_id: UUID, units: int) -> StockLevel:
    """Take units from the stock; fewer than none are given back to it."""
    row = await transaction.fetchrow(_TAKE_UNITS, product_id, units)
    if row is None:
        # Cannot happen at snapshot isolation, where a changed row is a conflict; guarded for any other.
        raise Conflict("the stock changed between read and write")
    return StockLevel(product_id, row["stock"], row["version"])


async def _insert_orders(transaction: Transaction, product_id: UUID, confirmed: Sequence[Order]) -> None:
    if not confirmed:
        return
    await transaction.execute(
        _INSERT_ORDERS,
        product_id,
        transaction.region,
        [str(order.id) for order in confirmed],
        [order.user_ref for order in confirmed],
        [str(order.quantity) for order in confirmed],
    )


async def _cancel_orders(transaction: Transaction, cancelled: Sequence[Order]) -> None:
    if not cancelled:
        return
    changed = await transaction.fetch(_CANCEL_ORDERS, [str(order.id) for order in cancelled])
    if len(changed) != len(cancelled):
        # Cannot happen at snapshot isolation, where a changed row is a conflict; guarded for any other.
        raise Conflict("an order was cancelled between read and write")
