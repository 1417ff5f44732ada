"""The stock publisher's readings: what comes between their beginning and their end, and what becomes of a failed one.

What becomes of a connection runs on both engines.
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
from api.drops.products import restock
from api.drops.stock import PollingTimes, StockChange, StockLevel, StockPublisher, Watcher
from tests.drops.purchases import new_product
from tests.drops.watching import (
    CountingPool,
    assert_nothing_sent,
    current,
    next_change,
    polling_tasks,
    publishing,
    stale,
    until_no_polling_task_is_left,
)
from tests.engines import on_both_engines
from tests.faults import Faulty
from tests.patience import PATIENCE, short, until


@contextlib.asynccontextmanager
async def readings_held(pool: Pool) -> AsyncIterator[None]:
    """Readings of the stock wait in the database until the block is left."""
    async with pool.begin(PATIENCE) as transaction:
        await transaction.execute("LOCK TABLE inventory IN ACCESS EXCLUSIVE MODE")
        yield


async def until_readings_wait(pool: Pool, number: int) -> None:
    """Return once so many readings wait in the database."""
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'inventory'::regclass"

    async def so_many_wait() -> bool:
        [row] = await pool.fetch(waiting, timeout=PATIENCE)
        return bool(row["count"] == number)

    await until(so_many_wait)


@contextlib.asynccontextmanager
async def joining(publisher: StockPublisher, *product_ids: UUID) -> AsyncIterator["asyncio.Task[list[StockChange]]"]:
    """A watcher that joins in a task of its own, and takes one change per product."""

    async def watch() -> list[StockChange]:
        async with publisher.watch(product_ids) as watcher:
            return [await next_change(watcher) for _ in product_ids]

    task = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(PATIENCE):
            yield task
    finally:
        task.cancel()


async def test_two_that_join_during_a_first_reading_both_find_the_stock(
    pool: Pool, behind: Pool, seldom: StockPublisher
) -> None:
    tee, cap = await new_product(pool, stock=1), await new_product(pool, stock=2)

    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(readings_held(behind))
        async with joining(seldom, tee) as first, joining(seldom, tee, cap) as second:
            await until_readings_wait(behind, 1)
            await until(lambda: seldom.watchers == 2)
            await held.aclose()
            assert await first == [current(tee, 1, 1)]
            assert {change.level for change in await second} == {StockLevel(tee, 1, 1), StockLevel(cap, 2, 1)}


async def test_a_purchase_during_a_first_reading_is_not_undone_by_it(
    pool: Pool, behind: Pool, seldom: StockPublisher
) -> None:
    product_id = await new_product(pool)

    async with contextlib.AsyncExitStack() as held:
        await held.enter_async_context(readings_held(behind))
        async with joining(seldom, product_id) as joined:
            await until_readings_wait(behind, 1)
            seldom.publish(StockLevel(product_id, 9, 2))  # the reading under way finds 10, version 1
            await held.aclose()
            assert await joined == [current(product_id, 9, 2)]


async def test_a_product_that_is_left_during_a_reading_does_no_harm(
    pool: Pool, behind: Pool, often: StockPublisher
) -> None:
    kept, left = await new_product(pool), await new_product(pool)

    async with often.watch([kept]) as watcher:
        await next_change(watcher)
        async with often.watch([left]), readings_held(behind):
            await until_readings_wait(behind, 1)
        assert often.watched_products == 1
        await restock(pool, kept, 1)
        assert await next_change(watcher) == current(kept, 11, 2)


@on_both_engines
async def test_the_last_to_leave_during_a_reading_ends_it(
    pool: Pool, behind: Pool, counting: CountingPool, often: StockPublisher
) -> None:
    product_id = await new_product(pool)

    async with readings_held(behind):
        async with asyncio.timeout(PATIENCE):
            watching = asyncio.create_task(hold(often, product_id))
            await until_readings_wait(behind, 1)
            watching.cancel()
            await asyncio.wait([watching])
        assert often.watched_products == 0
        await until_no_polling_task_is_left()

    async with often.watch([product_id]) as watcher:  # with the same pool, as if nothing had been
        assert await next_change(watcher) == current(product_id, 10, 1)


async def hold(publisher: StockPublisher, product_id: UUID) -> None:
    """Watch until cancelled."""
    async with publisher.watch([product_id]) as watcher:
        while True:
            await next_change(watcher)


@contextlib.asynccontextmanager
async def database_away(faulty: Faulty) -> AsyncIterator[None]:
    """The publisher's connections are lost, and new ones are refused."""
    faulty.down()
    try:
        yield
    finally:
        await faulty.up()


async def until_read(publisher: StockPublisher, times: int) -> None:
    """Return once so many more readings have begun."""
    enough = publisher.readings + times
    await until(lambda: publisher.readings >= enough)


@on_both_engines
async def test_while_the_database_is_away_the_last_value_is_stale_and_then_it_recovers(
    pool: Pool, often: StockPublisher, faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await new_product(pool)

    with caplog.at_level(logging.INFO, logger="dropzero.stock"):
        async with often.watch([product_id]) as watcher:
            await next_change(watcher)
            for version in (1, 2):
                async with database_away(faulty):
                    assert await next_change(watcher) == stale(product_id, 9 + version, version)
                    async with often.watch([product_id]) as late:  # it gets the last value too
                        assert await next_change(late) == stale(product_id, 9 + version, version)
                        await until_read(often, 3)
                        assert_nothing_sent(watcher)  # once is enough
                        assert_nothing_sent(late)
                assert await next_change(watcher) == current(product_id, 9 + version, version)
                await restock(pool, product_id, 1)
                assert await next_change(watcher) == current(product_id, 10 + version, version + 1)

    away, back, *again = [record.getMessage() for record in caplog.records]
    assert away.startswith("the stock cannot be read, watchers keep the last: ")
    assert back.startswith("the stock can be read again, after ")
    assert len(again) == 2
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_purchase_that_goes_through_while_readings_fail_is_sent_as_current(
    pool: Pool, often: StockPublisher, faulty: Faulty
) -> None:
    product_id = await new_product(pool)

    async with often.watch([product_id]) as watcher:
        await next_change(watcher)
        async with database_away(faulty):
            assert await next_change(watcher) == stale(product_id, 10, 1)
            often.publish(StockLevel(product_id, 9, 2))
            assert await next_change(watcher) == current(product_id, 9, 2)
            assert await next_change(watcher) == stale(product_id, 9, 2)


async def test_readings_back_off_while_the_database_is_away(pool: Pool, counting: CountingPool, faulty: Faulty) -> None:
    noted: list[tuple[int, int]] = []  # failures in a row, and reads until then

    class Noting(Backoff):
        def delay(self, failures: int) -> float:
            noted.append((failures, len(counting.reads)))
            return 0.02 * failures

    class Times(PollingTimes):
        @property
        def backoff(self) -> Backoff:
            return Noting()

    product_id = await new_product(pool)
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
async def test_a_first_reading_that_fails_is_raised_to_its_own_watcher(
    pool: Pool, seldom: StockPublisher, faulty: Faulty
) -> None:
    product_id = await new_product(pool)

    async with database_away(faulty):
        with pytest.raises(Unavailable):
            async with seldom.watch([product_id]):
                pass
        assert (seldom.watchers, seldom.watched_products, polling_tasks()) == (0, 0, [])

    async with seldom.watch([product_id]) as watcher:
        assert await next_change(watcher) == current(product_id, 10, 1)


@contextlib.asynccontextmanager
async def watching_at_last(publisher: StockPublisher, product_id: UUID) -> AsyncIterator[Watcher]:
    """Watch as soon as a reading is answered in the publisher's time: a busy machine takes longer now and then."""
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


async def test_a_database_that_says_nothing_counts_as_away(pool: Pool, behind: Pool, counting: CountingPool) -> None:
    watched, unwatched = await new_product(pool), await new_product(pool)
    timeout = short(0.5)

    async with (
        publishing(counting, PollingTimes(0.01, timeout, max_backoff=0.05)) as publisher,
        watching_at_last(publisher, watched) as watcher,
    ):
        async with readings_held(behind):
            refused = asyncio.create_task(hold(publisher, unwatched))
            await sent_at_last(watcher, stale(watched, 10, 1))
            with pytest.raises(Unavailable, match=re.escape(f"no answer within {timeout:g} seconds")):
                await refused
        await sent_at_last(watcher, current(watched, 10, 1))


async def test_an_error_that_nobody_expected_does_not_end_the_readings(
    pool: Pool, behind: Pool, often: StockPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await new_product(pool)

    async with often.watch([product_id]) as watcher:
        await next_change(watcher)
        await behind.execute("ALTER TABLE inventory RENAME TO lost")
        assert await next_change(watcher) == stale(product_id, 10, 1)
        await behind.execute("ALTER TABLE lost RENAME TO inventory")
        assert await next_change(watcher) == current(product_id, 10, 1)

    assert [record.exc_info is not None for record in caplog.records] == [True]
