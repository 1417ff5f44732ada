"""Orders: what they are, and reading them."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from uuid import UUID

from api.database.database import Database
from api.database.pool import Record
from api.drops.keyset import Cursor, Page, keyset_query
from api.drops.limits import checked_text


class OrderStatus(Enum):
    """CONFIRMED orders hold their units; CANCELLED ones have given them back."""

    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Order:
    """Units of one product, bought by one buyer through one regional endpoint."""

    id: UUID
    product_id: UUID
    user_ref: str
    quantity: int
    status: OrderStatus
    region: str
    created_at: datetime

    @property
    def cursor(self) -> Cursor:
        return Cursor("orders", self.created_at, self.id)


SELECT_ORDERS = "SELECT id, product_id, user_ref, quantity, status, region, created_at FROM orders"


async def list_orders(
    database: Database,
    first: int,
    after: str | None = None,
    user_ref: str | None = None,
    product_id: UUID | None = None,
) -> Page[Order]:
    """One page, newest first. Raises InvalidInput, Conflict, Unavailable."""
    cursor = None if after is None else Cursor.decode(after, "orders")
    user_ref = None if user_ref is None else checked_text("userRef", user_ref)
    filters = {"user_ref": user_ref, "product_id": product_id}
    statement, arguments = keyset_query(SELECT_ORDERS, "orders", filters, cursor, first)
    rows = await database.fetch(statement, *arguments)
    return Page([order_of(row) for row in rows[:first]], has_next=len(rows) > first)


async def get_order(database: Database, order_id: UUID) -> Order | None:
    """The order; None if there is no such order. Raises Conflict, Unavailable."""
    row = await database.fetchrow(f"{SELECT_ORDERS} WHERE id = $1", order_id)
    return None if row is None else order_of(row)


def order_of(row: Record) -> Order:
    """An order from a row of SELECT_ORDERS."""
    id_, product_id, user_ref, quantity, status, region, created_at = row.values()
    return Order(id_, product_id, user_ref, quantity, OrderStatus(status), region, created_at)
