"""The stock publisher, on the real database: what watchers are told, when, and what it costs while nobody watches."""

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Unavailable
from api.database.pool import READ_TIMEOUT, Pool, Record
from api.drops import stock
from api.drops.errors import InvalidInput, NotFound
from api.drops.products import NewProduct, create_product, restock
from api.drops.stock import MAX_WATCHED, PollingTimes, StockChange, StockLevel, StockPublisher, Watcher
from tests.faults import Faulty

SELDOM = 60.0
"""Seconds between readings where the test is to pass without them."""


class CountingPool(Pool):
    """The real pool, which also notes when each read began."""

    def __init__(self, endpoint: Endpoint, size: int) -> None:
        super().__init__(endpoint, size)
        self.reads: list[float] = []

    async def fetch(self, statement: str, *arguments: Any, timeout: float = READ_TIMEOUT) -> list[Record]:
        self.reads.append(asyncio.get_running_loop().time())
        return await super().fetch(statement, *arguments, timeout=timeout)


@pytest.fixture
async def counting(faulty: Faulty) -> AsyncIterator[CountingPool]:
    """The pool that the publisher reads through, which can fail; the tests change the stock through another."""
    async with CountingPool(Endpoint("here", faulty.url), size=20) as pool:
        yield pool


@contextlib.asynccontextmanager
async def publishing(pool: Pool, interval: float) -> AsyncIterator[StockPublisher]:
    publisher = StockPublisher(pool, PollingTimes(interval))
    try:
        yield publisher
    finally:
        await publisher.close()


@pytest.fixture
async def seldom(counting: Pool) -> AsyncIterator[StockPublisher]:
    """A publisher that a test does not live to see read again after the first time."""
    async with publishing(counting, SELDOM) as publisher:
        yield publisher


@pytest.fixture
async def often(counting: Pool) -> AsyncIterator[StockPublisher]:
    """A publisher that reads every 10 ms."""
    async with publishing(counting, 0.01) as publisher:
        yield publisher


async def new_product(pool: Pool, stock: int = 10) -> UUID:
    return (await create_product(pool, NewProduct.checked(name="Tee", drop_name="First Light", stock=stock))).id


async def told(watcher: Watcher) -> StockChange:
    """The next change, and only that; a test that waits for it in vain has failed."""
    async with asyncio.timeout(10):
        change, *others = await watcher.take()
    for other in others:
        watcher.put(other)
    return change


def current(product_id: UUID, units: int, version: int) -> StockChange:
    return StockChange(StockLevel(product_id, units, version), stale=False)


def stale(product_id: UUID, units: int, version: int) -> StockChange:
    return StockChange(StockLevel(product_id, units, version), stale=True)


def assert_told_nothing(watcher: Watcher) -> None:
    """Nothing waits to be taken."""
    taking = watcher.take()
    try:
        taking.send(None)  # runs until it waits, which it does only with empty slots
    except StopIteration as taken:
        pytest.fail(f"told {taken.value}")
    finally:
        taking.close()


def polling_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "stock publisher"]


async def until_no_polling_task_is_left() -> None:
    async with asyncio.timeout(10):
        await asyncio.gather(*polling_tasks(), return_exceptions=True)


async def test_a_watcher_finds_the_current_stock_at_once(pool: Pool, seldom: StockPublisher) -> None:
    product_id = await new_product(pool, stock=7)
    await restock(pool, product_id, 1)

    async with seldom.watch([product_id]) as watcher:
        assert await told(watcher) == current(product_id, 8, 2)


async def test_a_second_watcher_finds_what_the_first_was_told_without_another_reading(
    pool: Pool, counting: CountingPool, seldom: StockPublisher
) -> None:
    product_id = await new_product(pool)

    async with seldom.watch([product_id]), seldom.watch([product_id]) as second:
        assert await told(second) == current(product_id, 10, 1)
        assert len(counting.reads) == 1


async def test_changes_made_elsewhere_are_found_by_the_readings_in_order(pool: Pool, often: StockPublisher) -> None:
    product_id = await new_product(pool)

    async with often.watch([product_id]) as watcher:
        assert await told(watcher) == current(product_id, 10, 1)
        for version in range(2, 12):
            await restock(pool, product_id, 1)
            assert await told(watcher) == current(product_id, 9 + version, version)


async def test_what_this_process_committed_is_told_ahead_of_the_next_reading(
    pool: Pool, seldom: StockPublisher
) -> None:
    product_id = await new_product(pool)

    async with seldom.watch([product_id]) as watcher, seldom.watch([product_id]) as another:
        await told(watcher), await told(another)
        seldom.publish(StockLevel(product_id, 9, 2))

        assert await told(watcher) == await told(another) == current(product_id, 9, 2)


async def test_an_old_reading_never_follows_a_new_one(pool: Pool, seldom: StockPublisher) -> None:
    product_id = await new_product(pool)

    async with seldom.watch([product_id]) as watcher:
        await told(watcher)
        seldom.publish(StockLevel(product_id, 7, 4))
        assert await told(watcher) == current(product_id, 7, 4)

        for version in (3, 4, 1):
            seldom.publish(StockLevel(product_id, 11 - version, version))
        assert_told_nothing(watcher)
        seldom.publish(StockLevel(product_id, 6, 5))
        assert await told(watcher) == current(product_id, 6, 5)


async def test_a_slow_reader_skips_to_the_latest_and_has_one_slot_per_product(
    pool: Pool, seldom: StockPublisher
) -> None:
    tee, cap = await new_product(pool), await new_product(pool)

    async with seldom.watch([tee, cap]) as watcher:
        for version in range(2, 10_001):
            for product_id in (tee, cap):
                seldom.publish(StockLevel(product_id, 20_000 - version, version))

        latest = [await told(watcher), await told(watcher)]
        assert sorted(latest, key=lambda change: change.level.product_id != tee) == [
            current(tee, 10_000, 10_000),
            current(cap, 10_000, 10_000),
        ]
        assert_told_nothing(watcher)


async def test_a_busy_product_does_not_hide_the_others_of_a_subscription(pool: Pool, seldom: StockPublisher) -> None:
    busy, quiet = await new_product(pool), await new_product(pool)

    async with seldom.watch([busy, quiet]) as watcher:
        await told(watcher), await told(watcher)
        seldom.publish(StockLevel(busy, 9, 2))
        seldom.publish(StockLevel(quiet, 9, 2))
        seldom.publish(StockLevel(busy, 8, 3))

        assert await told(watcher) == current(busy, 8, 3)
        seldom.publish(StockLevel(busy, 7, 4))
        assert await told(watcher) == current(quiet, 9, 2)


async def test_all_watched_products_are_read_in_one_statement(
    pool: Pool, counting: CountingPool, often: StockPublisher
) -> None:
    products = [await new_product(pool) for _ in range(5)]

    async with often.watch(products + products) as watcher, often.watch(products[:2]):
        assert {(await told(watcher)).level.product_id for _ in products} == set(products)
        assert_told_nothing(watcher)
        assert len(counting.reads) == 1
        await restock(pool, products[4], 1)
        assert await told(watcher) == current(products[4], 11, 2)
        assert (often.watchers, often.watched_products) == (2, 5)
        assert often.readings == len(counting.reads)


async def test_nobody_watching_costs_no_statement(pool: Pool, counting: CountingPool, often: StockPublisher) -> None:
    product_id = await new_product(pool)
    assert (counting.reads, polling_tasks()) == ([], [])

    async with often.watch([product_id]), often.watch([product_id]):
        assert len(polling_tasks()) == 1
    reads = len(counting.reads)
    await until_no_polling_task_is_left()
    often.publish(StockLevel(product_id, 9, 2))

    assert len(counting.reads) == reads
    assert (often.watchers, often.watched_products) == (0, 0)


async def test_whoever_joins_as_the_last_leaves_is_told_of_changes(pool: Pool, often: StockPublisher) -> None:
    product_id = await new_product(pool)

    for version in range(2, 30):
        async with often.watch([product_id]):
            await asyncio.sleep(0.012 * version / 30)  # before, at and after the moment of a reading
        async with often.watch([product_id]) as watcher:
            assert (await told(watcher)).level.version == version - 1
            await restock(pool, product_id, 1)
            assert await told(watcher) == current(product_id, 9 + version, version)


@contextlib.asynccontextmanager
async def readings_held(pool: Pool) -> AsyncIterator[None]:
    """Readings of the stock wait in the database until the block is left."""
    async with pool.begin() as transaction:
        await transaction.execute("LOCK TABLE inventory IN ACCESS EXCLUSIVE MODE")
        yield


async def until_readings_wait(pool: Pool, number: int) -> None:
    """Return once so many readings wait in the database."""
    async with asyncio.timeout(10):
        while True:
            [row] = await pool.fetch(
                "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'inventory'::regclass"
            )
            if row["count"] == number:
                return


@contextlib.asynccontextmanager
async def joining(publisher: StockPublisher, *product_ids: UUID) -> AsyncIterator["asyncio.Task[list[StockChange]]"]:
    """A watcher that joins in a task of its own, and takes one change per product."""

    async def watch() -> list[StockChange]:
        async with publisher.watch(product_ids) as watcher:
            return [await told(watcher) for _ in product_ids]

    task = asyncio.create_task(watch())
    try:
        async with asyncio.timeout(10):
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
            await until_readings_wait(behind, 2)
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
        await told(watcher)
        async with often.watch([left]), readings_held(behind):
            await until_readings_wait(behind, 1)
        assert often.watched_products == 1
        await restock(pool, kept, 1)
        assert await told(watcher) == current(kept, 11, 2)


async def test_the_last_to_leave_during_a_reading_ends_it(
    pool: Pool, behind: Pool, counting: CountingPool, often: StockPublisher
) -> None:
    product_id = await new_product(pool)

    async with readings_held(behind):
        async with asyncio.timeout(10):
            watching = asyncio.create_task(hold(often, product_id))
            await until_readings_wait(behind, 1)
            watching.cancel()
            await asyncio.wait([watching])
        assert often.watched_products == 0
        await until_no_polling_task_is_left()

    async with often.watch([product_id]) as watcher:  # with the same pool, as if nothing had been
        assert await told(watcher) == current(product_id, 10, 1)


async def hold(publisher: StockPublisher, product_id: UUID) -> None:
    """Watch until cancelled."""
    async with publisher.watch([product_id]) as watcher:
        while True:
            await told(watcher)


@pytest.mark.parametrize("known", [0, 1])
async def test_an_unknown_product_is_not_found_and_leaves_nobody_behind(
    pool: Pool, seldom: StockPublisher, known: int
) -> None:
    unknown = uuid4()
    products = [await new_product(pool) for _ in range(known)]

    with pytest.raises(NotFound, match=f"there is no product {unknown}"):
        async with seldom.watch([*products, unknown]):
            pass

    assert (seldom.watchers, seldom.watched_products, polling_tasks()) == (0, 0, [])


@pytest.mark.parametrize("number", [0, MAX_WATCHED + 1])
async def test_a_subscription_names_one_to_a_hundred_products(seldom: StockPublisher, number: int) -> None:
    with pytest.raises(InvalidInput, match=f"productIds must name 1 to 100 products, not {number}"):
        async with seldom.watch([uuid4() for _ in range(number)]):
            pass


@contextlib.asynccontextmanager
async def database_away(faulty: Faulty) -> AsyncIterator[None]:
    """The publisher's connections are lost, and new ones are refused."""
    faulty.down()
    try:
        yield
    finally:
        await faulty.up()


@pytest.fixture
def quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between failed readings that stay short, so that a test sees the recovery soon."""
    monkeypatch.setattr(stock, "MAX_BACKOFF", 0.05)


async def until_read(publisher: StockPublisher, times: int) -> None:
    """Return once so many more readings have begun."""
    enough = publisher.readings + times
    async with asyncio.timeout(10):
        while publisher.readings < enough:
            await asyncio.sleep(0.001)


@pytest.mark.usefixtures("quick_backoff")
async def test_while_the_database_is_away_the_last_value_is_stale_and_then_it_recovers(
    pool: Pool, often: StockPublisher, faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await new_product(pool)

    with caplog.at_level(logging.INFO, logger="dropzero.stock"):
        async with often.watch([product_id]) as watcher:
            await told(watcher)
            for version in (1, 2):
                async with database_away(faulty):
                    assert await told(watcher) == stale(product_id, 9 + version, version)
                    async with often.watch([product_id]) as late:  # it gets the last value too
                        assert await told(late) == stale(product_id, 9 + version, version)
                        await until_read(often, 3)
                        assert_told_nothing(watcher)  # once is enough
                        assert_told_nothing(late)
                assert await told(watcher) == current(product_id, 9 + version, version)
                await restock(pool, product_id, 1)
                assert await told(watcher) == current(product_id, 10 + version, version + 1)

    away, back, *again = [record.getMessage() for record in caplog.records]
    assert away.startswith("the stock cannot be read, watchers keep the last: ")
    assert back.startswith("the stock can be read again, after ")
    assert len(again) == 2
    assert all(record.exc_info is None for record in caplog.records)


async def test_a_purchase_that_goes_through_while_readings_fail_is_told_as_current(
    pool: Pool, often: StockPublisher, faulty: Faulty
) -> None:
    product_id = await new_product(pool)

    async with often.watch([product_id]) as watcher:
        await told(watcher)
        async with database_away(faulty):
            assert await told(watcher) == stale(product_id, 10, 1)
            often.publish(StockLevel(product_id, 9, 2))
            assert await told(watcher) == current(product_id, 9, 2)
            assert await told(watcher) == stale(product_id, 9, 2)


async def test_readings_back_off_while_the_database_is_away(
    pool: Pool, counting: CountingPool, often: StockPublisher, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random, "uniform", lambda least, most: most)  # every wait as long as it can be
    product_id = await new_product(pool)

    async with often.watch([product_id]) as watcher:
        await told(watcher)
        async with database_away(faulty):
            await told(watcher)
            await until_read(often, 6)

    waits = [later - earlier for earlier, later in zip(counting.reads[-6:], counting.reads[-5:], strict=False)]
    assert all(wait >= 0.01 * 2**number for number, wait in enumerate(waits, start=1)), waits


async def test_a_first_reading_that_fails_is_told_to_the_one_who_asked(
    pool: Pool, seldom: StockPublisher, faulty: Faulty
) -> None:
    product_id = await new_product(pool)

    async with database_away(faulty):
        with pytest.raises(Unavailable):
            async with seldom.watch([product_id]):
                pass
        assert (seldom.watchers, seldom.watched_products, polling_tasks()) == (0, 0, [])

    async with seldom.watch([product_id]) as watcher:
        assert await told(watcher) == current(product_id, 10, 1)


@pytest.mark.usefixtures("quick_backoff")
async def test_a_database_that_says_nothing_counts_as_away(
    pool: Pool, behind: Pool, often: StockPublisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, unwatched = await new_product(pool), await new_product(pool)

    async with often.watch([watched]) as watcher:
        await told(watcher)
        monkeypatch.setattr(stock, "READING_TIMEOUT", 0.5)
        async with readings_held(behind):
            assert await told(watcher) == stale(watched, 10, 1)
            with pytest.raises(Unavailable, match=r"no answer within 0\.5 seconds"):
                async with often.watch([unwatched]):
                    pass
        assert await told(watcher) == current(watched, 10, 1)


@pytest.mark.usefixtures("quick_backoff")
async def test_an_error_that_nobody_expected_does_not_end_the_readings(
    pool: Pool, behind: Pool, often: StockPublisher, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await new_product(pool)

    async with often.watch([product_id]) as watcher:
        await told(watcher)
        await behind.execute("ALTER TABLE inventory RENAME TO lost")
        assert await told(watcher) == stale(product_id, 10, 1)
        await behind.execute("ALTER TABLE lost RENAME TO inventory")
        assert await told(watcher) == current(product_id, 10, 1)

    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_closing_ends_the_readings(pool: Pool, counting: Pool) -> None:
    product_id = await new_product(pool)
    publisher = StockPublisher(counting, PollingTimes(SELDOM))

    async with publisher.watch([product_id]):
        await publisher.close()
        assert polling_tasks() == []
    await publisher.close()
