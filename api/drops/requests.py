"""Requests: what waits in a line, each about one product. The rows that a request writes have their ids before they
exist, so that they can be found again."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias
from uuid import UUID

from api.drops.errors import InvalidInput
from api.drops.limits import MAX_UNITS, checked_text, checked_units
from api.drops.orders import Order, OrderStatus
from api.drops.products import Product

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
    def buyer(self) -> str:
        """The buyer whose units the request changes."""
        return self.user_ref

    @property
    def row_ids(self) -> tuple[UUID, ...]:
        """The ids of the rows that the request writes."""
        return (self.order_id,)

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

    def placed(self, product: Product, region: str, now: datetime) -> Order:
        """The order that this purchase becomes when it is placed through `region`: a hold if the product has holds, or
        else confirmed."""
        if product.hold_seconds is None:
            status, held_until, confirmed_at = OrderStatus.CONFIRMED, None, now
        else:
            status, held_until, confirmed_at = OrderStatus.HELD, now + timedelta(seconds=product.hold_seconds), None
        return Order(
            self.order_id,
            self.product_id,
            self.user_ref,
            self.quantity,
            status,
            region,
            now,
            held_until,
            confirmed_at,
            None,
            product.price,
        )


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """An order to cancel, its product and its `buyer`, and the buyer who sent the request; None for the operator.
    `operator`: the name that the operator log has; None if a buyer has sent it."""

    order_id: UUID
    product_id: UUID
    buyer: str
    user_ref: str | None
    operator: str | None = None

    @property
    def row_ids(self) -> tuple[UUID, ...]:
        """The ids of the rows that the request writes."""
        return (self.order_id,)


@dataclass(frozen=True, slots=True)
class ReleaseRequest(CancelRequest):
    """An order to cancel if it is still held. An order that has been paid stays."""


@dataclass(frozen=True, slots=True)
class ConfirmRequest:
    """The payment of an order. `payment_ref` names the payment, 1 to 200 characters: the order is confirmed once, and
    for this payment only."""

    order_id: UUID
    product_id: UUID
    buyer: str
    payment_ref: str

    @property
    def row_ids(self) -> tuple[UUID, ...]:
        """The ids of the rows that the request writes."""
        return (self.order_id,)


@dataclass(frozen=True, slots=True)
class LapseRequest:
    """Held orders of one product that may have run out: their ids, each with its buyer."""

    product_id: UUID
    orders: tuple[tuple[UUID, str], ...]

    @property
    def row_ids(self) -> tuple[UUID, ...]:
        """The ids of the rows that the request writes."""
        return tuple(order_id for order_id, _ in self.orders)


@dataclass(frozen=True, slots=True)
class RestockRequest:
    """Units to add to a product's stock; a negative `delta` removes units that were not sold. The id of the restock is
    known before it is stored, so that it can be found again. `operator`: the name that the operator log has."""

    restock_id: UUID
    product_id: UUID
    delta: int
    operator: str | None = None

    @property
    def row_ids(self) -> tuple[UUID, ...]:
        """The ids of the rows that the request writes."""
        return (self.restock_id,)

    @classmethod
    def checked(
        cls, *, product_id: UUID, delta: int, operator: str | None = None, idempotency_key: str | None = None
    ) -> "RestockRequest":
        """Raises InvalidInput."""
        if delta == 0 or abs(delta) > MAX_UNITS:
            raise InvalidInput(f"delta must be between -{MAX_UNITS} and {MAX_UNITS}, and not 0", "delta")
        if idempotency_key is None:
            return cls(uuid.uuid4(), product_id, delta, operator)
        idempotency_key = checked_text("idempotencyKey", idempotency_key)
        return cls(uuid.uuid5(_RESTOCK_NAMESPACE, f"{product_id}:{idempotency_key}"), product_id, delta, operator)


Request: TypeAlias = Purchase | CancelRequest | ReleaseRequest | ConfirmRequest | LapseRequest | RestockRequest
