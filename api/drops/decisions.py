"""Decisions: what becomes of each purchase and each cancellation of a group, decided without a database."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from api.drops.errors import DropError, Forbidden, IdempotencyKeyReused, NotFound
from api.drops.limits import checked_text, checked_units
from api.drops.orders import Order, OrderStatus
from api.drops.products import Product

_ORDER_NAMESPACE = uuid.UUID("5b0a1d5e-0f5c-5b43-9d0e-7c1f6a2e8d34")
"""It must never change: the ids of all orders placed under a key derive from it."""


@dataclass(frozen=True, slots=True)
class Purchase:
    """Units of one product for one buyer. The order's id is known before the order exists, so that the order can be
    found again."""

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
    """An order to cancel, its product, and the buyer who sent the request; None for the operator."""

    order_id: UUID
    product_id: UUID
    user_ref: str | None


Request: TypeAlias = Purchase | CancelRequest


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


Decision: TypeAlias = Confirmed | Replayed | Cancelled | SoldOut | NotOpen | LimitReached | Cancellation | DropError


class Sale:
    """Decides each request of a group by itself, first come first served, against one snapshot of the database.

    A decision counts for the requests behind it: its units, its buyer's units, its order.
    """

    def __init__(
        self, now: datetime, product: Product, orders: Mapping[UUID, Order], held: Mapping[str, int], region: str
    ) -> None:
        """`product`, `orders` by their ids, and confirmed units by buyer (`held`) are as the database has them."""
        self.product = product
        self._now = now
        self._stored = orders
        self._orders = dict(orders)
        self._held = dict(held)
        self._region = region
        self._stock = product.stock
        self.decisions: list[Decision] = []
        self.settled: dict[int, Decision] = {}
        """The decisions, by position, about orders that are stored as they should be. The transaction writes nothing
        for them, so they are true even if it fails."""
        self.confirmed: list[Order] = []
        """Orders to insert."""
        self.cancelled: list[Order] = []
        """Orders to cancel."""

    @property
    def units(self) -> int:
        """Units to take from the stock. Negative when the decisions return more units than they sell."""
        return self.product.stock - self._stock

    @property
    def changes(self) -> bool:
        """Whether there is anything to write."""
        return bool(self.confirmed or self.cancelled)

    def decide(self, request: Request) -> None:
        """Add the decision about a request."""
        order = self._orders.get(request.order_id)
        decision = self._buy(request, order) if isinstance(request, Purchase) else self._cancel(request, order)
        if order is not None and self._stored.get(order.id) is self._orders[order.id]:
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
        if opens_at is not None and opens_at > self._now:
            return NotOpen(opens_at)
        if limit is not None and held + purchase.quantity > limit:
            return LimitReached(limit, held)
        if purchase.quantity > self._stock:
            return SoldOut(self._stock)
        order = purchase.confirmed(self._region, self._now)
        self._stock -= order.quantity
        self._held[order.user_ref] = held + order.quantity
        self._orders[order.id] = order
        self.confirmed.append(order)
        return Confirmed(order, self._stock)

    def _cancel(self, request: CancelRequest, order: Order | None) -> Decision:
        if order is None:
            return NotFound(f"there is no order {request.order_id}")
        if request.user_ref is not None and request.user_ref != order.user_ref:
            return Forbidden("this order was placed by another buyer; only that buyer or the operator can cancel it")
        if order.status is OrderStatus.CANCELLED:
            return Cancellation(order, first=False)
        cancelled = replace(order, status=OrderStatus.CANCELLED)
        self._stock += order.quantity
        self._held[order.user_ref] = self._held.get(order.user_ref, 0) - order.quantity
        self._orders[order.id] = cancelled
        self.cancelled.append(cancelled)
        return Cancellation(cancelled, first=True)
