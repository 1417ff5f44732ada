"""The drops of the shop without a database, and their reads."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from api.drops.catalogue import Drop, drop_id
from api.drops.keyset import Page, Paging, window_of
from api.drops.products import Product
from tests.graphql.differential.canned_rows import NOW

NAMES = {"First Light": "first-light", "Last Light": "last-light"}

FIRST, LAST = (Drop(drop_id(name), slug, name, NOW) for name, slug in NAMES.items())


def rows_of_drops() -> list[dict[str, Any]]:
    """Rows of the table, as list_drops reads them."""
    return [{name: getattr(drop, name) for name in Drop.__slots__} for drop in (LAST, FIRST)]


@dataclass(frozen=True)
class CannedDropReads:
    """What resolvers use of DropReads. `place` is called for each read, and can be late or raise."""

    place: Callable[[str], Awaitable[str]]
    listed: Sequence[Product]

    def known(self, name: str) -> Drop | None:
        return LAST if name == LAST.name else None

    async def of_product(self, product: Product) -> Drop:
        await self.place(f"drop of {product.id}")
        return FIRST

    async def by_slug(self, slug: str) -> Drop:
        await self.place(f"drop {slug}")
        return FIRST

    async def opens_at(self, drop: Drop) -> datetime:
        await self.place(f"opening of {drop.slug}")
        return NOW

    async def products(self, drop: Drop, paging: Paging) -> Page[Product]:
        await self.place(f"products of {drop.slug} {paging}")
        window = window_of("products", paging)
        return window.page(self.listed[: window.size], lambda product: product.cursor.place, descending=True)

    async def count_products(self, name: str) -> int:
        await self.place(f"count of {name}")
        return len(self.listed)
