"""The search of products: a filtered list in one of several orders, and bounded work for each of its pages.

A filter is more than an index has, so that rows are read and skipped. A page examines MAX_EXAMINED rows at most. If
they do not fill it, the page is shorter, and the list goes on behind the last row that was examined.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from api.database.database import Database
from api.database.pool import Record
from api.drops.availability import CONDITIONS, Availability
from api.drops.errors import InvalidInput
from api.drops.keyset import FIRST_ID, LAST_ID, Cursor, Paging, Place, Stretch, Window, bounds, window_of
from api.drops.limits import checked_moment, checked_name
from api.drops.products import SELECT_FOUND, Product, read_product, select_products

MAX_EXAMINED = 250
"""Rows that one page of a filtered list examines. With 10,000 products that are all sold out, of 16 shards each, a page
of those on sale took 7 ms on PostgreSQL (measured on 2 shared cores)."""


class ProductSort(StrEnum):
    """The order of a list: by creation, falling or rising; or by opening, rising."""

    NEWEST = "NEWEST"
    OLDEST = "OLDEST"
    OPENS_AT = "OPENS_AT"

    @property
    def kind(self) -> str:
        """That of its cursors. Those of NEWEST are cursors of the whole list, too."""
        return "products" if self is ProductSort.NEWEST else f"products by {self}"

    def place_of(self, product: Product) -> Place:
        moment = product.opening if self is ProductSort.OPENS_AT else product.created_at
        return moment, product.id


@dataclass(frozen=True, slots=True)
class ProductSearch:
    """What the products of a list have in common, None for what does not matter, and their order. `drop_names`: of
    drops to each of which they belong; None is the name of no drop. `opens_before`, `opens_after`: both are not
    included; see Product.opening. `archived`: those that are archived, or all others."""

    availability: Availability | None = None
    drop_names: tuple[str | None, ...] = ()
    family: str | None = None
    opens_before: datetime | None = None
    opens_after: datetime | None = None
    sort: ProductSort = ProductSort.NEWEST
    archived: bool = False

    def checked(self) -> "ProductSearch":
        """The search with each value in the form in which it is stored. Raises InvalidInput."""
        if self.archived and self.sort is ProductSort.OPENS_AT:
            raise InvalidInput("archived products are not sorted by OPENS_AT: leave sort or archived out", "sort")
        before = None if self.opens_before is None else checked_moment("opensBefore", self.opens_before)
        after = None if self.opens_after is None else checked_moment("opensAfter", self.opens_after)
        if before is not None and after is not None and before <= after:
            raise InvalidInput("opensBefore must be later than opensAfter", "filter.opensBefore")
        drop_names = {None if name is None else checked_name("dropName", name) for name in self.drop_names}
        family = None if self.family is None else checked_name("family", self.family)
        return ProductSearch(self.availability, tuple(drop_names), family, before, after, self.sort, self.archived)

    @property
    def drop_name(self) -> str | None:
        """The drop of all of its products, if it names one."""
        return self.drop_names[0] if self.drop_names else None

    @property
    def is_filtered(self) -> bool:
        """Whether rows of its index can be left out."""
        values = (self.availability, self.family, self.opens_before, self.opens_after)
        return (self.archived and bool(self.drop_names)) or any(value is not None for value in values)

    @property
    def is_empty(self) -> bool:
        """Whether no product can be found, of a search that was checked."""
        if self.archived and self.availability not in (None, Availability.GONE):
            return True
        return len(self.drop_names) > 1 or None in self.drop_names


@dataclass(frozen=True, slots=True)
class FoundProducts:
    """A page of a search, in its order. `start`, `end`: where to go on from. On a page that is not full, `end` can be
    behind its last product, or `start` before its first. `has_next`, `has_previous`: whether the list goes on there,
    perhaps with products that the filter leaves out."""

    items: Sequence[Product]
    start: Cursor | None
    end: Cursor | None
    has_next: bool
    has_previous: bool


async def search_products(
    database: Database, search: ProductSearch, paging: Paging, max_examined: int = MAX_EXAMINED
) -> FoundProducts:
    """One page. Raises InvalidInput, Conflict, Unavailable."""
    window, search = window_of(search.sort.kind, paging), search.checked()
    if search.is_empty:
        return FoundProducts((), None, None, has_next=False, has_previous=False)
    query = _Query(search, window, max_examined)
    rows = await database.fetch(query.statement(), *query.arguments)
    return _page_of(rows, search.sort, window)


class _Query:
    """The statement for one page of a search, and its arguments."""

    def __init__(self, search: ProductSearch, window: Window[Place], max_examined: int) -> None:
        self._search = search
        self._size = window.size
        self._examined = max_examined if search.is_filtered else window.size
        self._rising = (search.sort is not ProductSort.NEWEST) != window.backward
        """Whether the places of the rows rise, in the order in which they are read."""
        low, high = (window.before, window.after)
        if search.sort is not ProductSort.NEWEST:
            low, high = high, low
        self._newer, self._older = bounds(Stretch(0, after=high, before=low))
        self.arguments: list[object] = []

    def statement(self) -> str:
        """Every row has `more`, whether rows follow that were not examined, and the place of the last examined row, as
        `last_moment` and `last_id`. Of a page without products there is one row, whose `id` is null."""
        rows = f"({' UNION ALL '.join(f'({each})' for each in self._sources())})"
        conditions, examined = self._conditions(), self._examined
        order = self._order("moment", "id")
        found = f"({select_products(f'{SELECT_FOUND} WHERE id = ANY(ARRAY(SELECT id FROM chosen))')})"
        return f"""
WITH examined AS (
    SELECT * FROM {rows} AS source ORDER BY {order} LIMIT {examined + 1}
), chosen AS (
    SELECT id FROM (SELECT * FROM examined ORDER BY {order} LIMIT {examined}) AS product
    WHERE {" AND ".join(conditions) or "true"} ORDER BY {order} LIMIT {self._size + 1}
)
SELECT reached.*, found.*
FROM (
    SELECT count(*) > {examined} AS more,
        (SELECT moment FROM examined ORDER BY {order} LIMIT 1 OFFSET {examined - 1}) AS last_moment,
        (SELECT id FROM examined ORDER BY {order} LIMIT 1 OFFSET {examined - 1}) AS last_id
    FROM examined
) AS reached LEFT JOIN {found} AS found ON true
"""

    def _sources(self) -> list[str]:
        """The rows in their order, through one index each. Conditions beside the index would skip any number of rows;
        they are in `_conditions`."""
        search = self._search
        if search.sort is not ProductSort.OPENS_AT:
            partial_index = not (search.archived and search.drop_name is not None)
            return [self._source("created_at", [_archived_or_not(search.archived)] if partial_index else [])]
        current, has_opening = _archived_or_not(False), ["opens_at IS NOT NULL"]
        if search.availability is not None:
            has_opening.append(
                "opens_at > now()" if search.availability is Availability.COMING else "opens_at <= now()"
            )
        sources = [self._source("opens_at", [current, *has_opening])]
        if search.availability is not Availability.COMING:
            sources.append(self._source("created_at", [current, "opens_at IS NULL"]))
        return sources

    def _source(self, moment: str, conditions: list[str]) -> str:
        search, newer, older = self._search, self._newer, self._older
        if search.sort is ProductSort.OPENS_AT and search.opens_before is not None:
            newer = min(newer, (search.opens_before, FIRST_ID))
        if search.sort is ProductSort.OPENS_AT and search.opens_after is not None:
            older = max(older, (search.opens_after, LAST_ID))
        key, columns = f"({moment}, id)", [moment, "id"]
        conditions = [f"{key} < {self._row(*newer)}", f"{key} >= {self._row(*older)}", *conditions]
        if search.drop_name is not None:
            conditions.insert(0, f"drop_name = {self._add(search.drop_name)}")
        return (
            f"SELECT id, {moment} AS moment, coalesce(opens_at, created_at) AS opening, opens_at, closes_at, "
            f"archived_at, family FROM products WHERE {' AND '.join(conditions)} "
            f"ORDER BY {self._order(*columns)} LIMIT {self._examined + 1}"
        )

    def _conditions(self) -> list[str]:
        """What the examined rows have to meet."""
        search = self._search
        conditions: list[str] = []
        if search.archived and search.drop_name is not None:
            conditions.append(_archived_or_not(True))
        if search.availability is not None and not search.archived:
            conditions.append(CONDITIONS[search.availability].format(id="product.id"))
        if search.family is not None:
            conditions.append(f"family = {self._add(search.family)}")
        if search.opens_before is not None:
            conditions.append(f"opening < {self._add(search.opens_before)}")
        if search.opens_after is not None:
            conditions.append(f"opening > {self._add(search.opens_after)}")
        return conditions

    def _order(self, *columns: str) -> str:
        return ", ".join(f"{column} {'ASC' if self._rising else 'DESC'}" for column in columns)

    def _row(self, *values: object) -> str:
        return f"({', '.join(map(self._add, values))})"

    def _add(self, argument: object) -> str:
        """Add an argument, and return its number in the statement."""
        self.arguments.append(argument)
        return f"${len(self.arguments)}"


def _archived_or_not(archived: bool) -> str:
    return f"archived_at IS {'NOT ' if archived else ''}NULL"


def _page_of(rows: Sequence[Record], sort: ProductSort, window: Window[Place]) -> FoundProducts:
    """The page of the rows of a statement."""
    found = [read_product(row) for row in rows if row["id"] is not None]
    found.sort(key=sort.place_of, reverse=(sort is ProductSort.NEWEST) != window.backward)
    items, first = found[: window.size], rows[0]
    more = bool(first["more"]) or len(found) > window.size
    places = [sort.place_of(product) for product in items]
    last = places[-1] if places else None
    if first["more"] and len(found) <= window.size:
        last = first["last_moment"], first["last_id"]
    ends = [None if place is None else Cursor(sort.kind, *place) for place in (places[0] if places else None, last)]
    if window.backward:
        return FoundProducts(items[::-1], ends[1], ends[0], has_next=window.before is not None, has_previous=more)
    has_next = more or window.before is not None
    return FoundProducts(items, ends[0], ends[1], has_next=has_next, has_previous=window.after is not None)
