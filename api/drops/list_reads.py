"""Reads of the shop's lists of products: readers that wait at the same time share one statement."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from api.database.database import Database
from api.drops.catalogue import Drop, list_drops
from api.drops.errors import InvalidInput
from api.drops.gathering import Gathering
from api.drops.keyset import Paging
from api.drops.product_search import ProductSearch, search_products
from api.drops.products import Product

MAX_LISTS = 12
"""Lists that one read has, at most. Each is a statement of its own."""

MAX_STEPS = 4
"""Pages of a search that a read puts together, at most: each examines a bounded number of rows, and can be short."""


@dataclass(frozen=True, slots=True)
class ListPart:
    """A part of a list: `first` products of a search behind the cursor `after`. None: the list's begin."""

    search: ProductSearch
    first: int
    after: str | None = None


@dataclass(frozen=True, slots=True)
class Listed:
    """The products of a part. `after`: the cursor to go on from; None if no more follow."""

    products: tuple[Product, ...]
    after: str | None


class ListReads:
    """The reads of lists of one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads = Gathering(self._read, MAX_LISTS)
        self._newest = Gathering(self._read_newest, MAX_LISTS)

    async def get(self, parts: Iterable[ListPart]) -> dict[ListPart, Listed]:
        """The parts, read after this call. A part is missing if its `after` is no cursor of its list. Raises Conflict,
        Unavailable."""
        return await self._reads.get(parts)

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
                found[part] = await self._read_part(part)
        return found

    async def _read_part(self, part: ListPart) -> Listed:
        products: list[Product] = []
        after = part.after
        for _ in range(MAX_STEPS):
            paging = Paging(part.first - len(products), after)
            page = await search_products(self._database, part.search, paging)
            products += page.items
            after = page.end.encode() if page.has_next and page.end is not None else None
            if after is None or len(products) == part.first:
                break
        return Listed(tuple(products), after)

    async def _read_newest(self, counts: Iterable[int]) -> dict[int, tuple[Drop, ...]]:
        return {count: tuple((await list_drops(self._database, count)).items) for count in counts}
