"""Keyset pagination: a page is found through an index, and rows that are added before it do not shift it."""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar
from uuid import UUID

from api.drops.errors import InvalidInput

MAX_PAGE = 100
"""Rows in one page at most."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

EARLIEST, FIRST_ID = datetime.min.replace(tzinfo=UTC), UUID(int=0)
"""The place behind the oldest row of every list."""

LATEST, LAST_ID = datetime.max.replace(tzinfo=UTC), UUID(int=2**128 - 1)
"""The place before the newest row of every list."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Up to `first` items, newest first; `has_next` says whether more follow."""

    items: list[T]
    has_next: bool


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in a list ordered by creation time and id, both falling. `kind` names the list it belongs to."""

    kind: str
    created_at: datetime
    id: UUID

    def encode(self) -> str:
        """An opaque string for clients; `decode` reads it back."""
        microseconds = (self.created_at - _EPOCH) // timedelta(microseconds=1)
        return base64.urlsafe_b64encode(f"{self.kind}:{microseconds}:{self.id.hex}".encode()).decode()

    @classmethod
    def decode(cls, text: str, kind: str) -> "Cursor":
        """Raises InvalidInput for a text that is no cursor of this kind."""
        try:
            found, microseconds, identity = base64.b64decode(text, altchars=b"-_", validate=True).decode().split(":")
            if found != kind:
                raise ValueError(found)
            return cls(kind, _EPOCH + timedelta(microseconds=int(microseconds)), UUID(hex=identity))
        except (ValueError, OverflowError, binascii.Error):
            raise InvalidInput(
                f"after is not a cursor of {kind}; pass the endCursor of an earlier page of {kind}, or leave it out",
                "after",
            ) from None


def checked_first(first: int) -> int:
    """The number of items of a page. Raises InvalidInput when it is not 1 to MAX_PAGE."""
    if not 1 <= first <= MAX_PAGE:
        raise InvalidInput(f"first must be between 1 and {MAX_PAGE}, not {first}", "first")
    return first


def keyset_query(
    select: str, table: str, equals: Mapping[str, object | None], after: Cursor | None, first: int
) -> tuple[str, list[object]]:
    """The statement for one page and its arguments; see keyset_clauses. Raises InvalidInput."""
    clauses, arguments = keyset_clauses(table, equals, after, first)
    return f"{select} {clauses}", arguments


def keyset_clauses(
    table: str, equals: Mapping[str, object | None], after: Cursor | None, first: int, condition: str = ""
) -> tuple[str, list[object]]:
    """WHERE, ORDER BY and LIMIT of one page, and their arguments. They find one more row, to see whether more follow.

    Only the filters that are set become part of the statement, so that each has a plan through its own index, of which
    it names every column: the filters' columns, created_at, id. With `column = $1` a generic plan is made for the
    average value. Where most values have few rows, it sorted all 200,000 rows of a hot one, in 155 ms on PostgreSQL.
    Rows that do not meet `condition`, which no index has, are read and skipped.

    Raises InvalidInput for a `first` outside 1 to MAX_PAGE.
    """
    limit = checked_first(first) + 1
    filters = {f"{table}.{column}": value for column, value in equals.items() if value is not None}
    key = [*filters, f"{table}.created_at", f"{table}.id"]
    place = (LATEST, LAST_ID) if after is None else (after.created_at, after.id)
    numbers = [f"${number}" for number in range(1, len(key) + 1)]
    at_least = f"({', '.join(filters)}) >= ({', '.join(numbers[: len(filters)])}) AND " if filters else ""
    before = f"({', '.join(key)}) < ({', '.join(numbers)})"
    order = ", ".join(f"{column} DESC" for column in key)
    where = f"{before} AND {condition}" if condition else before
    return f"WHERE {at_least}{where} ORDER BY {order} LIMIT {limit}", [*filters.values(), *place]
