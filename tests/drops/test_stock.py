"""The stock publisher, on the real database: which changes watchers get and when, and no reads without watchers."""

import asyncio
from uuid import uuid4

import pytest

from api.database.pool import Pool
from api.drops.errors import InvalidInput, NotFound
from api.drops.stock import MAX_WATCHED, StockPublisher
from tests.drops.purchases import new_product, restock
from tests.drops.watching import (
    SELDOM,
    CountingPool,
    assert_nothing_sent,
    current,
    next_change,
    one_shard,
    polling_tasks,
    until_no_polling_task_is_left,
)
from tests.engines import on_both_engines
from tests.patience import PATIENCE


@on_both_engines
async def test_a_watcher_gets_the_current_stock_at_once(pool: Pool, seldom: StockPublisher) -> None:
    product_id = await new_product(pool, stock=7, shards=1)
    await restock(pool, product_id, 1)

    async with seldom.watch([product_id]) as watcher:
        assert await next_change(watcher) == current(product_id, 8, 2)


async def test_a_second_watcher_gets_the_last_value_without_another_reading(
    pool: Pool, counting: CountingPool, seldom: StockPublisher
) -> None:
    product_id = await new_product(pool, shards=1)

    async with seldom.watch([product_id]) as first, seldom.watch([product_id]) as second:
        seen, joined = await next_change(first), await next_change(second)
        assert seen == joined == current(product_id, 10, 1)
        assert seen.since < joined.since, "a watcher that comes later is not sent its first change late"
        assert len(counting.reads) == 1


async def test_readings_find_the_changes_of_other_processes_in_order(pool: Pool, often: StockPublisher) -> None:
    product_id = await new_product(pool, shards=1)

    async with often.watch([product_id]) as watcher:
        assert await next_change(watcher) == current(product_id, 10, 1)
        for version in range(2, 12):
            await restock(pool, product_id, 1)
            assert await next_change(watcher) == current(product_id, 9 + version, version)


async def test_a_change_of_this_process_is_published_before_the_next_reading(
    pool: Pool, seldom: StockPublisher
) -> None:
    product_id = await new_product(pool, shards=1)

    async with seldom.watch([product_id]) as watcher, seldom.watch([product_id]) as another:
        await next_change(watcher), await next_change(another)
        seldom.publish(product_id, one_shard(9, 2))

        assert await next_change(watcher) == await next_change(another) == current(product_id, 9, 2)


async def test_an_old_reading_never_follows_a_new_one(pool: Pool, seldom: StockPublisher) -> None:
    product_id = await new_product(pool, shards=1)

    async with seldom.watch([product_id]) as watcher:
        await next_change(watcher)
        seldom.publish(product_id, one_shard(7, 4))
        assert await next_change(watcher) == current(product_id, 7, 4)

        for version in (3, 4, 1):
            seldom.publish(product_id, one_shard(11 - version, version))
        assert_nothing_sent(watcher)
        seldom.publish(product_id, one_shard(6, 5))
        assert await next_change(watcher) == current(product_id, 6, 5)


async def test_a_slow_reader_skips_to_the_latest_and_has_one_slot_per_product(
    pool: Pool, seldom: StockPublisher
) -> None:
    tee, cap = await new_product(pool, shards=1), await new_product(pool, shards=1)

    async with seldom.watch([tee, cap]) as watcher:
        for version in range(2, 10_001):
            for product_id in (tee, cap):
                seldom.publish(product_id, one_shard(20_000 - version, version))

        latest = [await next_change(watcher), await next_change(watcher)]
        assert sorted(latest, key=lambda change: change.level.product_id != tee) == [
            current(tee, 10_000, 10_000),
            current(cap, 10_000, 10_000),
        ]
        assert_nothing_sent(watcher)


async def test_a_busy_product_does_not_hide_the_others_of_a_subscription(pool: Pool, seldom: StockPublisher) -> None:
    busy, quiet = await new_product(pool, shards=1), await new_product(pool, shards=1)

    async with seldom.watch([busy, quiet]) as watcher:
        await next_change(watcher), await next_change(watcher)
        seldom.publish(busy, one_shard(9, 2))
        seldom.publish(quiet, one_shard(9, 2))
        seldom.publish(busy, one_shard(8, 3))

        assert await next_change(watcher) == current(busy, 8, 3)
        seldom.publish(busy, one_shard(7, 4))
        assert await next_change(watcher) == current(quiet, 9, 2)


async def test_all_watched_products_are_read_in_one_statement(
    pool: Pool, counting: CountingPool, often: StockPublisher
) -> None:
    products = [await new_product(pool, shards=1) for _ in range(5)]

    async with often.watch(products + products) as watcher, often.watch(products[:2]):
        assert {(await next_change(watcher)).level.product_id for _ in products} == set(products)
        assert_nothing_sent(watcher)
        assert len(counting.reads) == 1
        await restock(pool, products[4], 1)
        assert await next_change(watcher) == current(products[4], 11, 2)
        assert (often.watchers, often.watched_products) == (2, 5)
        assert often.readings == len(counting.reads)


async def test_without_watchers_no_statement_is_sent(pool: Pool, counting: CountingPool, often: StockPublisher) -> None:
    product_id = await new_product(pool, shards=1)
    assert (len(counting.reads), polling_tasks()) == (0, [])

    async with often.watch([product_id]), often.watch([product_id]):
        assert len(polling_tasks()) == 1
    reads = len(counting.reads)
    await until_no_polling_task_is_left()
    often.publish(product_id, one_shard(9, 2))

    assert len(counting.reads) == reads
    assert (often.watchers, often.watched_products) == (0, 0)


async def test_a_watcher_that_joins_as_the_last_one_leaves_gets_changes(
    pool: Pool, counting: CountingPool, often: StockPublisher
) -> None:
    product_id = await new_product(pool, shards=1)

    # Steps of the event loop, from the beginning of a reading to past its end.
    for version, steps in enumerate((0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256), start=1):
        async with often.watch([product_id]):
            counting.read_begun.clear()
            async with asyncio.timeout(PATIENCE):
                await counting.read_begun.wait()
            for _ in range(steps):
                await asyncio.sleep(0)
        async with often.watch([product_id]) as watcher:
            assert (await next_change(watcher)).level.version == version
            await restock(pool, product_id, 1)
            assert await next_change(watcher) == current(product_id, 10 + version, version + 1)


@pytest.mark.parametrize("known", [0, 1])
async def test_an_unknown_product_is_not_found_and_leaves_no_watcher_behind(
    pool: Pool, seldom: StockPublisher, known: int
) -> None:
    unknown = uuid4()
    products = [await new_product(pool, shards=1) for _ in range(known)]

    with pytest.raises(NotFound, match=f"there is no product {unknown}"):
        async with seldom.watch([*products, unknown]):
            pass

    assert (seldom.watchers, seldom.watched_products, polling_tasks()) == (0, 0, [])


@pytest.mark.parametrize("number", [0, MAX_WATCHED + 1])
async def test_a_subscription_names_one_to_a_hundred_products(seldom: StockPublisher, number: int) -> None:
    with pytest.raises(InvalidInput, match=f"productIds must name 1 to 100 products, not {number}"):
        async with seldom.watch([uuid4() for _ in range(number)]):
            pass


async def test_closing_ends_the_readings(pool: Pool, counting: Pool) -> None:
    product_id = await new_product(pool, shards=1)
    publisher = StockPublisher(counting, SELDOM)

    async with publisher.watch([product_id]):
        await publisher.close()
        assert polling_tasks() == []
    await publisher.close()
