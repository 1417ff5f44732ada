"""The purchase: one transaction that decides a list of purchases of one product and sells exactly its stock.

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
from api.drops.errors import DropError, IdempotencyKeyReused, NotFound
from api.drops.limits import checked_text, checked_units
from api.drops.orders import SELECT_ORDERS, Order, OrderStatus, order_of
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


Decision: TypeAlias = Confirmed | Cancelled | SoldOut | NotOpen | LimitReached | DropError


@dataclass(frozen=True, slots=True)
class Decisions:
    """One decision per purchase, in their order, made through `region`; `level` is the stock they left, None if they
    sold nothing."""

    decisions: list[Decision]
    region: str
    level: StockLevel | None


class SaleFailed(Exception):
    """The transaction sold nothing; or, if `error` is OutcomeUnknown, nobody knows whether it did.

    `error`: what it ended with, at the endpoint of `region`.
    `settled`: the decisions of those purchases, by their position, whose orders had been stored before. They hold
    whatever became of this transaction.
    `unknown`: the orders that a COMMIT of unknown outcome was to write.
    """

    def __init__(
        self, error: Exception, region: str, settled: Mapping[int, Decision], unknown: Sequence[Order]
    ) -> None:
        super().__init__(str(error))
        self.error = error
        self.region = region
        self.settled = settled
        self.unknown = unknown


_READ_PRODUCT = f"SELECT now() AS now, product.* FROM ({SELECT_PRODUCTS} WHERE products.id = $1) AS product"
_READ_ORDERS = f"{SELECT_ORDERS} WHERE id = ANY($1::text[]::uuid[])"
_READ_HELD = """
SELECT user_ref, coalesce(sum(quantity) FILTER (WHERE status = 'CONFIRMED'), 0) AS held
FROM orders WHERE user_ref = ANY($2::text[]) AND product_id = $1 GROUP BY user_ref
"""
_DECREMENT = """
UPDATE inventory SET stock = stock - $2, version = version + 1 WHERE product_id = $1 AND stock >= $2
RETURNING stock, version
"""
_INSERT_ORDERS = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region)
SELECT batch.id, $1, batch.user_ref, batch.quantity, 'CONFIRMED', $2
FROM unnest($3::text[]::uuid[], $4::text[], $5::text[]::integer[]) AS batch (id, user_ref, quantity)
"""


async def execute_purchases(
    database: Database, product_id: UUID, purchases: Sequence[Purchase], timeout: float = TRANSACTION_TIMEOUT
) -> Decisions:
    """Decide all purchases, which are of this one product, in one transaction: all of it or nothing.

    `timeout` in seconds, up to the COMMIT. Raises SaleFailed, with the Conflict, Unavailable or OutcomeUnknown after
    which it is to be run again, or with what shows that one of the purchases can never be carried out.
    """
    region = database.region  # by the time of an error it can be another's
    stored: dict[UUID, Order] = {}
    decisions: list[Decision] = []
    confirmed: list[Order] = []
    try:
        async with database.begin(timeout) as transaction:
            region = transaction.region
            row = await transaction.fetchrow(_READ_PRODUCT, product_id)
            if row is None:
                missing = [NotFound(f"there is no product {product_id}") for _ in purchases]
                return Decisions([*missing], region, None)
            now, product = row["now"], product_of(row)
            stored = await _read_orders(transaction, purchases)
            held = await _read_held(transaction, product, purchases)

            decisions, confirmed = decide(now, product, stored, held, purchases, region)
            if not confirmed:
                return Decisions(decisions, region, None)  # rolled back: a read conflicts with nobody

            level = await _decrement(transaction, product_id, sum(order.quantity for order in confirmed))
            await _insert_orders(transaction, product_id, confirmed)
            await transaction.commit()
            left = replace(product, stock=level.stock, version=level.version)
            return Decisions([_with_product(decision, left) for decision in decisions], region, level)
    except Exception as error:
        # It can have failed before there were any decisions.
        pairs = enumerate(zip(purchases, decisions, strict=False))
        settled = {
            position: _as_read(decision) for position, (purchase, decision) in pairs if purchase.order_id in stored
        }
        raise SaleFailed(error, region, settled, confirmed if isinstance(error, OutcomeUnknown) else ()) from error


def decide(
    now: datetime,
    product: Product,
    orders: dict[UUID, Order],
    held: dict[str, int],
    purchases: Sequence[Purchase],
    region: str,
) -> tuple[list[Decision], list[Order]]:
    """Decide each purchase by itself, first come first served, against one snapshot of the database.

    Returns the decisions, and the new orders among them, which are yet to be written. What was confirmed for
    one purchase counts for those behind it: its units, its buyer's held units, its order's id.
    """
    opens_at, limit, stock = product.opens_at, product.limit_per_buyer, product.stock
    orders, held = dict(orders), dict(held)
    decisions: list[Decision] = []
    confirmed: list[Order] = []
    for purchase in purchases:
        earlier = orders.get(purchase.order_id)
        mine = held.get(purchase.user_ref, 0)
        decision: Decision
        if earlier is not None and earlier.quantity != purchase.quantity:
            decision = IdempotencyKeyReused(
                f"this idempotencyKey was used to buy {earlier.quantity}, not {purchase.quantity}; "
                "use a new key for a new purchase"
            )
        elif earlier is not None and earlier.status is OrderStatus.CANCELLED:
            decision = Cancelled(earlier, product)
        elif earlier is not None:
            decision = Confirmed(earlier, product, stock, replayed=True)
        elif opens_at is not None and opens_at > now:
            decision = NotOpen(opens_at)
        elif limit is not None and mine + purchase.quantity > limit:
            decision = LimitReached(limit, mine)
        elif purchase.quantity > stock:
            decision = SoldOut(stock)
        else:
            stock -= purchase.quantity
            held[purchase.user_ref] = mine + purchase.quantity
            order = purchase.confirmed(region, now)
            orders[order.id] = order
            confirmed.append(order)
            decision = Confirmed(order, product, stock, replayed=False)
        decisions.append(decision)
    return decisions, confirmed


def _as_read(decision: Decision) -> Decision:
    """An order that was found, without the sales of a transaction that did not commit."""
    return replace(decision, remaining=decision.product.stock) if isinstance(decision, Confirmed) else decision


def _with_product(decision: Decision, product: Product) -> Decision:
    if isinstance(decision, Confirmed):
        return Confirmed(decision.order, product, decision.remaining, decision.replayed)
    return decision


async def _read_orders(transaction: Transaction, purchases: Sequence[Purchase]) -> dict[UUID, Order]:
    rows = await transaction.fetch(_READ_ORDERS, [str(purchase.order_id) for purchase in purchases])
    return {row["id"]: order_of(row) for row in rows}


async def _read_held(transaction: Transaction, product: Product, purchases: Sequence[Purchase]) -> dict[str, int]:
    if product.limit_per_buyer is None:
        return {}
    buyers = list({purchase.user_ref for purchase in purchases})
    return {row["user_ref"]: row["held"] for row in await transaction.fetch(_READ_HELD, product.id, buyers)}


async def _decrement(transaction: Transaction, product_id: UUID, units: int) -> StockLevel:
    row = await transaction.fetchrow(_DECREMENT, product_id, units)
    if row is None:
        # Cannot happen at snapshot isolation, where a changed row is a conflict; guarded for any other.
        raise Conflict("the stock changed between read and write")
    return StockLevel(product_id, row["stock"], row["version"])


async def _insert_orders(transaction: Transaction, product_id: UUID, confirmed: Sequence[Order]) -> None:
    await transaction.execute(
        _INSERT_ORDERS,
        product_id,
        transaction.region,
        [str(order.id) for order in confirmed],
        [order.user_ref for order in confirmed],
        [str(order.quantity) for order in confirmed],
    )
