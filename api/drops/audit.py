"""The audit: stocked = stock + the sum of confirmed orders, for every product, at one moment."""

from dataclasses import dataclass
from uuid import UUID

from api.database.database import Database

# One statement is one snapshot, on a live database as well. Orders of no product are found too.
_AUDIT = """
SELECT coalesce(inventory.product_id, sold.product_id) AS product_id, products.name,
       inventory.stocked, inventory.stock, coalesce(sold.units, 0) AS sold, coalesce(sold.orders, 0) AS orders
FROM inventory
FULL JOIN (
    SELECT product_id, sum(quantity) AS units, count(*) AS orders
    FROM orders WHERE status = 'CONFIRMED' GROUP BY product_id
) AS sold ON sold.product_id = inventory.product_id
LEFT JOIN products ON products.id = inventory.product_id
ORDER BY products.created_at, products.id
"""


AUDIT_TIMEOUT = 600.0
"""Seconds. The audit reads every order."""


@dataclass(frozen=True, slots=True)
class AuditLine:
    """One product's books, in units. `name` and `stocked` are None for orders whose product does not exist."""

    product_id: UUID
    name: str | None
    stocked: int | None
    stock: int | None
    sold: int
    orders: int

    @property
    def balanced(self) -> bool:
        """Whether every unit that was added is either in stock or sold."""
        return self.stocked is not None and self.stock is not None and self.stocked == self.stock + self.sold


async def audit(database: Database) -> list[AuditLine]:
    """Every product's books in one snapshot, oldest product first. Raises Conflict, Unavailable."""
    return [AuditLine(**row) for row in await database.fetch(_AUDIT, timeout=AUDIT_TIMEOUT)]
