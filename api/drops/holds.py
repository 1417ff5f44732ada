"""Holds: how many units wait for their payment."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

from api.database.database import Database
from api.drops.gathering import Gathering

MAX_PRODUCTS = 100
"""Products of one statement, at most: as many as a page has."""

MAX_COUNTED = 100_000
"""Held orders of a product that are counted at most, those that run out the earliest."""

_HELD_UNITS = """
SELECT product_id, sum(quantity)::bigint AS units FROM orders
WHERE held_until IS NOT NULL AND status = 'CONFIRMED' AND product_id = ANY($1::text[]::uuid[]) GROUP BY product_id
"""
_COUNT_HOLDS = f"""
SELECT count(*) AS orders, coalesce(sum(quantity), 0)::bigint AS units,
    count(*) FILTER (WHERE held_until <= now()) AS lapsing
FROM (
    SELECT quantity, held_until FROM orders
    WHERE held_until IS NOT NULL AND status = 'CONFIRMED' AND product_id = ANY($1::text[]::uuid[])
    ORDER BY held_until, product_id, id LIMIT {MAX_COUNTED}
) AS held
"""


@dataclass(frozen=True, slots=True)
class HoldCounts:
    """The held orders of a product, and their units. The hold of `lapsing` orders has run out, and they are about to
    lapse."""

    orders: int
    units: int
    lapsing: int


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


async def count_holds(database: Database, product_id: UUID) -> HoldCounts:
    """The held orders of a product, up to MAX_COUNTED. Raises Conflict, Unavailable. It reads as `held_units` does."""
    row = (await database.fetch(_COUNT_HOLDS, [str(product_id)]))[0]
    return HoldCounts(row["orders"], row["units"], row["lapsing"])
