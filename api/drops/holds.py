"""Holds: how many units wait for their payment."""

from collections.abc import Iterable
from functools import partial
from uuid import UUID

from api.database.database import Database
from api.drops.gathering import Gathering

MAX_PRODUCTS = 100
"""Products of one statement, at most: as many as a page has."""

_HELD_UNITS = """
SELECT product_id, sum(quantity)::bigint AS units FROM orders
WHERE held_until IS NOT NULL AND status = 'CONFIRMED' AND product_id = ANY($1::text[]::uuid[]) GROUP BY product_id
"""


class HeldUnits:
    """The units in held orders of products. Reads that wait at the same time share one statement."""

    def __init__(self, database: Database) -> None:
        self._reads = Gathering(partial(held_units, database), max_keys=MAX_PRODUCTS)

    async def of(self, product_id: UUID) -> int:
        """The units of a product, read after this call. Raises Conflict, Unavailable."""
        return (await self._reads.get((product_id,))).get(product_id, 0)

    async def close(self) -> None:
        await self._reads.close()


async def held_units(database: Database, product_ids: Iterable[UUID]) -> dict[UUID, int]:
    """The units in held orders by product, without the products that have none. Raises Conflict, Unavailable.

    It reads the holds of all products, through orders_by_hold: held orders are few beside those that were paid.
    """
    rows = await database.fetch(_HELD_UNITS, [str(product_id) for product_id in product_ids])
    return {row["product_id"]: row["units"] for row in rows}
