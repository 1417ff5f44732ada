"""The product feed: followers get each product that is created or changed, once, and share the readings."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from api.database.backoff import Backoff
from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from api.drops.operator_log import Action
from api.drops.product_changes import archive, change_product, pause, resume
from api.drops.product_feed import (
    BUFFER,
    MAX_PAGES,
    OVERLAP,
    PAGE,
    Follower,
    ProductFeed,
    ProductFeedTimes,
    ProductsMissed,
)
from api.drops.products import Product, get_product
from tests.drops.purchases import new_group_commit, new_product, purchase, restock
from tests.engines import on_both_engines
from tests.faults import Faulty
from tests.patience import PATIENCE, PATIENT_BUDGET, PATIENT_TIMES, until
from tests.product_rows import new_product_row

OFTEN = ProductFeedTimes(interval=0.01, backoff=Backoff(base=0.001, cap=0.001))

CREATE_MANY = """
WITH added AS (
    INSERT INTO products (id, name, drop_name, changed_at)
    SELECT gen_random_uuid(), 'Tee', 'Drop', now() FROM generate_series(1, $1::integer) RETURNING id
)
INSERT INTO stock_shards (product_id, shard, stock, stocked, version) SELECT id, 0, 5, 5, 1 FROM added
"""


@asynccontextmanager
async def following(pool: Pool) -> AsyncIterator[tuple[ProductFeed, Follower]]:
    feed = ProductFeed(pool, OFTEN)
    try:
        async with feed.follow() as follower:
            yield feed, follower
    finally:
        await feed.close()


async def take(follower: Follower) -> Product:
    async with asyncio.timeout(PATIENCE):
        return await follower.take()


async def pause_product(pool: Pool, product_id: UUID) -> Product:
    return (await change_product(pool, product_id, pause, "ada", Action.PRODUCT_PAUSED, PATIENT_BUDGET)).product


def readings() -> int:
    return [task.get_name() for task in asyncio.all_tasks()].count("product feed")


@on_both_engines
async def test_a_follower_gets_what_is_created_and_changed_from_then_on(pool: Pool) -> None:
    before = await new_product(pool)
    await pause_product(pool, before)
    async with following(pool) as (_, follower):
        created = await new_product(pool)
        assert await take(follower) == await get_product(pool, created)
        for what in (resume, pause, archive):
            changed = await change_product(pool, before, what, "ada", Action.PRODUCT_UPDATED, PATIENT_BUDGET)
            assert await take(follower) == changed.product


async def test_a_sale_and_a_restock_change_no_product(pool: Pool) -> None:
    product_id, other = await new_product(pool), await new_product(pool)
    async with following(pool) as (_, follower):
        await new_group_commit(pool).submit(purchase(product_id))
        await restock(pool, product_id, 5)
        changed = await pause_product(pool, other)
        assert await take(follower) == changed, "the first product that comes is the one that was changed"


async def test_a_change_that_is_committed_late_comes_once(pool: Pool) -> None:
    """Its moment is before that of a change which was read already, and the clocks of two Regions differ."""
    product_id, other = await new_product(pool), await new_product(pool)
    async with following(pool) as (_, follower):
        await pause_product(pool, other)
        await take(follower)
        for seconds in (-OVERLAP / 2, OVERLAP / 2):
            await pool.execute(
                "UPDATE products SET changed_at = now() + $2::interval, revision = coalesce(revision, 0) + 1 "
                "WHERE id = $1",
                product_id,
                timedelta(seconds=seconds),
            )
            assert (await take(follower)).id == product_id
        created = await new_product(pool)
        assert (await take(follower)).id == created, "nothing comes twice"


async def test_followers_share_the_readings_and_nobody_reads_for_nobody(pool: Pool) -> None:
    async with following(pool) as (feed, follower):
        async with feed.follow() as another:
            product_id = await new_product(pool)
            assert [(await take(each)).id for each in (follower, another)] == [product_id] * 2
            assert (feed.followers, readings()) == (2, 1)
        assert readings() == 1
    await until(lambda: readings() == 0)
    async with following(pool) as (feed, follower):
        product_id = await new_product(pool)
        assert (await take(follower)).id == product_id, "a later follower begins anew"
        await feed.close()
        assert readings() == 0


async def test_a_slow_follower_skips_to_the_latest_of_each_product() -> None:
    follower = Follower()
    for revision in range(3):
        for number in range(2):
            follower.put(new_product_row(id=UUID(int=number), revision=revision))
    assert [(await take(follower)).revision for _ in range(2)] == [2, 2]


async def test_a_follower_that_takes_nothing_falls_behind() -> None:
    follower = Follower()
    for number in range(BUFFER + 1):
        follower.put(new_product_row(id=UUID(int=number)))
    follower.put(new_product_row(id=UUID(int=0), revision=1))
    assert [(await take(follower)).id.int for _ in range(BUFFER)] == [*range(BUFFER)]
    with pytest.raises(ProductsMissed):
        await take(follower)


async def test_many_changes_at_once_are_all_read_and_too_many_are_not(pool: Pool) -> None:
    async with following(pool) as (_, follower):
        await pool.execute(CREATE_MANY, PAGE + 1)
        taken = {(await take(follower)).id for _ in range(PAGE + 1)}
        assert len(taken) == PAGE + 1
        await pool.execute(CREATE_MANY, PAGE * MAX_PAGES)
        with pytest.raises(ProductsMissed):
            await take(follower)


async def test_readings_go_on_when_the_database_is_back(
    pool: Pool, faulty: Faulty, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        Pool(Endpoint("here", faulty.url), 5, tokens, PATIENT_TIMES.pool) as fragile,
        following(fragile) as (_, follower),
    ):
        with caplog.at_level(logging.INFO, "dropzero.products"):
            faulty.down()
            await until(lambda: "cannot be read" in caplog.text)
            product_id = await new_product(pool)
            await faulty.up()
            assert (await take(follower)).id == product_id
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
