"""Changes of live stock, and the slots in which they wait for a watcher."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import perf_counter
from uuid import UUID

from api.drops.products import Product
from api.drops.shards import Shard


@dataclass(frozen=True, slots=True)
class StockLevel:
    """The stock of a product at one version; a higher version is a later stock. `revision` and `stocked`: of the
    product, see Product."""

    product_id: UUID
    stock: int
    version: int
    revision: int = 0
    stocked: int = field(default=0, compare=False)

    @classmethod
    def of(cls, product_id: UUID, shards: Sequence[Shard], revision: int = 0) -> "StockLevel":
        """The sums over the shards of a product."""
        stock, version = sum(shard.stock for shard in shards), sum(shard.version for shard in shards)
        return cls(product_id, stock, version, revision, sum(shard.stocked for shard in shards))


@dataclass(frozen=True, slots=True)
class StockChange:
    """What a watcher is sent. `stale`: the database does not answer, and this is the last value known. `since`: when
    this process has read or committed it, or the watcher came, by perf_counter. `fields`: the product at the level's
    revision, with the stock of any moment; None if it is not known. `read_at`: the latest moment by the database's
    clock at which the level was known to be the product's; None if it is not known."""

    level: StockLevel
    stale: bool
    since: float = field(default_factory=perf_counter, compare=False)
    fields: Product | None = field(default=None, compare=False)
    read_at: datetime | None = field(default=None, compare=False)

    @property
    def product(self) -> Product:
        """The product at exactly the level's version. Only a watcher with products has it."""
        assert self.fields is not None, "the watcher was sent the product"
        fields, level = self.fields, self.level
        return replace(
            fields,
            stock=level.stock,
            stocked=level.stocked,
            version=level.version,
            read_at=self.read_at or fields.read_at,
        )


class Watcher:
    """The slots of one subscriber, one per product. A later change replaces a change that was not taken yet.
    `with_products`: each change must have the product."""

    def __init__(self, *, with_products: bool = False) -> None:
        self.with_products = with_products
        self._slots: dict[UUID, StockChange] = {}
        self._filled = asyncio.Event()

    def has(self, product_id: UUID) -> bool:
        """Whether a change of the product waits to be taken."""
        return product_id in self._slots

    def put(self, change: StockChange) -> None:
        """Let the watcher take a change. A change without the product is left out where the watcher must have it: the
        publisher is reading the product for the watcher, and sends it then."""
        if change.fields is not None or not self.with_products:
            self._slots[change.level.product_id] = change
            self._filled.set()

    async def take(self) -> list[StockChange]:
        """Wait for a change, and return all that wait: at most one per product, in the order in which they came."""
        while not self._slots:
            self._filled.clear()
            await self._filled.wait()
        changes = list(self._slots.values())
        self._slots.clear()
        return changes

    def latest(self, taken: StockChange) -> StockChange:
        """The change itself, or a later change of the same product that came since it was taken."""
        return self._slots.pop(taken.level.product_id, taken)
