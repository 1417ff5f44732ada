"""Reads of the shop's lists of products: readers that wait at the same time share one statement."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from api.database.database import Database
from api.drops.errors import InvalidInput
from api.drops.gathering import Gathering
from api.drops.products import Product, list_products

MAX_LISTS = 10
"""Lists that one read has, at most. Each is a statement of its own."""


@dataclass(frozen=True, slots=True)
class ListPart:
    """A part of a list: `first` products behind the cursor `after`, newest first. None: the list's begin."""

    first: int
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """The products of a part. `after`: the cursor of the last of them; None if no more follow."""

    products: tuple[Product, ...]
    after: str | None


class ListReads:
    """The reads of lists of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads = Gathering(self._read, MAX_LISTS)

    async def get(self, part: ListPart) -> Listed | None:
        """The part, read after this call. None if `after` is no cursor of this list. Raises Conflict, Unavailable."""
        return (await self._reads.get((part,))).get(part)

    async def close(self) -> None:
        await self._reads.close()

    async def _read(self, parts: Iterable[ListPart]) -> dict[ListPart, Listed]:
        found = {}
        for part in parts:
            with suppress(InvalidInput):  # of one reader's cursor, while the others get what they wait for
                page = await list_products(self._database, part.first, part.after)
                after = page.items[-1].cursor.encode() if page.has_next else None
                found[part] = Listed(tuple(page.items), after)
        return found
