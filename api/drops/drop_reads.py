"""Reads of single drops, and of what each drop of a page has: those that wait at the same time share one statement."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import orjson

from api.database.database import Database
from api.database.retry import RetryBudget, run_again
from api.drops.catalogue import Drop, drop_id, drops_by_id, drops_by_slug, write_drop
from api.drops.gathering import Gathering
from api.drops.keyset import LAST_ID, LATEST, Cursor, Page, checked_first
from api.drops.product_reads import ProductReads
from api.drops.products import Product

MAX_DROPS = 100
"""Drops of one statement, at most: as many as a page has."""

MAX_PAGES = 20
"""Pages of products whose ids one statement reads, at most: 2,000 ids."""

MAX_KNOWN = 10_000
"""Drops that are remembered. Each takes about 700 bytes."""

# Two entries of the index for each drop, however many products it has.
_READ_OPENINGS = """
SELECT wanted.name, EXISTS (
        SELECT 1 FROM products WHERE drop_name = wanted.name AND opens_at IS NULL AND archived_at IS NULL
    ) AS open_from_the_start, (
        SELECT opens_at FROM products
        WHERE drop_name = wanted.name AND opens_at IS NOT NULL AND archived_at IS NULL ORDER BY opens_at LIMIT 1
    ) AS opens_at
FROM unnest($1::text[]) AS wanted (name)
"""
# The conditions and the order name all columns of the index: see keyset_clauses.
_READ_PAGES = """
SELECT wanted.number, (
    SELECT json_agg(page.id ORDER BY page.created_at DESC, page.id DESC)::text FROM (
        SELECT created_at, id FROM products
        WHERE drop_name >= wanted.name AND (drop_name, created_at, id) < (wanted.name, wanted.created_at, wanted.id)
            AND archived_at IS NULL
        ORDER BY drop_name DESC, created_at DESC, id DESC LIMIT wanted.rows
    ) AS page
) AS ids
FROM unnest($1::text[], $2::text[]::timestamptz[], $3::text[]::uuid[], $4::text[]::integer[])
    WITH ORDINALITY AS wanted (name, created_at, id, rows, number)
"""


@dataclass(frozen=True, slots=True)
class DropPage:
    """A page of the products of one drop: `first` of them behind a place in the list."""

    name: str
    first: int
    created_at: datetime
    id: UUID


class DropReads:
    """The reads of drops of one process. A drop never changes and is never deleted, so each is read once."""

    def __init__(self, database: Database, product_reads: ProductReads, budget: RetryBudget) -> None:
        self._database = database
        self._product_reads = product_reads
        self._budget = budget
        self._known: dict[UUID, Drop] = {}
        self._by_id = Gathering(partial(drops_by_id, database), MAX_DROPS)
        self._by_slug = Gathering(partial(drops_by_slug, database), MAX_DROPS)
        self._unwritten = Gathering(self._write, MAX_DROPS)
        self._openings = Gathering(partial(read_openings, database), MAX_DROPS)
        self._pages = Gathering(partial(read_pages, database), MAX_PAGES)

    def known(self, name: str) -> Drop | None:
        """The drop of a name, if this process has read it before."""
        return self._known.get(drop_id(name))

    async def by_id(self, wanted: UUID) -> Drop | None:
        """The drop of an id; None if there is none. Raises Conflict, Unavailable."""
        drop = self._known.get(wanted) or (await self._by_id.get((wanted,))).get(wanted)
        if drop is not None:
            self._remember(drop)
        return drop

    async def by_slug(self, slug: str) -> Drop | None:
        """The drop of a slug; None if there is none. Raises Conflict, Unavailable."""
        drop = (await self._by_slug.get((slug,))).get(slug)
        if drop is not None:
            self._remember(drop)
        return drop

    async def of_product(self, product: Product) -> Drop:
        """The drop of a product that was read. A server of a version that knew no drops writes none: then it is written
        now. Raises Conflict, Unavailable, OutcomeUnknown."""
        name = product.drop_name
        drop = await self.by_id(drop_id(name)) or (await self._unwritten.get((name,)))[name]
        self._remember(drop)
        return drop

    async def opens_at(self, drop: Drop) -> datetime | None:
        """When the first product of the drop opens that is not archived. None if one has been open since its creation,
        or if all are archived. Raises Conflict, Unavailable."""
        return (await self._openings.get((drop.name,)))[drop.name]

    async def products(self, drop: Drop, first: int, after: str | None) -> Page[Product]:
        """One page of the products of the drop that are not archived, newest first. Raises InvalidInput, Conflict,
        Unavailable."""
        cursor = None if after is None else Cursor.decode(after, "products")
        place = (LATEST, LAST_ID) if cursor is None else (cursor.created_at, cursor.id)
        page = DropPage(drop.name, checked_first(first), *place)
        ids = (await self._pages.get((page,)))[page]
        products = await self._product_reads.get_several(ids[:first]) if ids else {}
        return Page([products[product_id] for product_id in ids[:first]], has_next=len(ids) > first)

    async def close(self) -> None:
        gatherings = (self._by_id, self._by_slug, self._unwritten, self._openings, self._pages)
        await asyncio.gather(*(gathering.close() for gathering in gatherings))

    def _remember(self, drop: Drop) -> None:
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[drop.id] = drop

    async def _write(self, names: list[str]) -> Mapping[str, Drop]:
        """Store the drops of these names, and read them."""
        for name in names:
            await run_again(partial(self._write_one, name), self._budget, safe_after_lost_commit=True)
        found = await drops_by_id(self._database, map(drop_id, names))
        return {name: found[drop_id(name)] for name in names}

    async def _write_one(self, name: str) -> None:
        async with self._database.begin() as transaction:
            await write_drop(transaction, name)
            await transaction.commit()


async def read_openings(database: Database, names: Iterable[str]) -> dict[str, datetime | None]:
    """When each of the drops opens; see DropReads.opens_at. Raises Conflict, Unavailable."""
    rows = await database.fetch(_READ_OPENINGS, list(names))
    return {row["name"]: None if row["open_from_the_start"] else row["opens_at"] for row in rows}


async def read_pages(database: Database, pages: list[DropPage]) -> dict[DropPage, list[UUID]]:
    """The ids of the products of each page, and of one more if more follow. Raises Conflict, Unavailable."""
    rows = await database.fetch(
        _READ_PAGES,
        [page.name for page in pages],
        [page.created_at.isoformat() for page in pages],
        [str(page.id) for page in pages],
        [str(page.first + 1) for page in pages],
    )
    ids = {row["number"]: orjson.loads(row["ids"] or "[]") for row in rows}
    return {page: [UUID(each) for each in ids[number]] for number, page in enumerate(pages, start=1)}
