"""Searches of orders: a page of the orders that operators, support or a buyer look for, each through an index."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api.database.database import Database
from api.drops.errors import InvalidInput
from api.drops.keyset import EARLIEST, FIRST_ID, LAST_ID, LATEST, Cursor, Page, checked_first
from api.drops.limits import checked_moment, checked_text
from api.drops.orders import SELECT_ORDERS, Order, OrderStatus, order_of
from api.drops.reference import ids_of

CONDITIONS = {
    OrderStatus.HELD: "status = 'CONFIRMED' AND held_until IS NOT NULL",
    OrderStatus.CONFIRMED: "status = 'CONFIRMED' AND held_until IS NULL",
    OrderStatus.CANCELLED: "status = 'CANCELLED' AND lapsed_at IS NULL",
    OrderStatus.LAPSED: "status = 'CANCELLED' AND lapsed_at IS NOT NULL",
}
"""The columns of an order of each status, as the partial indexes name them: STATUS hides them from the planner."""


@dataclass(frozen=True, slots=True)
class OrderSearch:
    """What the orders of a list have in common; None for what does not matter. `since` is included, `until` is not."""

    user_ref: str | None = None
    product_id: UUID | None = None
    reference: str | None = None
    status: OrderStatus | None = None
    since: datetime | None = None
    until: datetime | None = None

    def checked(self) -> "OrderSearch":
        """The search with each value in the form in which it is stored. Raises InvalidInput."""
        since = None if self.since is None else checked_moment("since", self.since)
        until = None if self.until is None else checked_moment("until", self.until)
        if since is not None and until is not None and since >= until:
            raise InvalidInput("until must be later than since: orders from since on, before until", "until")
        user_ref = None if self.user_ref is None else checked_text("userRef", self.user_ref)
        return OrderSearch(user_ref, self.product_id, self.reference, self.status, since, until)


async def list_orders(
    database: Database, first: int, after: str | None = None, search: OrderSearch = OrderSearch()
) -> Page[Order]:
    """One page, newest first. Raises InvalidInput, Conflict, Unavailable."""
    limit = checked_first(first) + 1
    query = _Query(search.checked(), None if after is None else Cursor.decode(after, "orders"))
    rows = await database.fetch(f"{query.statement(limit)} LIMIT {limit}", *query.arguments)
    return Page([order_of(row) for row in rows[:first]], has_next=len(rows) > first)


class _Query:
    """The statement for one page of a search, without its LIMIT, and its arguments.

    Only the conditions that are set become part of it, so that each search has a plan through its own index.
    """

    def __init__(self, search: OrderSearch, after: Cursor | None) -> None:
        self._search = search
        # The page begins behind this place, which is before the newest order of all.
        self._place = (LATEST, LAST_ID) if after is None else (after.created_at, after.id)
        if search.until is not None:
            self._place = min(self._place, (search.until, FIRST_ID))
        self.arguments: list[object] = []

    def statement(self, limit: int) -> str:
        """Raises InvalidInput for a status that no index finds without a buyer or a product."""
        search = self._search
        if search.reference is not None:
            return self._of_reference(search.reference)
        if search.user_ref is not None:
            return self._of_buyer(search.user_ref)
        if search.status is OrderStatus.HELD:
            return self._of_holds()
        if search.product_id is not None:
            return self._of_product(search.product_id)
        if search.status is not None:
            raise InvalidInput(
                f"the status {search.status.value} needs a productId or a userRef as well: add one", "status"
            )
        return self._of_all_products(limit)

    def _of_reference(self, reference: str) -> str:
        """The orders of one reference, hardly ever more than one, through two ranges of the primary key."""
        ranges = [f"{SELECT_ORDERS} WHERE id BETWEEN {self._add(a)} AND {self._add(b)}" for a, b in ids_of(reference)]
        return self._chosen(" UNION ALL ".join(ranges), "user_ref", "product_id", "status")

    def _of_buyer(self, user_ref: str) -> str:
        """The orders of one buyer through orders_by_buyer. Those of other products and of another status are read and
        skipped, so that the cost is bounded by the orders of this one buyer."""
        if self._search.product_id is None and self._search.status is None:
            return self._in_range("user_ref", user_ref)
        buyer = self._add(user_ref)
        return self._chosen(
            f"{SELECT_ORDERS} WHERE user_ref = {buyer} AND {self._in_time()} ORDER BY created_at DESC, id DESC",
            "product_id",
            "status",
        )

    def _of_holds(self) -> str:
        """Held orders, of all products or of one, through orders_by_hold. It has no order but held ones, and they are
        sorted: with 100,000 holds a page took 100 to 140 ms on PostgreSQL."""
        return self._chosen(f"{SELECT_ORDERS} WHERE held_until IS NOT NULL AND status = 'CONFIRMED'", "product_id")

    def _of_product(self, product_id: UUID) -> str:
        """The orders of one product through orders_by_product. Cancelled and lapsed ones have an index of their own,
        orders_returned; of confirmed ones, the others of the product are read and skipped."""
        return self._in_range("product_id", product_id)

    def _of_all_products(self, limit: int) -> str:
        """The orders of all products.

        No index has all orders by time: its entries would cost every purchase as much as the orders themselves.
        Instead the pages of single products are merged, each through orders_by_product. `newest` has the newest order
        of each product. The page's `limit` orders are all of the `limit` products whose newest orders are newest, the
        `candidates`. None is older than the oldest of these newest orders, so the reading of each candidate ends there,
        at `earliest`, or after `limit` orders. Fewer candidates with orders give no such bound.

        The conditions and the order name all columns of the index. With `product_id = ...` a plan is made for the
        average product, and for few orders it sorts all of a product, which can be a hot one.

        A page costs two index accesses for each product, and 2 * limit * limit index entries at most. With 1,000
        products and 200,000 orders on PostgreSQL, pages of 100 took 7 to 23 ms.
        """
        place = f"{self._add(self._place[0])}, {self._add(self._place[1])}"
        since = "'-infinity'" if self._search.since is None else self._add(self._search.since)
        key = "(orders.product_id, orders.created_at, orders.id)"
        newest_first = "orders.product_id DESC, orders.created_at DESC, orders.id DESC"
        of_product = f"FROM orders WHERE orders.product_id >= products.id AND {key} < (products.id, {place})"
        of_candidate = f"""FROM orders WHERE {key} < (candidates.product_id, {place})
                           AND (orders.product_id, orders.created_at)
                               >= (candidates.product_id, (SELECT earliest.created_at FROM earliest))"""
        return f"""
WITH newest AS (
    SELECT products.id AS product_id,
           (SELECT orders.created_at {of_product} ORDER BY {newest_first} LIMIT 1) AS created_at,
           (SELECT orders.id {of_product} ORDER BY {newest_first} LIMIT 1) AS id
    FROM products
), candidates AS (
    SELECT product_id, created_at FROM newest ORDER BY created_at DESC NULLS LAST, id DESC LIMIT {limit}
), earliest AS (
    SELECT greatest(CASE WHEN count(created_at) = {limit} THEN min(created_at) END, {since}) AS created_at
    FROM candidates
), page AS (
    SELECT unnest(ARRAY(SELECT orders.created_at {of_candidate} ORDER BY {newest_first} LIMIT {limit})) AS created_at,
           unnest(ARRAY(SELECT orders.id {of_candidate} ORDER BY {newest_first} LIMIT {limit})) AS id
    FROM candidates ORDER BY created_at DESC, id DESC LIMIT {limit}
)
{SELECT_ORDERS} WHERE id = ANY(ARRAY(SELECT page.id FROM page)) ORDER BY created_at DESC, id DESC
"""

    def _in_range(self, column: str, value: object) -> str:
        """The orders with this value, read in their order from an index that begins with the column.

        The conditions and the order name every column of the index: see keyset_clauses.
        """
        number, since = self._add(value), self._add(self._search.since or EARLIEST)
        place = f"{self._add(self._place[0])}, {self._add(self._place[1])}"
        status = "true" if self._search.status is None else CONDITIONS[self._search.status]
        return f"""
{SELECT_ORDERS} WHERE ({column}, created_at) >= ({number}, {since}) AND ({column}, created_at, id) < ({number}, {place})
AND {status} ORDER BY {column} DESC, created_at DESC, id DESC
"""

    def _chosen(self, few: str, *columns: str) -> str:
        """The orders of a statement that reads few, with the conditions of the search on these columns and on time.

        OFFSET 0 keeps these conditions out of the inner statement. Otherwise a generic plan, made for the average
        product, reads all orders of a hot product through orders_by_product.
        """
        wanted = {
            "user_ref": self._search.user_ref,
            "product_id": self._search.product_id,
            "status": None if self._search.status is None else self._search.status.value,
        }
        equal = [f"{column} = {self._add(wanted[column])}" for column in columns if wanted[column] is not None]
        conditions, few = " AND ".join([self._in_time(), *equal]), f"({few} OFFSET 0)"
        return f"SELECT * FROM {few} AS few WHERE {conditions} ORDER BY created_at DESC, id DESC"

    def _in_time(self) -> str:
        before = f"(created_at, id) < ({self._add(self._place[0])}, {self._add(self._place[1])})"
        return before if self._search.since is None else f"{before} AND created_at >= {self._add(self._search.since)}"

    def _add(self, argument: object) -> str:
        """Add an argument, and return its number in the statement."""
        self.arguments.append(argument)
        return f"${len(self.arguments)}"
