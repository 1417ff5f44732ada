"""Live stock: one publisher per process reads the stock of all watched products and hands out the changes."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from uuid import UUID

from api.database.backoff import Backoff
from api.database.errors import DatabaseError
from api.database.pool import Pool
from api.drops.errors import InvalidInput, NotFound

logger = logging.getLogger("dropzero.stock")

MAX_WATCHED = 100
"""Products in one subscription at most."""

_READ_LEVELS = "SELECT product_id, stock, version FROM inventory WHERE product_id = ANY($1::uuid[])"


@dataclass(frozen=True, slots=True)
class StockLevel:
    """The stock of a product at one version; a higher version is a later stock."""

    product_id: UUID
    stock: int
    version: int


@dataclass(frozen=True, slots=True)
class StockChange:
    """What a watcher is told. `stale`: the database is away, and this is the last value known before."""

    level: StockLevel
    stale: bool


async def read_levels(pool: Pool, product_ids: Iterable[UUID]) -> list[StockLevel]:
    """The current stock of those products that exist, in one read. Raises Unavailable."""
    rows = await pool.fetch(_READ_LEVELS, list(product_ids))
    return [StockLevel(row["product_id"], row["stock"], row["version"]) for row in rows]


class Watcher:
    """One subscriber's slots, one per product, where the latest change replaces one not yet taken."""

    def __init__(self) -> None:
        self._slots: dict[UUID, StockChange] = {}
        self._filled = asyncio.Event()

    def put(self, change: StockChange) -> None:
        self._slots[change.level.product_id] = change
        self._filled.set()

    async def take(self) -> StockChange:
        """Wait for a change and take the one of the product that has waited longest."""
        await self._filled.wait()
        product_id = next(iter(self._slots))
        change = self._slots.pop(product_id)
        if not self._slots:
            self._filled.clear()
        return change


@dataclass(slots=True)
class _Watched:
    """A product that somebody watches; `change` is what its watchers were told last."""

    change: StockChange | None = None
    watchers: set[Watcher] = field(default_factory=set)


class StockPublisher:
    """Reads the stock of all watched products once per interval, and nothing while nobody watches.

    Versions only go up: a reading that is older than what was told before is dropped. While the database is
    away, watchers keep the last value, told once that it is stale, and the readings back off.
    """

    def __init__(self, pool: Pool, interval: float) -> None:
        """`interval` in seconds; each wait is jittered by a tenth so that processes do not read in step."""
        self._pool = pool
        self._interval = interval
        self._watched: dict[UUID, _Watched] = {}
        self._polling: asyncio.Task[None] | None = None

    async def watch(self, product_ids: Iterable[UUID]) -> AsyncIterator[StockChange]:
        """The current stock of each product at once, then every change; a slow reader skips to the latest.

        Raises InvalidInput, NotFound, and Unavailable when the first reading fails; never later.
        """
        ids = list(dict.fromkeys(product_ids))
        if not 1 <= len(ids) <= MAX_WATCHED:
            raise InvalidInput(f"productIds must name 1 to {MAX_WATCHED} products, not {len(ids)}")
        watcher = Watcher()
        try:
            await self._join(watcher, ids)
            while True:
                yield await watcher.take()
        finally:
            self._leave(watcher, ids)

    def publish(self, level: StockLevel) -> None:
        """Tell the watchers of a change that this process has just committed, ahead of the next reading."""
        watched = self._watched.get(level.product_id)
        if watched is not None:
            self._tell(watched, level)

    async def close(self) -> None:
        """End the readings. Watchers stay as they are; whoever iterates them is to be cancelled."""
        if self._polling is not None:
            self._polling.cancel()
            await asyncio.wait([self._polling])

    async def _join(self, watcher: Watcher, ids: list[UUID]) -> None:
        for product_id in ids:
            watched = self._watched.setdefault(product_id, _Watched())
            watched.watchers.add(watcher)
            if watched.change is not None:
                watcher.put(watched.change)
        unknown = [product_id for product_id in ids if self._watched[product_id].change is None]
        if unknown:
            self._apply(await read_levels(self._pool, unknown))
            for product_id in unknown:
                if self._watched[product_id].change is None:
                    raise NotFound(f"there is no product {product_id}")
        if self._polling is None or self._polling.done():
            self._polling = asyncio.create_task(self._poll(), name="stock publisher")

    def _leave(self, watcher: Watcher, ids: list[UUID]) -> None:
        for product_id in ids:
            watched = self._watched.get(product_id)
            if watched is not None:
                watched.watchers.discard(watcher)
                if not watched.watchers:
                    del self._watched[product_id]

    async def _poll(self) -> None:
        failures = 0
        backoff = Backoff(base=self._interval, cap=max(5.0, self._interval))
        while self._watched:
            pause = backoff.delay(failures) if failures else 0.0
            await asyncio.sleep(pause + self._interval * random.uniform(0.9, 1.1))  # noqa: S311
            try:
                levels = await read_levels(self._pool, list(self._watched))
            except DatabaseError as error:
                failures += 1
                if failures == 1:
                    logger.warning("the stock cannot be read, watchers keep the last value: %s", error)
                self._mark_stale()
            else:
                if failures:
                    logger.info("the stock can be read again, after %d failed readings", failures)
                failures = 0
                self._apply(levels)

    def _apply(self, levels: list[StockLevel]) -> None:
        for level in levels:
            self.publish(level)

    def _mark_stale(self) -> None:
        for watched in self._watched.values():
            if watched.change is not None and not watched.change.stale:
                self._send(watched, StockChange(watched.change.level, stale=True))

    def _tell(self, watched: _Watched, level: StockLevel) -> None:
        told = watched.change
        if told is not None:
            if level.version < told.level.version:
                return
            if level.version == told.level.version and not told.stale:
                return
        self._send(watched, StockChange(level, stale=False))

    @staticmethod
    def _send(watched: _Watched, change: StockChange) -> None:
        watched.change = change
        for watcher in watched.watchers:
            watcher.put(change)
