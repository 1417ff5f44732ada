"""Live stock: one publisher per process reads the stock of all watched products and sends the changes to watchers."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import DatabaseError, Unavailable
from api.database.pool import Record
from api.drops.errors import InvalidInput, NotFound
from api.drops.gathering import Gathering
from api.drops.histogram import SECONDS, Histogram
from api.drops.product_reads import MAX_PRODUCTS
from api.drops.products import PRODUCT_COLUMNS, Product, product_of
from api.drops.shards import Shard
from api.drops.stock_changes import StockChange, StockLevel, Watcher

logger = logging.getLogger("dropzero.stock")

MAX_WATCHED = 100
"""Products in one subscription at most."""

_READ_SHARDS = """
SELECT product_id, json_agg(json_build_array(stock, stocked, version) ORDER BY shard)::text AS shards,
    (SELECT coalesce(revision, 0) FROM products WHERE id = product_id) AS revision, now() AS read_at
FROM stock_shards WHERE product_id = ANY($1::text[]::uuid[]) GROUP BY product_id
"""
_READ_PRODUCTS = f"""
SELECT {PRODUCT_COLUMNS},
    (SELECT json_agg(json_build_array(stock, stocked, version) ORDER BY shard)::text
     FROM stock_shards WHERE product_id = products.id) AS shards
FROM products WHERE id = ANY($1::text[]::uuid[])
"""


@dataclass(frozen=True, slots=True)
class PollingTimes:
    """When the publisher reads the stock, in seconds.

    `interval`: between two readings. Each wait is jittered by a tenth, so that processes do not read in step.
    `timeout`: for one reading, a new connection included. A database that does not answer by then counts as away.
    `max_backoff`: added to the interval at most while the database is away.
    """

    interval: float = 0.25
    timeout: float = 5.0
    max_backoff: float = 5.0

    @property
    def backoff(self) -> Backoff:
        """Waits that are added to the interval while the database is away."""
        return Backoff(base=self.interval, cap=self.max_backoff)


@dataclass(slots=True)
class _Watched:
    """A product that has watchers. `shards`: the latest of each. `change`: what the watchers were sent last. Both are
    empty before the first reading. `revision`: the latest. `product`: with the fields of the latest revision that was
    read or committed here; None if none was. `read_at`: the latest moment of the database's clock at which the stock
    was this. `with_products`: watchers that must have the product."""

    shards: Sequence[Shard] = ()
    revision: int = 0
    product: Product | None = None
    read_at: datetime | None = None
    change: StockChange | None = None
    watchers: set[Watcher] = field(default_factory=set)
    with_products: int = 0

    def lacks_fields(self, revision: int) -> bool:
        """Whether watchers must have the product's fields of this revision, which are not known."""
        return self.with_products > 0 and (self.product is None or self.product.revision < revision)

    def changed(self, level: StockLevel, *, stale: bool) -> StockChange:
        """The change to this level, with the product if it is known at the level's revision."""
        product = self.product
        known = product is not None and product.revision == level.revision
        return StockChange(level, stale, fields=product if known else None, read_at=self.read_at)


class StockPublisher:
    """Reads the stock of all watched products once per interval, and nothing while nobody watches.

    It keeps the latest of each shard, and sends the sums. The versions of shards only rise, so their sum only rises. A
    reading that finds nothing later is dropped. While the database does not answer, watchers are sent the last value
    once more, as stale, and the pauses between readings grow.
    """

    def __init__(self, database: Database, times: PollingTimes) -> None:
        self._database = database
        self._times = times
        self._watched: dict[UUID, _Watched] = {}
        self._polling: asyncio.Task[None] | None = None
        self._readings = Gathering(self._read)
        self.watchers = 0
        """Subscribers now."""
        self.readings = 0
        """Readings begun since the start."""
        self.failed_readings = 0
        """Readings for the watched products that the database did not answer."""
        self.delivery_seconds = Histogram(SECONDS)
        """Of each change, from its reading or commit to its delivery to the last watcher of a subscription."""

    @property
    def watched_products(self) -> int:
        """Products that somebody watches now."""
        return len(self._watched)

    @asynccontextmanager
    async def watch(self, product_ids: Iterable[UUID], *, with_products: bool = False) -> AsyncIterator[Watcher]:
        """A watcher that finds the current stock of each product at once, and then every change. `with_products`: each
        change has the product, whose fields are read once for each of its revisions, unless this process has made it.

        Raises InvalidInput, NotFound; and Conflict or Unavailable when the first reading fails, but not for a later
        reading.
        """
        ids = list(dict.fromkeys(product_ids))
        if not 1 <= len(ids) <= MAX_WATCHED:
            raise InvalidInput(f"productIds must name 1 to {MAX_WATCHED} products, not {len(ids)}", "productIds")
        watcher = Watcher(with_products=with_products)
        # A product stays watched from joining to leaving. So each change meanwhile reaches this watcher too: of a
        # reading under way, of a purchase, of another watcher's first reading.
        self._join(watcher, ids)
        try:
            await self._read_first(watcher, ids)
            if self._polling is None:
                self._polling = asyncio.create_task(self._poll(), name="stock publisher")
            yield watcher
        finally:
            self._leave(watcher, ids)

    def publish(
        self,
        product_id: UUID,
        shards: Sequence[Shard],
        revision: int = 0,
        product: Product | None = None,
        read_at: datetime | None = None,
    ) -> None:
        """Send a product's stock to its watchers. The shards and the revision were read, or this process has just
        committed them. With each revision all versions rise, so that watchers are sent it. `product`: with its fields
        at the revision, if they are known. `read_at`: the moment by the database's clock, if there is no `product`."""
        watched = self._watched.get(product_id)
        if watched is None:
            return
        watched.shards = _latest(watched.shards, shards)
        watched.revision = max(watched.revision, revision)
        read_at = read_at if product is None else product.read_at
        if read_at is not None and (watched.read_at is None or watched.read_at < read_at):
            watched.read_at = read_at
        if product is not None and (watched.product is None or watched.product.revision < revision):
            watched.product = product
        level, last = StockLevel.of(product_id, watched.shards, watched.revision), watched.change
        if last is None or level.version > last.level.version or (level.version == last.level.version and last.stale):
            self._send(watched, watched.changed(level, stale=False))

    async def close(self) -> None:
        """End the readings. Watchers get no more changes; their tasks have to be cancelled by their owners."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait([self._polling])
        await self._readings.close()

    def _join(self, watcher: Watcher, ids: list[UUID]) -> None:
        self.watchers += 1
        for product_id in ids:
            watched = self._watched.setdefault(product_id, _Watched())
            watched.watchers.add(watcher)
            watched.with_products += watcher.with_products
            if watched.change is not None:
                watcher.put(watched.changed(watched.change.level, stale=watched.change.stale))

    def _leave(self, watcher: Watcher, ids: list[UUID]) -> None:
        self.watchers -= 1
        for product_id in ids:
            watched = self._watched[product_id]
            watched.watchers.remove(watcher)
            watched.with_products -= watcher.with_products
            if not watched.watchers:
                del self._watched[product_id]
        if not self._watched and self._polling is not None:
            self._polling.cancel()
            self._polling = None

    async def _read_first(self, watcher: Watcher, ids: list[UUID]) -> None:
        """Read the products of which the watcher's first change is not known. Raises NotFound, Conflict,
        Unavailable."""
        unknown = [product_id for product_id in ids if not watcher.has(product_id)]
        if unknown:
            await self._readings.get(unknown)
        for product_id in unknown:
            watched = self._watched[product_id]
            if watched.change is None:
                raise NotFound(f"there is no product {product_id}")
            if not watcher.has(product_id):  # the stock was known, and the product was not
                watcher.put(watched.changed(watched.change.level, stale=watched.change.stale))
            assert watcher.has(product_id), "the reading has found the product at its latest revision"

    async def _poll(self) -> None:
        """Read the watched products once per interval. The last watcher to leave cancels this task."""
        interval = self._times.interval
        backoff = self._times.backoff
        failures = 0
        while True:
            pause = backoff.delay(failures) if failures else 0.0
            await asyncio.sleep(pause + interval * random.uniform(0.9, 1.1))  # noqa: S311
            try:
                await self._readings.get(self._watched)
            except Exception as error:
                # A defect is caught too: without readings the watchers would wait for ever.
                failures += 1
                self.failed_readings += 1
                if failures == 1:
                    defect = None if isinstance(error, DatabaseError) else error
                    logger.warning(
                        "the stock cannot be read, watchers keep the last: %s; this is tried again. If it goes on, "
                        "look at /readyz; report a traceback",
                        error,
                        exc_info=defect,
                    )
                self._mark_stale()
            else:
                if failures:
                    logger.info("the stock can be read again, after %d failed readings", failures)
                failures = 0

    async def _read(self, product_ids: list[UUID]) -> dict[UUID, StockLevel]:
        """Read the stock of those products that exist, and send it to their watchers. Raises Conflict,
        Unavailable."""
        self.readings += 1
        rows = await self._fetch(_READ_SHARDS, product_ids)
        levels: dict[UUID, StockLevel] = {}
        unknown: list[UUID] = []
        for row in rows:
            product_id, revision = row["product_id"], row["revision"]
            watched = self._watched.get(product_id)
            shards = _shards_of(row)
            levels[product_id] = StockLevel.of(product_id, shards, revision)
            if watched is not None and watched.lacks_fields(revision):
                unknown.append(product_id)
            else:
                self.publish(product_id, shards, revision, read_at=row["read_at"])
        for start in range(0, len(unknown), MAX_PRODUCTS):
            await self._read_fields(unknown[start : start + MAX_PRODUCTS])
        return levels

    async def _read_fields(self, product_ids: list[UUID]) -> None:
        """Read products with all their fields, and send them to their watchers. Raises Conflict, Unavailable."""
        for row in await self._fetch(_READ_PRODUCTS, product_ids):
            shards = _shards_of(row)
            level = StockLevel.of(row["id"], shards, row["revision"])
            product = product_of(row, level.stock, level.stocked, level.version, len(shards))
            self.publish(product.id, shards, product.revision, product)

    async def _fetch(self, statement: str, product_ids: list[UUID]) -> list[Record]:
        try:
            async with asyncio.timeout(self._times.timeout):
                return await self._database.fetch(statement, [str(product_id) for product_id in product_ids])
        except TimeoutError:
            raise Unavailable(f"no answer within {self._times.timeout:g} seconds") from None

    def _mark_stale(self) -> None:
        for watched in self._watched.values():
            if watched.change is not None and not watched.change.stale:
                self._send(watched, watched.changed(watched.change.level, stale=True))

    @staticmethod
    def _send(watched: _Watched, change: StockChange) -> None:
        assert watched.change is None or change.level.version >= watched.change.level.version, "versions rise"
        watched.change = change
        for watcher in watched.watchers:
            watcher.put(change)


def _shards_of(row: Record) -> list[Shard]:
    return [Shard(*columns) for columns in json.loads(row["shards"])]


def _latest(known: Sequence[Shard], found: Sequence[Shard]) -> Sequence[Shard]:
    """The later of each shard."""
    return [max(pair, key=lambda shard: shard.version) for pair in zip(known, found, strict=True)] if known else found
