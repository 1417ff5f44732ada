"""Keyset pagination: a page is found through an index, and rows that are added before it do not shift it."""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeAlias, TypeVar
from uuid import UUID

from api.drops.errors import InvalidInput

DEFAULT_PAGE = 20
"""Items of a page whose size the client leaves out."""

MAX_PAGE = 100
"""Items of one page at most."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

EARLIEST, FIRST_ID = datetime.min.replace(tzinfo=UTC), UUID(int=0)
"""The place behind the oldest row of every list."""

LATEST, LAST_ID = datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1)
"""The place before the newest row of every list."""

Place: TypeAlias = tuple[datetime, UUID]
"""Where a row is in a list ordered by creation time and id."""

T = TypeVar("T")
P = TypeVar("P", Place, int)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Items of a list, in its order. `has_next`, `has_previous`: whether the list has more behind and before them."""

    items: list[T]
    has_next: bool
    has_previous: bool


@dataclass(frozen=True, slots=True)
class Stretch(Generic[P]):
    """A part of a list that one statement reads: up to `limit` items behind the place `after` and before the place
    `before`, where None is the end of the list; the first ones, or the last ones if `backward`. `inclusive`: the item
    at the place itself belongs to it."""

    limit: int
    after: P | None = None
    before: P | None = None
    backward: bool = False
    inclusive: bool = False


@dataclass(frozen=True, slots=True)
class Window(Generic[P]):
    """Which items of a list a page has: up to `size` of those behind the place `after` and before the place `before`;
    the first ones, or the last ones if `backward`."""

    size: int
    after: P | None
    before: P | None
    backward: bool

    def stretches(self) -> list[Stretch[P]]:
        """What has to be read: the items and one more, and on the other side of each place one item, which shows that
        the list goes on there."""
        stretches = [Stretch(self.size + 1, self.after, self.before, self.backward)]
        if self.after is not None:
            stretches.append(Stretch(1, before=self.after, backward=True, inclusive=True))
        if self.before is not None:
            stretches.append(Stretch(1, after=self.before, inclusive=True))
        return stretches

    def page(self, found: Iterable[T], place_of: Callable[[T], P], *, descending: bool) -> Page[T]:
        """The page, from the items of all stretches in any order. `descending`: the places of the list fall."""
        rising = sorted(found, key=place_of)
        low, high = (self.before, self.after) if descending else (self.after, self.before)
        below = [item for item in rising if low is not None and place_of(item) <= low]
        above = [item for item in rising if high is not None and place_of(item) >= high]
        items = rising[len(below) : len(rising) - len(above)]
        if descending:
            items, below, above = items[::-1], above, below
        more = len(items) > self.size
        items = items[-self.size :] if self.backward else items[: self.size]
        return Page(
            items,
            has_next=bool(above) or (more and not self.backward),
            has_previous=bool(below) or (more and self.backward),
        )


@dataclass(frozen=True, slots=True)
class Paging:
    """The page of a list that a client asks for: the `first` items after one cursor, or the `last` ones before another.
    Without a size it has DEFAULT_PAGE items: those right before `before`, if this is the only cursor."""

    first: int | None = None
    after: str | None = None
    last: int | None = None
    before: str | None = None

    def window(self, decode: Callable[[str, str], P]) -> Window[P]:
        """`decode` returns the place of a cursor; it takes the argument's name and the cursor. Raises InvalidInput."""
        if self.first is not None and self.last is not None:
            raise InvalidInput(
                "first and last cannot be combined: send first with after to go on in the list, or last with before to "
                "go back",
                "last",
            )
        name, size = ("first", self.first) if self.last is None else ("last", self.last)
        if size is not None and not 1 <= size <= MAX_PAGE:
            raise InvalidInput(f"{name} must be between 1 and {MAX_PAGE}, not {size}", name)
        only_before = self.first is None and self.after is None and self.before is not None
        return Window(
            DEFAULT_PAGE if size is None else size,
            None if self.after is None else decode("after", self.after),
            None if self.before is None else decode("before", self.before),
            backward=self.last is not None or only_before,
        )


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list ordered by creation time and id, both falling. `kind` names the list it belongs to."""

    kind: str
    created_at: datetime
    id: UUID

    @property
    def place(self) -> Place:
        return self.created_at, self.id

    def encode(self) -> str:
        """An opaque string for clients; `decode` reads it back."""
        microseconds = (self.created_at - _EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(f"{self.kind}:{microseconds}:{self.id.hex}".encode()).decode()

    @classmethod
    def decode(cls, text: str, kind: str, name: str = "after") -> "Cursor":
        """Raises InvalidInput for a text that is no cursor of this kind. `name`: of the argument."""
        try:
            found, microseconds, identity = base64.b64decode(text, altchars=b"-_", validate=True).decode().split(":")
            if found != kind:
                raise ValueError(found)
            return cls(kind, _EPOCH + timedelta(microseconds=int(microseconds)), UUID(hex=identity))
        except (ValueError, OverflowError, binascii.Error):
            raise InvalidInput(f"{name} is not a cursor of {kind}; {SOURCES[name].format(kind)}", name) from None


SOURCES = {
    "after": "pass the endCursor of an earlier page of {}, or leave it out",
    "before": "pass the startCursor of a later page of {}, or leave it out",
}
"""Where a client gets the cursor of an argument."""


def window_of(kind: str, paging: Paging) -> Window[Place]:
    """The window of a list whose cursors have this kind. Raises InvalidInput."""
    return paging.window(lambda name, text: Cursor.decode(text, kind, name).place)


def bounds(stretch: Stretch[Place]) -> tuple[Place, Place]:
    """The bounds of a stretch of a list, newest first: its rows are before the first place, and at the second or behind
    it. The planner knows only this form well: from `<` and `>` it concludes that a row's first column cannot have the
    very value of both places, and sorts what it takes for few rows."""
    newer, older = stretch.after or (LATEST, LAST_ID), stretch.before or (EARLIEST, FIRST_ID)
    if stretch.after is not None and stretch.inclusive:
        newer = _next_newer(newer)
    if stretch.before is not None and not stretch.inclusive:
        older = _next_newer(older)
    return newer, older


def _next_newer(place: Place) -> Place:
    """The place right before this one in a list, newest first."""
    moment, id_ = place
    return moment, UUID(int=min(id_.int + 1, LAST_ID.int))


def keyset_query(
    select: str, table: str, equals: Mapping[str, object | None], window: Window[Place], condition: str = ""
) -> tuple[str, list[object]]:
    """The statement for the rows of a page, newest first, and its arguments; Window.page makes the page of them.

    Only the filters that are set become part of the statement, so that each has a plan through its own index, of which
    it names every column: the filters' columns, created_at, id. With `column = $1` a generic plan is made for the
    average value. Where most values have few rows, it sorted all 200,000 rows of a hot one, in 155 ms on PostgreSQL.
    Rows that do not meet `condition`, which no index has, are read and skipped.
    """
    filters = {f"{table}.{column}": value for column, value in equals.items() if value is not None}
    key = [*filters, f"{table}.created_at", f"{table}.id"]
    same = [f"${number}" for number in range(1, len(filters) + 1)]
    arguments = [*filters.values()]
    statements = []
    for stretch in window.stretches():
        newer, older = bounds(stretch)
        order = "ASC" if stretch.backward else "DESC"
        places = [f"${number}" for number in range(len(arguments) + 1, len(arguments) + 5)]
        arguments += [*newer, *older]
        between = (
            f"({', '.join(key)}) < ({', '.join([*same, *places[:2]])}) "
            f"AND ({', '.join(key)}) >= ({', '.join([*same, *places[2:]])})"
        )
        where = f"{between} AND {condition}" if condition else between
        in_order = ", ".join(f"{column} {order}" for column in key)
        statements.append(f"{select} WHERE {where} ORDER BY {in_order} LIMIT {stretch.limit}")
    return union(statements), arguments


def union(statements: list[str]) -> str:
    """One statement for the rows of all of these."""
    return statements[0] if len(statements) == 1 else " UNION ALL ".join(f"({each})" for each in statements)
