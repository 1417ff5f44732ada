"""Watchers that subscribe and leave at once. They cancel no read, as a cancelled read costs its connection."""

import asyncio
from uuid import UUID

import pytest

from api.database.pool import Pool
from api.drops.stock import StockPublisher
from tests.drops.purchases import new_product
from tests.drops.watching import CountingPool, current, next_change, until_no_polling_task_is_left
from tests.locks import connections, table_locked, until_blocked
from tests.patience import until


def watching(publisher: StockPublisher, product_id: UUID) -> asyncio.Task[None]:
    async def watch() -> None:
        async with publisher.watch([product_id]) as watcher:
            await next_change(watcher)

    return asyncio.create_task(watch())


async def leave(*watchers: asyncio.Task[None]) -> None:
    for watcher in watchers:
        watcher.cancel()
    await asyncio.wait(watchers)


async def test_watchers_that_leave_during_the_first_reading_do_not_cancel_it(
    pool: Pool, behind: Pool, counting: CountingPool, seldom: StockPublisher
) -> None:
    product_id = await new_product(pool, stock=7)
    async with table_locked(behind, "stock_shards"):
        fickle = [watching(seldom, product_id) for _ in range(10)]
        await until_blocked(behind)
        before = await connections(behind)
        staying = asyncio.create_task(first_change(seldom, product_id))
        await asyncio.sleep(0)
        await leave(*fickle)
        await until_blocked(behind)
        assert seldom.watchers == 1

    assert await staying == current(product_id, 7, 1)
    assert await connections(behind) >= before
    assert len(counting.reads) <= 2, "one for the watchers that left, one for the watcher that came during that read"


async def first_change(publisher: StockPublisher, product_id: UUID) -> object:
    async with publisher.watch([product_id]) as watcher:
        return await next_change(watcher)


@pytest.mark.parametrize("products", [1, 20])
async def test_a_thousand_watchers_that_leave_at_once_cost_few_reads_and_no_connection(
    pool: Pool, behind: Pool, counting: CountingPool, seldom: StockPublisher, products: int
) -> None:
    product_ids = [await new_product(pool, stock=7) for _ in range(products)]
    async with table_locked(behind, "stock_shards"):
        first = watching(seldom, product_ids[0])
        await until_blocked(behind)
        before = await connections(behind)
        await leave(first)
        for number in range(1_000):
            fickle = watching(seldom, product_ids[number % len(product_ids)])
            await asyncio.sleep(0)
            await leave(fickle)
        await until_blocked(behind)

    assert await first_change(seldom, product_ids[-1]) == current(product_ids[-1], 7, 1)
    assert await connections(behind) >= before
    assert len(counting.reads) <= 3
    assert (seldom.watchers, seldom.watched_products) == (0, 0)
    await until_no_polling_task_is_left()


async def test_the_last_watcher_to_leave_during_a_later_reading_does_not_cancel_it(
    pool: Pool, behind: Pool, counting: CountingPool, often: StockPublisher
) -> None:
    product_id = await new_product(pool, stock=7)
    watcher = asyncio.create_task(watch_for_ever(often, product_id))
    await until(lambda: len(counting.reads) > 1)
    async with table_locked(behind, "stock_shards"):
        await until_blocked(behind)
        before = await connections(behind)
        await leave(watcher)
        await until_no_polling_task_is_left()
        await until_blocked(behind)

    assert await first_change(often, product_id) == current(product_id, 7, 1)
    assert await connections(behind) >= before


async def watch_for_ever(publisher: StockPublisher, product_id: UUID) -> None:
    async with publisher.watch([product_id]) as watcher:
        while True:
            await watcher.take()
