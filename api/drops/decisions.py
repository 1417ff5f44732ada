"""Decisions: what becomes of each purchase, cancellation and restock of a group, decided without a database."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from api.drops.errors import DropError, IdempotencyKeyReused, InvalidInput, NotFound
from api.drops.limits import MAX_UNITS, checked_text, checked_units
from api.drops.orders import Order, OrderStatus
from api.drops.products import Product
from api.drops.shards import Shard

_ORDER_NAMESPACE = uuid.UUID("5b0a1d5e-0f5c-5b43-9d0e-7c1f6a2e8d34")
"""It must never change: the ids of all orders placed under a key derive from it."""

_RESTOCK_NAMESPACE = uuid.UUID("3a6f4c1e-7f0b-5d9c-8a55-2f6b0c9d7e11")
"""It must never change: the ids of all restocks under a key derive from it."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """Units of one product for one buyer. The order's id is known before the order exists, so that the order can be
    found again."""

    order_id: UUID
    product_id: UUID
    user_ref: str
    quantity: int

    @property
    def row_id(self) -> UUID:
        """The id of the row that the request writes."""
        return self.order_id

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
    """An order to cancel, its product and its `buyer`, and the buyer who sent the request; None for the operator."""

    order_id: UUID
    product_id: UUID
    buyer: str
    user_ref: str | None

    @property
    def row_id(self) -> UUID:
        """The id of the row that the request writes."""
        return self.order_id


@dataclass(frozen=True, slots=True)
class RestockRequest:
    """Units to add to a product's stock; a negative `delta` removes units that were not sold. The id of the restock is
    known before it is stored, so that it can be found again."""

    restock_id: UUID
    product_id: UUID
    delta: int

    @property
    def row_id(self) -> UUID:
        """The id of the row that the request writes."""
        return self.restock_id

    @classmethod
    def checked(cls, *, product_id: UUID, delta: int, idempotency_key: str | None = None) -> "RestockRequest":
        """Raises InvalidInput."""
        if delta == 0 or abs(delta) > MAX_UNITS:
            raise InvalidInput(f"delta must be between -{MAX_UNITS} and {MAX_UNITS}, and not 0")
        if idempotency_key is None:
            return cls(uuid.uuid4(), product_id, delta)
        idempotency_key = checked_text("idempotencyKey", idempotency_key)
        return cls(uuid.uuid5(_RESTOCK_NAMESPACE, f"{product_id}:{idempotency_key}"), product_id, delta)


Request: TypeAlias = Purchase | CancelRequest | RestockRequest


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Sold. `remaining` units were left right after this purchase; later purchases of the group can leave fewer."""

    order: Order
    remaining: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """An earlier request under the same key bought the `order`. Nothing was bought again."""

    order: Order


@dataclass(frozen=True, slots=True)
class Cancelled:
    """An earlier request under the same key bought the `order`, which has been cancelled since. Nothing was bought
    again."""

    order: Order


@dataclass(frozen=True, slots=True)
class SoldOut:
    """`remaining` units are left, fewer than the purchase is for."""

    remaining: int


@dataclass(frozen=True, slots=True)
class NotOpen:
    """The drop opens at `opens_at`, by the database's clock."""

    opens_at: datetime


@dataclass(frozen=True, slots=True)
class LimitReached:
    """The buyer has `held` confirmed units and may have `limit`. The purchase is for more than the difference."""

    limit: int
    held: int


@dataclass(frozen=True, slots=True)
class Cancellation:
    """The decision about a CancelRequest: the cancelled `order`. `first`: this request cancelled it, no earlier one."""

    order: Order
    first: bool


@dataclass(frozen=True, slots=True)
class Restocked:
    """The decision about a RestockRequest: this request has added its units, or an earlier one under the same key."""


Decision: TypeAlias = (
    Confirmed | Replayed | Cancelled | SoldOut | NotOpen | LimitReached | Cancellation | Restocked | DropError
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a transaction has read: the product and its shards, the orders and the deltas of restocks by their ids, and,
    if the product has a limit, the confirmed units of each buyer (`held`). `now` is the database's clock."""

    now: datetime
    product: Product
    shards: Sequence[Shard]
    orders: Mapping[UUID, Order]
    restocks: Mapping[UUID, int]
    held: Mapping[str, int]


class Sale:
    """Decides each request of a group by itself, first come first served, against one snapshot of the database.

    A decision counts for the requests behind it: its units, its buyer's units, its order.
    """

    def __init__(self, snapshot: Snapshot, region: str) -> None:
        self.product = snapshot.product
        self.snapshot = snapshot
        self._orders = dict(snapshot.orders)
        self._restocks = dict(snapshot.restocks)
        self._held = dict(snapshot.held)
        self._region = region
        self._stock = snapshot.product.stock
        self._stocked = snapshot.product.stocked
        self.decisions: list[Decision] = []
        self.settled: dict[int, Decision] = {}
        """The decisions, by position, about orders and restocks that are stored as they should be. The transaction
        writes nothing for them, so they are true even if it fails."""
        self.confirmed: list[Order] = []
        """Orders to insert."""
        self.cancelled: list[Order] = []
        """Orders to cancel."""
        self.restocked: list[RestockRequest] = []
        """Restocks to insert."""

    @property
    def units(self) -> int:
        """Units to take from the stock. Negative when the decisions add more units than they sell."""
        return self.product.stock - self._stock

    @property
    def stocked(self) -> int:
        """Units that the restocks add to those ever put in."""
        return self._stocked - self.product.stocked

    @property
    def holdings(self) -> dict[str, int]:
        """The confirmed units of each buyer, where the decisions change them; nothing for a product without a limit."""
        if self.product.limit_per_buyer is None:
            return {}
        return {buyer: units for buyer, units in self._held.items() if units != self.snapshot.held.get(buyer)}

    @property
    def written(self) -> set[UUID]:
        """The ids of the orders and restocks to write."""
        return {row.id for row in (*self.confirmed, *self.cancelled)} | {row.restock_id for row in self.restocked}

    def decide(self, request: Request) -> None:
        """Add the decision about a request."""
        if isinstance(request, RestockRequest):
            settled = request.restock_id in self.snapshot.restocks
            decision = self._restock(request)
        else:
            order = self._orders.get(request.order_id)
            decision = self._buy(request, order) if isinstance(request, Purchase) else self._cancel(request, order)
            settled = order is not None and self.snapshot.orders.get(order.id) is self._orders[order.id]
        if settled:
            self.settled[len(self.decisions)] = decision
        self.decisions.append(decision)

    def _buy(self, purchase: Purchase, earlier: Order | None) -> Decision:
        """`earlier` is the order that has the id of this purchase's order."""
        opens_at, limit = self.product.opens_at, self.product.limit_per_buyer
        held = self._held.get(purchase.user_ref, 0)
        if earlier is not None and earlier.quantity != purchase.quantity:
            return IdempotencyKeyReused(
                f"this idempotencyKey was used to buy {earlier.quantity}, not {purchase.quantity}; "
                "use a new key for a new purchase"
            )
        if earlier is not None:
            return Cancelled(earlier) if earlier.status is OrderStatus.CANCELLED else Replayed(earlier)
        if opens_at is not None and opens_at > self.snapshot.now:
            return NotOpen(opens_at)
        if limit is not None and held + purchase.quantity > limit:
            return LimitReached(limit, held)
        if purchase.quantity > self._stock:
            return SoldOut(self._stock)
        order = purchase.confirmed(self._region, self.snapshot.now)
        self._stock -= order.quantity
        self._held[order.user_ref] = held + order.quantity
        self._orders[order.id] = order
        self.confirmed.append(order)
        return Confirmed(order, self._stock)

    def _cancel(self, request: CancelRequest, order: Order | None) -> Decision:
        if order is None:
            return NotFound(f"there is no order {request.order_id}")
        if request.user_ref is not None and request.user_ref != order.user_ref:
            return NotFound(f"there is no order {request.order_id}")
        if order.status is OrderStatus.CANCELLED:
            return Cancellation(order, first=False)
        cancelled = replace(order, status=OrderStatus.CANCELLED)
        self._stock += order.quantity
        self._held[order.user_ref] = self._held.get(order.user_ref, 0) - order.quantity
        self._orders[order.id] = cancelled
        self.cancelled.append(cancelled)
        return Cancellation(cancelled, first=True)

    def _restock(self, request: RestockRequest) -> Decision:
        delta, earlier = request.delta, self._restocks.get(request.restock_id)
        if earlier is not None and earlier != delta:
            return IdempotencyKeyReused(
                f"this idempotencyKey was used to restock {earlier}, not {delta}; use a new key for a new restock"
            )
        if earlier is not None:
            return Restocked()
        if self._stock + delta < 0:
            return InvalidInput(f"the stock is {self._stock}; {-delta} units cannot be taken back from it")
        if self._stocked + delta > MAX_UNITS:
            return InvalidInput(f"no more than {MAX_UNITS} units can ever be put into one product")
        self._stock += delta
        self._stocked += delta
        self._restocks[request.restock_id] = delta
        self.restocked.append(request)
        return Restocked()
