"""What the tests of the stock publisher share: its pool, its times, and the changes that watchers get."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool, Record
from api.database.tokens import AuthTokens
from api.drops.shards import Shard
from api.drops.stock import PollingTimes, StockPublisher
from api.drops.stock_changes import StockChange, StockLevel, Watcher
from tests.patience import PATIENCE, PATIENT_TIMES

SELDOM = PollingTimes(interval=100 * PATIENCE, timeout=PATIENCE)
"""For tests that are to pass without a second reading."""

OFTEN = PollingTimes(interval=0.01, timeout=PATIENCE, max_backoff=0.05)
"""For tests that wait for readings, and see a recovery soon."""


class CountingPool(Pool):
    """The real pool, which also notes when each read began."""

    def __init__(self, endpoint: Endpoint, tokens: AuthTokens) -> None:
        super().__init__(endpoint, 20, tokens, PATIENT_TIMES.pool)
        self.reads: list[float] = []
        self.read_begun = asyncio.Event()

    async def fetch(self, statement: str, *arguments: Any, timeout: float = PATIENCE) -> list[Record]:
        self.reads.append(asyncio.get_running_loop().time())
        self.read_begun.set()
        return await super().fetch(statement, *arguments, timeout=PATIENCE)


@contextlib.asynccontextmanager
async def publishing(pool: Pool, times: PollingTimes) -> AsyncIterator[StockPublisher]:
    publisher = StockPublisher(pool, times)
    try:
        yield publisher
    finally:
        await publisher.close()


async def next_change(watcher: Watcher) -> StockChange:
    """The next change; changes after it stay with the watcher. Raises TimeoutError when none comes."""
    async with asyncio.timeout(PATIENCE):
        change, *others = await watcher.take()
    for other in others:
        watcher.put(other)
    return change


def current(product_id: UUID, units: int, version: int) -> StockChange:
    return StockChange(StockLevel(product_id, units, version), stale=False)


def one_shard(stock: int, version: int) -> list[Shard]:
    """The one shard of a product that was created with a single shard."""
    return [Shard(stock, stocked=stock, version=version)]


def stale(product_id: UUID, units: int, version: int) -> StockChange:
    return StockChange(StockLevel(product_id, units, version), stale=True)


def assert_nothing_sent(watcher: Watcher) -> None:
    """The watcher has no change to take."""
    taking = watcher.take()
    try:
        taking.send(None)  # runs until it waits, which it does only without a change
    except StopIteration as taken:
        pytest.fail(f"the watcher got {taken.value}")
    finally:
        taking.close()


def polling_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "stock publisher"]


async def until_no_polling_task_is_left() -> None:
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*polling_tasks(), return_exceptions=True)
