"""Reads of the shop's lists of products: readers that wait at the same time share one statement."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from api.database.database import Database
from api.drops.catalogue import Drop, list_drops
from api.drops.errors import InvalidInput
from api.drops.gathering import Gathering
from api.drops.products import Product, list_products

MAX_LISTS = 10
"""Lists that one read has, at most. Each is a statement of its own."""


@dataclass(frozen=True, slots=True)
class ListPart:
    """A part of a list: `first` products behind the cursor `after`, newest first. None: the list's begin. `drop_name`:
    of the drop that all of them belong to; None for all drops."""

    first: int
    after: str | None = None
    drop_name: str | None = None


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
        self._newest = Gathering(self._read_newest, MAX_LISTS)

    async def get(self, part: ListPart) -> Listed | None:
        """The part, read after this call. None if `after` is no cursor of this list. Raises Conflict, Unavailable."""
        return (await self._reads.get((part,))).get(part)

    async def newest_drops(self, count: int) -> tuple[Drop, ...]:
        """The newest drops, at most so many, read after this call. Raises Conflict, Unavailable."""
        return (await self._newest.get((count,)))[count]

    async def close(self) -> None:
        await self._reads.close()
        await self._newest.close()

    async def _read(self, parts: Iterable[ListPart]) -> dict[ListPart, Listed]:
        found = {}
        for part in parts:
            with suppress(InvalidInput):  # of one reader's cursor, while the others get what they wait for
                page = await list_products(self._database, part.first, part.after, part.drop_name)
                after = page.items[-1].cursor.encode() if page.has_next else None
                found[part] = Listed(tuple(page.items), after)
        return found

    async def _read_newest(self, counts: Iterable[int]) -> dict[int, tuple[Drop, ...]]:
        return {count: tuple((await list_drops(self._database, count)).items) for count in counts}
