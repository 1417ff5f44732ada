"""The stock publisher's readings: watchers and purchases that come during a reading, and readings that fail.

The tests in which a connection is lost or left run on both engines.
"""

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from api.database.backoff import Backoff
from api.database.errors import Unavailable
from api.database.pool import Pool
from api.drops.stock import PollingTimes, StockPublisher
from api.drops.stock_changes import StockChange, StockLevel, Watcher
from tests.drops.purchases import new_product, restock
from tests.drops.watching import (
    CountingPool,
    assert_nothing_sent,
    current,
    next_change,
    one_shard,
    polling_tasks,
    publishing,
    stale,
    until_no_polling_task_is_left,
)
from tests.engines import on_both_engines
from tests.faults import Faulty
from tests.locks import table_locked
from tests.patience import PATIENCE, short, until


async def until_readings_wait(pool: Pool, number: int) -> None:
    """Wait until `number` readings wait in the database for the lock."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'stock_shards'::regclass"

    async def so_many_wait() -> bool:
        [row] = await pool.fetch(waiting, timeout=PATIENCE)
        return bool(row["count"] == number)

    await until(so_many_wait)


@contextlib.asynccontextmanager
async def joining(publisher: StockPublisher, *product_ids: UUID) -> AsyncIterator["asyncio.Task[list[StockChange]]"]:
    """A watcher in a task of its own, which returns one change for each product."""

    async def watch() -> list[StockChange]:
        async with publisher.watch(product_ids) as watcher:
            return [await next_change(watcher) for _ in product_ids]

    task = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(PATIENCE):
            yield task
    finally:
        task.cancel()


async def test_two_watchers_that_join_during_a_first_reading_both_get_the_stock(
    pool: Pool, behind: Pool, seldom: StockPublisher
) -> None:
    tee, cap = await new_product(pool, stock=1), await new_product(pool, stock=2)

    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(table_locked(behind, "stock_shards"))
        async with joining(seldom, tee) as first, joining(seldom, tee, cap) as second:
            await until_readings_wait(behind, 1)
            await until(lambda: seldom.watchers == 2)
            await held.aclose()
            assert await first == [current(tee, 1, 1)]
            assert {change.level for change in await second} == {StockLevel(tee, 1, 1), StockLevel(cap, 2, 1)}


async def test_a_purchase_during_a_first_reading_is_not_undone_by_it(
    pool: Pool, behind: Pool, seldom: StockPublisher
) -> None:
    product_id = await new_product(pool, shards=1)

    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(table_locked(behind, "stock_shards"))
        async with joining(seldom, product_id) as joined:
            await until_readings_wait(behind, 1)
            seldom.publish(product_id, one_shard(9, 2))  # the reading under way finds 10, version 1
            await held.aclose()
            assert await joined == [current(product_id, 9, 2)]


async def test_a_product_that_loses_its_watchers_during_a_reading_disturbs_no_other(
    pool: Pool, behind: Pool, often: StockPublisher
) -> None:
    kept, left = await new_product(pool, shards=1), await new_product(pool, shards=1)

    async with often.watch([kept]) as watcher:
        await next_change(watcher)
        async with often.watch([left]), table_locked(behind, "stock_shards"):
            await until_readings_wait(behind, 1)
        assert often.watched_products == 1
        await restock(pool, kept, 1)
        assert await next_change(watcher) == current(kept, 11, 2)


@on_both_engines
async def test_the_last_watcher_to_leave_during_a_reading_ends_it(
    pool: Pool, behind: Pool, counting: CountingPool, often: StockPublisher
) -> None:
    product_id = await new_product(pool, shards=1)

    async with table_locked(behind, "stock_shards"):
        async with asyncio.timeout(PATIENCE):
            watching = asyncio.create_task(hold(often, product_id))
            await until_readings_wait(behind, 1)
            watching.cancel()
            await asyncio.wait([watching])
        assert often.watched_products == 0
        await until_no_polling_task_is_left()

    async with often.watch([product_id]) as watcher:  # the same pool can still read
        assert await next_change(watcher) == current(product_id, 10, 1)


async def hold(publisher: StockPublisher, product_id: UUID) -> None:
    """Watch until cancelled."""
    async with publisher.watch([product_id]) as watcher:
        while True:
            await next_change(watcher)


@contextlib.asynccontextmanager
async def database_away(faulty: Faulty) -> AsyncIterator[None]:
    """Close the publisher's connections and refuse new ones, until the block is left."""
    faulty.down()
    try:
        yield
    finally:
        await faulty.up()


async def until_read(publisher: StockPublisher, times: int) -> None:
    """Wait until `times` more readings have begun."""
    enough = publisher.readings + times
    await until(lambda: publisher.readings >= enough)


@on_both_engines
async def test_the_last_value_is_stale_while_the_database_is_away_and_then_current(
    pool: Pool, often: StockPublisher, faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await new_product(pool, shards=1)

    with caplog.at_level(logging.INFO, logger="dropzero.stock"):
        async with often.watch([product_id]) as watcher:
            await next_change(watcher)
            for version in (1, 2):
                async with database_away(faulty):
                    assert await next_change(watcher) == stale(product_id, 9 + version, version)
                    async with often.watch([product_id]) as late:  # a new watcher gets the last value too
                        assert await next_change(late) == stale(product_id, 9 + version, version)
                        await until_read(often, 3)
                        assert_nothing_sent(watcher)  # it is sent as stale once
                        assert_nothing_sent(late)
                assert await next_change(watcher) == current(product_id, 9 + version, version)
                await restock(pool, product_id, 1)
                assert await next_change(watcher) == current(product_id, 10 + version, version + 1)

    away, back, *again = [record.getMessage() for record in caplog.records]
    assert away.startswith("the stock cannot be read, watchers keep the last: ")
    assert back.startswith("the stock can be read again, after ")
    assert len(again) == 2
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_purchase_that_commits_while_readings_fail_is_published_as_current(
    pool: Pool, often: StockPublisher, faulty: Faulty
) -> None:
    product_id = await new_product(pool, shards=1)

    async with often.watch([product_id]) as watcher:
        await next_change(watcher)
        async with database_away(faulty):
            assert await next_change(watcher) == stale(product_id, 10, 1)
            often.publish(product_id, one_shard(9, 2))
            assert await next_change(watcher) == current(product_id, 9, 2)
            assert await next_change(watcher) == stale(product_id, 9, 2)


async def test_readings_back_off_while_the_database_is_away(pool: Pool, counting: CountingPool, faulty: Faulty) -> None:
    noted: list[tuple[int, int]] = []  # failures in a row, and reads so far

    class Noting(Backoff):
        def delay(self, failures: int) -> float:
            noted.append((failures, len(counting.reads)))
            return 0.02 * failures

    class Times(PollingTimes):
        @property
        def backoff(self) -> Backoff:
            return Noting()

    product_id = await new_product(pool, shards=1)
    async with (
        publishing(counting, Times(interval=0.01, timeout=PATIENCE)) as publisher,
        publisher.watch([product_id]) as watcher,
    ):
        assert await next_change(watcher) == current(product_id, 10, 1)
        for _ in range(2):
            noted.clear()
            async with database_away(faulty):
                assert await next_change(watcher) == stale(product_id, 10, 1)
                await until(lambda: len(noted) >= 5)
            assert await next_change(watcher) == current(product_id, 10, 1)

            assert [failures for failures, _ in noted] == list(range(1, len(noted) + 1))
            waits = [counting.reads[number] - counting.reads[number - 1] for _, number in noted]
            assert all(wait >= 0.02 * failures for wait, (failures, _) in zip(waits, noted, strict=True)), waits


def test_failed_readings_back_off_from_one_interval_on() -> None:
    assert PollingTimes(interval=0.5, max_backoff=3.0).backoff == Backoff(base=0.5, cap=3.0)


@on_both_engines
async def test_a_first_reading_that_fails_raises_for_its_watcher(
    pool: Pool, seldom: StockPublisher, faulty: Faulty
) -> None:
    product_id = await new_product(pool, shards=1)

    async with database_away(faulty):
        with pytest.raises(Unavailable):
            async with seldom.watch([product_id]):
                pass
        assert (seldom.watchers, seldom.watched_products, polling_tasks()) == (0, 0, [])

    async with seldom.watch([product_id]) as watcher:
        assert await next_change(watcher) == current(product_id, 10, 1)


@contextlib.asynccontextmanager
async def watching_at_last(publisher: StockPublisher, product_id: UUID) -> AsyncIterator[Watcher]:
    """A watcher, once a first reading ends within the publisher's timeout. On a busy machine some readings do not."""
    async with contextlib.AsyncExitStack() as watching:
        watcher: Watcher | None = None
        async with asyncio.timeout(PATIENCE):
            while watcher is None:
                with contextlib.suppress(Unavailable):
                    watcher = await watching.enter_async_context(publisher.watch([product_id]))
        yield watcher


async def sent_at_last(watcher: Watcher, expected: StockChange) -> None:
    async with asyncio.timeout(PATIENCE):
        while await next_change(watcher) != expected:
            pass


async def test_a_database_that_does_not_answer_in_time_counts_as_away(
    pool: Pool, behind: Pool, counting: CountingPool
) -> None:
    watched, unwatched = await new_product(pool, shards=1), await new_product(pool, shards=1)
    timeout = short(0.5)

    async with (
        publishing(counting, PollingTimes(0.01, timeout, max_backoff=0.05)) as publisher,
        watching_at_last(publisher, watched) as watcher,
    ):
        async with table_locked(behind, "stock_shards"):
            refused = asyncio.create_task(hold(publisher, unwatched))
            await sent_at_last(watcher, stale(watched, 10, 1))
            with pytest.raises(Unavailable, match=re.escape(f"no answer within {timeout:g} seconds")):
                await refused
        await sent_at_last(watcher, current(watched, 10, 1))


async def test_an_unexpected_error_does_not_end_the_readings(
    pool: Pool, behind: Pool, often: StockPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await new_product(pool, shards=1)

    async with often.watch([product_id]) as watcher:
        await next_change(watcher)
        await behind.execute("ALTER TABLE stock_shards RENAME TO lost")
        assert await next_change(watcher) == stale(product_id, 10, 1)
        await behind.execute("ALTER TABLE lost RENAME TO stock_shards")
        assert await next_change(watcher) == current(product_id, 10, 1)

    assert [record.exc_info is not None for record in caplog.records] == [True]
