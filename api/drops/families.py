"""Families: the products of a drop that differ only in their option, such as the size."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias
from uuid import UUID

from api.database.database import Database
from api.drops.gathering import Gathering

MAX_VARIANTS = 50
"""Variants of a family that are read. A shoe comes in some thirty sizes."""

MAX_FAMILIES = 20
"""Families that one statement reads. More rows would keep the event loop for longer."""

Family: TypeAlias = tuple[str, str]
"""The name of a drop, and the name of a family of its products."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A product of a family, as one of the options that a buyer chooses among."""

    id: UUID
    name: str
    option: str | None
    sold_out: bool


# The families are found first, so that only the shards of their own products are read.
READ_FAMILIES = f"""
SELECT wanted.drop_name, wanted.family, found.id, found.name, found.option,
    (SELECT sum(stock) FROM stock_shards WHERE product_id = found.id) <= 0 AS sold_out
FROM unnest($1::text[], $2::text[]) AS wanted (drop_name, family)
CROSS JOIN LATERAL (
    SELECT id, name, option, created_at FROM products
    WHERE products.drop_name = wanted.drop_name AND family = wanted.family AND archived_at IS NULL
    ORDER BY created_at, id LIMIT {MAX_VARIANTS}
) AS found
ORDER BY wanted.drop_name, wanted.family, found.created_at, found.id
"""


class FamilyReads:
    """The reads of families of one process. Those that wait at the same time share one statement."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads = Gathering(self._read, max_keys=MAX_FAMILIES)

    async def get(self, family: Family) -> tuple[Variant, ...]:
        """The products of the family that are not archived, in the order of their creation, at most MAX_VARIANTS. Each
        is as it is after this call. Raises Conflict, Unavailable."""
        return (await self._reads.get((family,))).get(family, ())

    async def close(self) -> None:
        await self._reads.close()

    async def _read(self, families: Iterable[Family]) -> dict[Family, tuple[Variant, ...]]:
        names = list(families)
        rows = await self._database.fetch(
            READ_FAMILIES, [drop_name for drop_name, _ in names], [family for _, family in names]
        )
        return {
            family: tuple(Variant(row["id"], row["name"], row["option"], row["sold_out"]) for row in variants)
            for family, variants in groupby(rows, key=lambda row: (row["drop_name"], row["family"]))
        }
