"""Reads of single products: those that wait at the same time share one statement."""

import asyncio
from collections.abc import Iterable
from functools import partial
from uuid import UUID

from api.database.database import Database
from api.database.regions import Regions
from api.drops.gathering import Gathering
from api.drops.products import Product, get_products

MAX_PRODUCTS = 100
"""Products that one statement reads, at most: as many as a page has. More rows would keep the event loop for longer."""


class ProductReads:
    """The reads of single products of one process: one at a time through each Region."""

    def __init__(self, regions: Regions) -> None:
        self._regions = regions
        databases: dict[str | None, Database] = {None: regions, **{pool.region: pool for pool in regions}}
        self._reads = {
            region: Gathering(partial(get_products, database), max_keys=MAX_PRODUCTS)
            for region, database in databases.items()
        }

    async def get(self, product_id: UUID, region: str | None = None) -> Product | None:
        """The product, read after this call through a Region, or for None through home, or a peer while home is away.
        None if there is no such product. Raises UnknownRegion, Conflict, Unavailable."""
        if region is not None:
            self._regions.pool(region)  # raises UnknownRegion
        return (await self._reads[region].get((product_id,))).get(product_id)

    async def get_several(self, ids: Iterable[UUID]) -> dict[UUID, Product]:
        """Those of the products that exist, by id, read after this call through home, or a peer while home is away.
        Raises Conflict, Unavailable."""
        return await self._reads[None].get(ids)

    async def close(self) -> None:
        await asyncio.gather(*(reads.close() for reads in self._reads.values()))
