"""Reads of single drops, and of what each drop of a page has: those that wait at the same time share one statement."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

import orjson

from api.database.database import Database
from api.database.retry import RetryBudget, run_again
from api.drops.catalogue import SLUG, Drop, drop_id, drops_by_id, drops_by_slug, write_drop
from api.drops.gathering import Gathering
from api.drops.keyset import Page, Paging, Place, Window, bounds, window_of
from api.drops.product_reads import ProductReads
from api.drops.products import MAX_COUNTED, Product

MAX_DROPS = 100
"""Drops of one statement, at most: as many as a page has."""

MAX_PAGES = 20
"""Pages of products whose ids one statement reads, at most: some 2,000 ids."""

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
_COUNT_PRODUCTS = f"""
SELECT wanted.name, (
    SELECT count(*) FROM (
        SELECT id FROM products WHERE drop_name = wanted.name AND archived_at IS NULL
        ORDER BY created_at, id LIMIT {MAX_COUNTED}
    ) AS found
) AS products
FROM unnest($1::text[]) AS wanted (name)
"""
# The conditions and the order name all columns of the index: see keyset_query.
_FIND = """
SELECT id FROM products
WHERE (drop_name, created_at, id) < (wanted.name, wanted.newer_at, wanted.newer_id)
    AND (drop_name, created_at, id) >= (wanted.name, wanted.older_at, wanted.older_id) AND archived_at IS NULL
"""
_READ_PAGES = f"""
SELECT wanted.page, CASE WHEN wanted.backward THEN (
        SELECT json_agg(found.id) FROM (
            {_FIND} ORDER BY drop_name, created_at, id LIMIT wanted.rows
        ) AS found
    ) ELSE (
        SELECT json_agg(found.id) FROM (
            {_FIND} ORDER BY drop_name DESC, created_at DESC, id DESC LIMIT wanted.rows
        ) AS found
    ) END::text AS ids
FROM unnest($1::text[]::integer[], $2::text[], $3::text[]::timestamptz[], $4::text[]::uuid[],
            $5::text[]::timestamptz[], $6::text[]::uuid[], $7::text[]::integer[], $8::text[]::boolean[])
    AS wanted (page, name, newer_at, newer_id, older_at, older_id, rows, backward)
"""


@dataclass(frozen=True, slots=True)
class DropPage:
    """A page of the products of one drop, newest first."""

    name: str
    window: Window[Place]


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
        self._counts = Gathering(partial(count_products_of_drops, database), MAX_PAGES)

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
        if SLUG.fullmatch(slug) is None:  # it would fail the read that others share
            return None
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

    async def products(self, drop: Drop, paging: Paging) -> Page[Product]:
        """One page of the products of the drop that are not archived, newest first, as list_products returns it. Raises
        InvalidInput, Conflict, Unavailable."""
        page = DropPage(drop.name, window_of("products", paging))
        ids = (await self._pages.get((page,)))[page]
        products = await self._product_reads.get_several(ids) if ids else {}
        return page.window.page(products.values(), lambda product: product.cursor.place, descending=True)

    async def count_products(self, name: str) -> int:
        """The number of the products of a drop that are not archived, MAX_COUNTED at most. Raises Conflict,
        Unavailable."""
        return (await self._counts.get((name,)))[name]

    async def close(self) -> None:
        gatherings = (self._by_id, self._by_slug, self._unwritten, self._openings, self._pages, self._counts)
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


async def count_products_of_drops(database: Database, names: Iterable[str]) -> dict[str, int]:
    """The number of the products of each drop that are not archived, MAX_COUNTED at most. Raises Conflict,
    Unavailable."""
    rows = await database.fetch(_COUNT_PRODUCTS, list(names))
    return {row["name"]: row["products"] for row in rows}


async def read_pages(database: Database, pages: Sequence[DropPage]) -> dict[DropPage, list[UUID]]:
    """The ids of the products of all stretches of each page. Raises Conflict, Unavailable."""
    wanted = []
    for number, page in enumerate(pages):
        for stretch in page.window.stretches():
            (newer_at, newer_id), (older_at, older_id) = bounds(stretch)
            places = (newer_at.isoformat(), str(newer_id), older_at.isoformat(), str(older_id))
            wanted.append((str(number), page.name, *places, str(stretch.limit), str(stretch.backward)))
    rows = await database.fetch(_READ_PAGES, *map(list, zip(*wanted, strict=True)))
    found: dict[DropPage, list[UUID]] = {page: [] for page in pages}
    for row in rows:
        found[pages[row["page"]]] += map(UUID, orjson.loads(row["ids"] or "[]"))
    return found
