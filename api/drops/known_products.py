"""The products that exist. A purchase of an unknown product gets no line."""

from uuid import UUID

from api.database.database import Database
from api.drops.errors import NotFound
from api.drops.gathering import Gathering

MAX_KNOWN = 100_000
"""Products that are remembered. Each takes about 100 bytes."""

_READ_IDS = "SELECT id FROM products WHERE id = ANY($1::text[]::uuid[])"


class KnownProducts:
    """The products that this process has found in the database.

    Products are never deleted, so each is read once. A product that was not found is read again for the next purchase.
    Purchases that wait at the same time share one read.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: set[UUID] = set()
        self._reads = Gathering(self._read)

    def knows(self, product_id: UUID) -> bool:
        """Whether the product has been found before."""
        return product_id in self._known

    async def require(self, product_id: UUID) -> None:
        """Return when the product exists. Raises NotFound, and the database's errors."""
        if self.knows(product_id):
            return
        if not await self._reads.get([product_id]):
            raise NotFound(f"there is no product {product_id}")
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known.add(product_id)

    async def close(self) -> None:
        await self._reads.close()

    async def _read(self, ids: list[UUID]) -> dict[UUID, UUID]:
        rows = await self._database.fetch(_READ_IDS, [str(product_id) for product_id in ids])
        return {row["id"]: row["id"] for row in rows}
