"""Live stock: one publisher per process reads the stock of all watched products and sends the changes to watchers."""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from uuid import UUID

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import DatabaseError, Unavailable
from api.drops.errors import InvalidInput, NotFound
from api.drops.gathering import Gathering
from api.drops.histogram import SECONDS, Histogram
from api.drops.shards import Shard

logger = logging.getLogger("dropzero.stock")

MAX_WATCHED = 100
"""Products in one subscription at most."""

_READ_SHARDS = """
SELECT product_id, json_agg(json_build_array(stock, stocked, version) ORDER BY shard)::text AS shards,
    (SELECT coalesce(revision, 0) FROM products WHERE id = product_id) AS revision
FROM stock_shards WHERE product_id = ANY($1::text[]::uuid[]) GROUP BY product_id
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


@dataclass(frozen=True, slots=True)
class StockLevel:
    """The stock of a product at one version; a higher version is a later stock. `revision`: of the product, see
    Product."""

    product_id: UUID
    stock: int
    version: int
    revision: int = 0

    @classmethod
    def of(cls, product_id: UUID, shards: Sequence[Shard], revision: int = 0) -> "StockLevel":
        """The sums over the shards of a product."""
        stock, version = sum(shard.stock for shard in shards), sum(shard.version for shard in shards)
        return cls(product_id, stock, version, revision)


@dataclass(frozen=True, slots=True)
class StockChange:
    """What a watcher is sent. `stale`: the database does not answer, and this is the last value known. `since`: when
    this process has read or committed it, or the watcher came, by perf_counter."""

    level: StockLevel
    stale: bool
    since: float = field(default_factory=perf_counter, compare=False)


class Watcher:
    """The slots of one subscriber, one per product. A later change replaces a change that was not taken yet."""

    def __init__(self) -> None:
        self._slots: dict[UUID, StockChange] = {}
        self._filled = asyncio.Event()

    def put(self, change: StockChange) -> None:
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


@dataclass(slots=True)
class _Watched:
    """A product that has watchers. `shards`: the latest of each. `change`: what the watchers were sent last. Both are
    empty before the first reading. `revision`: the latest."""

    shards: Sequence[Shard] = ()
    revision: int = 0
    change: StockChange | None = None
    watchers: set[Watcher] = field(default_factory=set)


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
    async def watch(self, product_ids: Iterable[UUID]) -> AsyncIterator[Watcher]:
        """A watcher that finds the current stock of each product at once, and then every change.

        Raises InvalidInput, NotFound; and Conflict or Unavailable when the first reading fails, but not for a later
        reading.
        """
        ids = list(dict.fromkeys(product_ids))
        if not 1 <= len(ids) <= MAX_WATCHED:
            raise InvalidInput(f"productIds must name 1 to {MAX_WATCHED} products, not {len(ids)}", "productIds")
        watcher = Watcher()
        # A product stays watched from joining to leaving. So each change meanwhile reaches this watcher too: of a
        # reading under way, of a purchase, of another watcher's first reading.
        self._join(watcher, ids)
        try:
            await self._read_first(ids)
            if self._polling is None:
                self._polling = asyncio.create_task(self._poll(), name="stock publisher")
            yield watcher
        finally:
            self._leave(watcher, ids)

    def publish(self, product_id: UUID, shards: Sequence[Shard], revision: int = 0) -> None:
        """Send a product's stock to its watchers. The shards and the revision were read, or this process has just
        committed them. With each revision all versions rise, so that watchers are sent it."""
        watched = self._watched.get(product_id)
        if watched is None:
            return
        watched.shards = _latest(watched.shards, shards)
        watched.revision = max(watched.revision, revision)
        level, last = StockLevel.of(product_id, watched.shards, watched.revision), watched.change
        if last is None or level.version > last.level.version or (level.version == last.level.version and last.stale):
            self._send(watched, StockChange(level, stale=False))

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
            if watched.change is not None:
                watcher.put(StockChange(watched.change.level, watched.change.stale))

    def _leave(self, watcher: Watcher, ids: list[UUID]) -> None:
        self.watchers -= 1
        for product_id in ids:
            watched = self._watched[product_id]
            watched.watchers.remove(watcher)
            if not watched.watchers:
                del self._watched[product_id]
        if not self._watched and self._polling is not None:
            self._polling.cancel()
            self._polling = None

    async def _read_first(self, ids: list[UUID]) -> None:
        """Read the products that had no watchers before. Raises NotFound, Conflict, Unavailable."""
        unknown = [product_id for product_id in ids if self._watched[product_id].change is None]
        if unknown:
            await self._readings.get(unknown)
        for product_id in unknown:
            if self._watched[product_id].change is None:
                raise NotFound(f"there is no product {product_id}")

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
        try:
            async with asyncio.timeout(self._times.timeout):
                rows = await self._database.fetch(_READ_SHARDS, [str(product_id) for product_id in product_ids])
        except TimeoutError:
            raise Unavailable(f"no answer within {self._times.timeout:g} seconds") from None
        levels: dict[UUID, StockLevel] = {}
        for row in rows:
            product_id, revision = row["product_id"], row["revision"]
            shards = [Shard(*columns) for columns in json.loads(row["shards"])]
            self.publish(product_id, shards, revision)
            levels[product_id] = StockLevel.of(product_id, shards, revision)
        return levels

    def _mark_stale(self) -> None:
        for watched in self._watched.values():
            if watched.change is not None and not watched.change.stale:
                self._send(watched, StockChange(watched.change.level, stale=True))

    @staticmethod
    def _send(watched: _Watched, change: StockChange) -> None:
        assert watched.change is None or change.level.version >= watched.change.level.version, "versions rise"
        watched.change = change
        for watcher in watched.watchers:
            watcher.put(change)


def _latest(known: Sequence[Shard], found: Sequence[Shard]) -> Sequence[Shard]:
    """The later of each shard."""
    return [max(pair, key=lambda shard: shard.version) for pair in zip(known, found, strict=True)] if known else found
