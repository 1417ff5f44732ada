"""Orders: what they are, and reading them."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from uuid import UUID

from api.database.database import Database
from api.database.pool import Record
from api.database.retry import RetryBudget, run_again
from api.drops.errors import NotFound
from api.drops.keyset import LAST_ID, LATEST, Cursor, Page, checked_first, keyset_query
from api.drops.limits import checked_text
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
    order it is the payment that came too late, and that must be refunded.
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
    {CONFIRMED_AT} AS confirmed_at, payment_ref
FROM orders
"""


async def list_orders(
    database: Database,
    first: int,
    after: str | None = None,
    user_ref: str | None = None,
    product_id: UUID | None = None,
) -> Page[Order]:
    """One page, newest first. Raises InvalidInput, Conflict, Unavailable.

    Each filter has its index: orders_by_buyer, or orders_by_product.
    """
    cursor = None if after is None else Cursor.decode(after, "orders")
    user_ref = None if user_ref is None else checked_text("userRef", user_ref)
    if user_ref is None and product_id is None:
        statement, arguments = _query_of_all_products(cursor, first)
    elif user_ref is not None and product_id is not None:
        statement, arguments = _query_of_buyer_and_product(user_ref, product_id, cursor, first)
    else:
        filters = {"user_ref": user_ref, "product_id": product_id}
        statement, arguments = keyset_query(SELECT_ORDERS, "orders", filters, cursor, first)
    rows = await database.fetch(statement, *arguments)
    return Page([order_of(row) for row in rows[:first]], has_next=len(rows) > first)


def _query_of_buyer_and_product(
    user_ref: str, product_id: UUID, after: Cursor | None, first: int
) -> tuple[str, list[object]]:
    """The statement for one page of a buyer's orders of one product, and its arguments. Raises InvalidInput.

    It reads the buyer's orders through orders_by_buyer and skips those of other products, so that its cost is bounded
    by the orders of this one buyer. OFFSET 0 keeps the condition on the product out of the inner query. Otherwise a
    generic plan, made for the average product, reads all orders of a hot product through orders_by_product.
    """
    limit = checked_first(first) + 1
    before = "true" if after is None else "(created_at, id) < ($3, $4)"
    statement = f"""
SELECT * FROM (
    {SELECT_ORDERS} WHERE user_ref = $1 AND {before} ORDER BY created_at DESC, id DESC OFFSET 0
) AS own WHERE product_id = $2 ORDER BY created_at DESC, id DESC LIMIT {limit}
"""
    return statement, [user_ref, product_id, *([] if after is None else [after.created_at, after.id])]


def _query_of_all_products(after: Cursor | None, first: int) -> tuple[str, list[object]]:
    """The statement for one page of the orders of all products, and its arguments. Raises InvalidInput.

    No index has all orders by time: its entries would cost every purchase as much as the orders themselves. Instead
    the pages of single products are merged, each through orders_by_product. `newest` has the newest order of each
    product. The page's `limit` orders are all of the `limit` products whose newest orders are newest, the `candidates`.
    None is older than the oldest of these newest orders, so the reading of each candidate ends there, at `earliest`,
    or after `limit` orders. Fewer candidates with orders give no such bound.

    The conditions and the order name all columns of the index. With `product_id = ...` a plan is made for the average
    product, and for few orders it sorts all of a product, which can be a hot one.

    A page costs two index accesses for each product, and 2 * limit * limit index entries at most. With 1,000
    products and 200,000 orders on PostgreSQL, pages of 100 took 7 to 23 ms.
    """
    limit = checked_first(first) + 1
    place = (LATEST, LAST_ID) if after is None else (after.created_at, after.id)
    key = "(orders.product_id, orders.created_at, orders.id)"
    newest_first = "orders.product_id DESC, orders.created_at DESC, orders.id DESC"
    of_product = f"FROM orders WHERE orders.product_id >= products.id AND {key} < (products.id, $1, $2)"
    of_candidate = f"""FROM orders WHERE {key} < (candidates.product_id, $1, $2)
                       AND (orders.product_id, orders.created_at)
                           >= (candidates.product_id, (SELECT earliest.created_at FROM earliest))"""
    statement = f"""
WITH newest AS (
    SELECT products.id AS product_id,
           (SELECT orders.created_at {of_product} ORDER BY {newest_first} LIMIT 1) AS created_at,
           (SELECT orders.id {of_product} ORDER BY {newest_first} LIMIT 1) AS id
    FROM products
), candidates AS (
    SELECT product_id, created_at FROM newest ORDER BY created_at DESC NULLS LAST, id DESC LIMIT {limit}
), earliest AS (
    SELECT CASE WHEN count(created_at) = {limit} THEN min(created_at) ELSE '-infinity' END AS created_at FROM candidates
), page AS (
    SELECT unnest(ARRAY(SELECT orders.created_at {of_candidate} ORDER BY {newest_first} LIMIT {limit})) AS created_at,
           unnest(ARRAY(SELECT orders.id {of_candidate} ORDER BY {newest_first} LIMIT {limit})) AS id
    FROM candidates ORDER BY created_at DESC, id DESC LIMIT {limit}
)
{SELECT_ORDERS} WHERE id = ANY(ARRAY(SELECT page.id FROM page)) ORDER BY created_at DESC, id DESC
"""
    return statement, [*place]


async def get_order(database: Database, order_id: UUID) -> Order | None:
    """The order; None if there is no such order. Raises Conflict, Unavailable."""
    row = await database.fetchrow(f"{SELECT_ORDERS} WHERE id = $1", order_id)
    return None if row is None else order_of(row)


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
    id_, product_id, user_ref, quantity, status, *others = row.values()
    return Order(id_, product_id, user_ref, quantity, OrderStatus(status), *others)
