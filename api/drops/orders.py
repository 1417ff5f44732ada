"""Orders: what they are, and reading single ones. `api/drops/order_search.py` has the lists."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from api.database.database import Database
from api.database.pool import Record
from api.database.retry import RetryBudget, run_again
from api.drops.details import Price
from api.drops.errors import NotFound
from api.drops.keyset import Cursor
from api.drops.reference import reference_of


class OrderStatus(Enum):
    """HELD and CONFIRMED orders have their units; CANCELLED and LAPSED ones have given them back."""

    HELD = "HELD"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"
    LAPSED = "LAPSED"

    @property
    def has_units(self) -> bool:
        """Whether the order's units are the buyer's."""
        return self in (OrderStatus.HELD, OrderStatus.CONFIRMED)


@dataclass(frozen=True, slots=True)
class Order:
    """Units of one product, bought by one buyer through one regional endpoint.

    `held_until`: when the hold runs out; None if the order is not held. `confirmed_at`: when it was paid, or placed if
    it needed no payment; None if it never was confirmed. `payment_ref`: the payment that confirmed it. Of a lapsed
    order it is the payment that came too late, and that must be refunded. `price`: of one unit when the order was
    placed; None if the product had none.
    """

    id: UUID
    product_id: UUID
    user_ref: str
    quantity: int
    status: OrderStatus
    region: str
    created_at: datetime
    held_until: datetime | None
    confirmed_at: datetime | None
    payment_ref: str | None
    price: Price | None = None

    @property
    def reference(self) -> str:
        """A short code for people."""
        return reference_of(self.id)

    @property
    def cursor(self) -> Cursor:
        return Cursor("orders", self.created_at, self.id)


STATUS = """
CASE WHEN lapsed_at IS NOT NULL THEN 'LAPSED' WHEN held_until IS NOT NULL AND status = 'CONFIRMED' THEN 'HELD'
    ELSE status END
"""
"""The status of an order. The column `status` has only CONFIRMED and CANCELLED, see migration 0021. An order that a
server of an earlier version has cancelled while it was held still has `held_until`."""

CONFIRMED_AT = """
CASE WHEN held_until IS NULL AND status = 'CONFIRMED' THEN coalesce(confirmed_at, created_at) ELSE confirmed_at END
"""
"""Orders of earlier versions have no `confirmed_at`."""

SELECT_ORDERS = f"""
SELECT id, product_id, user_ref, quantity, {STATUS} AS status, region, created_at, held_until,
    {CONFIRMED_AT} AS confirmed_at, payment_ref, price
FROM orders
"""


async def get_order(database: Database, order_id: UUID) -> Order | None:
    """The order; None if there is no such order. Raises Conflict, Unavailable."""
    row = await database.fetchrow(f"{SELECT_ORDERS} WHERE id = $1", order_id)
    return None if row is None else order_of(row)


async def get_orders(database: Database, ids: Iterable[UUID]) -> list[Order]:
    """Those of the orders that exist, in one read. Raises Conflict, Unavailable."""
    rows = await database.fetch(f"{SELECT_ORDERS} WHERE id = ANY($1::text[]::uuid[])", [str(each) for each in ids])
    return [order_of(row) for row in rows]


async def find_order(database: Database, order_id: UUID, user_ref: str | None, budget: RetryBudget) -> Order:
    """The order, for the buyer `user_ref`; None is the operator. Raises NotFound, also when the order is another
    buyer's, Conflict, Unavailable."""

    async def attempt() -> Order | None:
        return await get_order(database, order_id)

    order = await run_again(attempt, budget, safe_after_lost_commit=True)
    if order is None or user_ref not in (None, order.user_ref):
        raise NotFound(f"there is no order {order_id}")  # that another buyer has it is shown to nobody
    return order


def order_of(row: Record) -> Order:
    """An order from a row of SELECT_ORDERS."""
    id_, product_id, user_ref, quantity, status, *others, price = row.values()
    columns: list[Any] = [id_, product_id, user_ref, quantity, OrderStatus(status), *others, Price.of(price)]
    return Order(*columns)
