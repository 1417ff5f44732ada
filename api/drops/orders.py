"""Orders: reading them, and cancelling one."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum
from uuid import UUID

from api.database.database import Database
from api.database.pool import Record
from api.database.retry import RetryBudget, run_again
from api.drops.errors import Forbidden, NotFound
from api.drops.keyset import Cursor, Page, keyset_query
from api.drops.limits import checked_text
from api.drops.products import Product, read_product


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
_CANCEL = "UPDATE orders SET status = 'CANCELLED' WHERE id = $1 AND status = 'CONFIRMED'"
_RETURN_UNITS = "UPDATE inventory SET stock = stock + $2, version = version + 1 WHERE product_id = $1"


async def list_orders(
    database: Database,
    first: int,
    after: str | None = None,
    user_ref: str | None = None,
    product_id: UUID | None = None,
) -> Page[Order]:
    """One page, newest first. Raises InvalidInput, Unavailable."""
    cursor = None if after is None else Cursor.decode(after, "orders")
    user_ref = None if user_ref is None else checked_text("userRef", user_ref)
    filters = {"user_ref": user_ref, "product_id": product_id}
    statement, arguments = keyset_query(SELECT_ORDERS, "orders", filters, cursor, first)
    rows = await database.fetch(statement, *arguments)
    return Page([order_of(row) for row in rows[:first]], has_next=len(rows) > first)


async def get_order(database: Database, order_id: UUID) -> Order | None:
    """Raises Unavailable."""
    row = await database.fetchrow(f"{SELECT_ORDERS} WHERE id = $1", order_id)
    return None if row is None else order_of(row)


@dataclass(frozen=True, slots=True)
class Cancellation:
    """A cancelled order, and its product right after. `first`: this request was the one that cancelled it."""

    order: Order
    product: Product
    first: bool


async def cancel_order(
    database: Database, order_id: UUID, user_ref: str | None, budget: RetryBudget = RetryBudget()
) -> Cancellation:
    """Cancel an order and return its units to stock, exactly once however often it is asked.

    `user_ref` is the buyer who asks, None the operator. Raises NotFound, Forbidden when the order is another
    buyer's, Conflict, Unavailable, OutcomeUnknown.
    """

    async def attempt() -> Cancellation:
        async with database.begin() as transaction:
            row = await transaction.fetchrow(f"{SELECT_ORDERS} WHERE id = $1", order_id)
            if row is None:
                raise NotFound(f"there is no order {order_id}")
            order = order_of(row)
            if user_ref is not None and user_ref != order.user_ref:
                raise Forbidden("this order was placed by another buyer; only that buyer or the operator can cancel it")
            first = order.status is OrderStatus.CONFIRMED
            if first:
                await transaction.execute(_CANCEL, order.id)
                await transaction.execute(_RETURN_UNITS, order.product_id, order.quantity)
            product = await read_product(transaction, order.product_id)
            if first:
                await transaction.commit()
            return Cancellation(replace(order, status=OrderStatus.CANCELLED), product, first)

    return await run_again(attempt, budget, safe_after_lost_commit=True)


def order_of(row: Record) -> Order:
    """An order from a row of SELECT_ORDERS."""
    id_, product_id, user_ref, quantity, status, region, created_at = row.values()
    return Order(id_, product_id, user_ref, quantity, OrderStatus(status), region, created_at)
