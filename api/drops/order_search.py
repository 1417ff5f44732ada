"""Searches of orders: a page of the orders that operators, support or a buyer look for, each through an index."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api.database.database import Database
from api.drops.errors import InvalidInput
from api.drops.keyset import FIRST_ID, Page, Paging, Place, Stretch, bounds, union, window_of
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
    database: Database,
    first: int | None = None,
    after: str | None = None,
    search: OrderSearch = OrderSearch(),
    *,
    last: int | None = None,
    before: str | None = None,
) -> Page[Order]:
    """One page, newest first. Raises InvalidInput, Conflict, Unavailable."""
    window, search = window_of("orders", Paging(first, after, last, before)), search.checked()
    arguments: list[object] = []
    statements = [_Query(search, stretch, arguments).statement() for stretch in window.stretches()]
    rows = await database.fetch(union(statements), *arguments)
    return window.page(map(order_of, rows), lambda order: order.cursor.place, descending=True)


class _Query:
    """The statement for one stretch of a search. It appends its arguments to `arguments`.

    Only the conditions that are set become part of it, so that each search has a plan through its own index.
    """

    def __init__(self, search: OrderSearch, stretch: Stretch[Place], arguments: list[object]) -> None:
        self._search = search
        self._limit = stretch.limit
        self._newer, self._older = bounds(stretch)
        if search.until is not None:
            self._newer = min(self._newer, (search.until, FIRST_ID))
        if search.since is not None:
            self._older = max(self._older, (search.since, FIRST_ID))
        self._backward = stretch.backward
        self._order = "ASC" if stretch.backward else "DESC"
        self._by_time = f"created_at {self._order}, id {self._order}"
        self._arguments = arguments

    def statement(self) -> str:
        """Raises InvalidInput for a status that no index finds without a buyer or a product."""
        return f"{self._unlimited()} LIMIT {self._limit}"

    def _unlimited(self) -> str:
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
        return self._of_all_products()

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
            f"{SELECT_ORDERS} WHERE user_ref = {buyer} AND {self._in_time()} ORDER BY {self._by_time}",
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

    def _of_all_products(self) -> str:
        """The orders of all products.

        No index has all orders by time: its entries would cost every purchase as much as the orders themselves.
        Instead the pages of single products are merged, each through orders_by_product. `nearest` has the newest order
        of each product. The page's `limit` orders are all of the `limit` products whose newest orders are newest, the
        `candidates`. None is older than the oldest of these newest orders, so the reading of each candidate ends there,
        at the `farthest` moment, or after `limit` orders. Fewer candidates with orders give no such bound. A page that
        is read backward begins with the oldest orders in the same way.

        The conditions and the order name all columns of the index. With `product_id = ...` a plan is made for the
        average product, and for few orders it sorts all of a product, which can be a hot one.

        A page costs two index accesses for each product, and 2 * limit * limit index entries at most. With 1,000
        products and 200,000 orders on PostgreSQL, pages of 100 took 7 to 23 ms.
        """
        newer, older = self._places()
        limit, order = self._limit, self._order
        in_order = ", ".join(f"orders.{column} {order}" for column in ("product_id", "created_at", "id"))
        of_product = f"FROM orders WHERE {self._between('products.id', newer, older)}"
        nearest_first = f"created_at {order} NULLS LAST, id {order}"
        least_or_most, end, towards = ("max", "infinity", "<=") if self._backward else ("min", "-infinity", ">=")
        of_candidate = f"""FROM orders WHERE {self._between("candidates.product_id", newer, older)}
                           AND (orders.product_id, orders.created_at)
                               {towards} (candidates.product_id, (SELECT farthest.created_at FROM farthest))"""
        return f"""
WITH nearest AS (
    SELECT products.id AS product_id,
           (SELECT orders.created_at {of_product} ORDER BY {in_order} LIMIT 1) AS created_at,
           (SELECT orders.id {of_product} ORDER BY {in_order} LIMIT 1) AS id
    FROM products
), candidates AS (
    SELECT product_id, created_at FROM nearest ORDER BY {nearest_first} LIMIT {limit}
), farthest AS (
    SELECT coalesce(CASE WHEN count(created_at) = {limit} THEN {least_or_most}(created_at) END, '{end}') AS created_at
    FROM candidates
), page AS (
    SELECT unnest(ARRAY(SELECT orders.created_at {of_candidate} ORDER BY {in_order} LIMIT {limit})) AS created_at,
           unnest(ARRAY(SELECT orders.id {of_candidate} ORDER BY {in_order} LIMIT {limit})) AS id
    FROM candidates ORDER BY {self._by_time} LIMIT {limit}
)
{SELECT_ORDERS} WHERE id = ANY(ARRAY(SELECT page.id FROM page)) ORDER BY {self._by_time}
"""

    def _in_range(self, column: str, value: object) -> str:
        """The orders with this value, read in their order from an index that begins with the column.

        The conditions and the order name every column of the index: see keyset_query.
        """
        within = self._between(self._add(value), *self._places(), column)
        status = "true" if self._search.status is None else CONDITIONS[self._search.status]
        in_order = ", ".join(f"{each} {self._order}" for each in (column, "created_at", "id"))
        return f"{SELECT_ORDERS} WHERE {within} AND {status} ORDER BY {in_order}"

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
        return f"SELECT * FROM {few} AS few WHERE {conditions} ORDER BY {self._by_time}"

    def _in_time(self) -> str:
        newer, older = self._places()
        return f"(created_at, id) < ({newer}) AND (created_at, id) >= ({older})"

    def _between(self, value: str, newer: str, older: str, column: str = "product_id") -> str:
        """The condition for the orders of the stretch whose `column` has this value."""
        key = f"orders.{column}, orders.created_at, orders.id"
        return f"({key}) < ({value}, {newer}) AND ({key}) >= ({value}, {older})"

    def _places(self) -> tuple[str, str]:
        """The bounds of the stretch, as arguments of the statement."""
        newer, older = (f"{self._add(moment)}, {self._add(id_)}" for moment, id_ in (self._newer, self._older))
        return newer, older

    def _add(self, argument: object) -> str:
        """Add an argument, and return its number in the statement."""
        self._arguments.append(argument)
        return f"${len(self._arguments)}"
