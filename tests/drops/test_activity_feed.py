"""The activity feed: followers of a drop get what happens in all processes, and share the readings."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from api.database.backoff import Backoff
from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.tokens import AuthTokens
from api.drops.activity_feed import MAX_FOLLOWED, ActivityFeed, DropActivity, FeedTimes, Follower
from api.drops.errors import InvalidInput
from api.drops.history import read_history
from api.drops.holds import HoldCounts
from tests.drops.holds import hold, new_held_product, run_out
from tests.drops.purchases import new_product, restock
from tests.drops.recording import OFTEN, outcomes, process
from tests.engines import on_both_engines
from tests.faults import Faulty
from tests.patience import PATIENCE, PATIENT_TIMES, until

NEVER_AGAIN = FeedTimes(interval=1e6)


@pytest.fixture
async def regions(database_url: str, tokens: AuthTokens) -> AsyncIterator[Regions]:
    async with Regions((Endpoint("here", database_url),), 5, tokens, PATIENT_TIMES) as regions:
        yield regions


@asynccontextmanager
async def feeding(regions: Regions, times: FeedTimes = OFTEN) -> AsyncIterator[ActivityFeed]:
    feed = ActivityFeed(regions, times)
    try:
        yield feed
    finally:
        await feed.close()


async def take_until(follower: Follower, condition: Callable[[DropActivity], bool]) -> DropActivity:
    async with asyncio.timeout(PATIENCE):
        while not condition(activity := await follower.take()):
            pass
    return activity


def readings() -> int:
    return sum(task.get_name() == "activity feed" for task in asyncio.all_tasks())


@on_both_engines
async def test_a_follower_gets_what_all_processes_answer(pool: Pool, regions: Regions) -> None:
    product_id = await new_product(pool, stock=5)
    one, two = process(pool, regions), process(pool, regions)
    await one.buy(product_id, 2)
    await one.recorder.write()
    async with feeding(regions) as feed, feed.follow(product_id) as follower:
        first = await take_until(follower, lambda _: True)
        assert (outcomes(first.points), first.product.stock) == ({"confirmed": 2}, 3)
        assert [region.name for region in first.around.regions] == ["here"]
        assert len(first.around.processes) == 1

        await two.buy(product_id, 4)
        await two.recorder.write()
        last = await take_until(follower, lambda activity: "sold_out" in outcomes(activity.points))

        assert outcomes(last.points) == {"confirmed": 5, "sold_out": 1}
        assert last.product.stock == last.points[-1].stock == 0
        assert last.points == await read_history(regions, product_id)
        assert last.at > first.at


async def test_a_follower_gets_a_change_of_the_product_and_else_nothing(pool: Pool, regions: Regions) -> None:
    product_id = await new_product(pool, stock=5)
    times = FeedTimes(interval=0.02, slow=1e6)
    async with feeding(regions, times) as feed, feed.follow(product_id) as follower:
        assert (await take_until(follower, lambda _: True)).product.stock == 5
        await restock(pool, product_id, 2)
        async with asyncio.timeout(PATIENCE):
            assert (await follower.take()).product.stock == 7, "the first event after the change is the change"


async def test_the_holds_of_the_product_are_counted(pool: Pool, behind: Pool, regions: Regions) -> None:
    product_id, other = await new_held_product(pool), await new_held_product(pool)
    one = process(pool, regions)
    orders = [await hold(one.line, product_id, quantity=quantity) for quantity in (1, 3)]
    await hold(one.line, other)
    await run_out(behind, orders[0])
    async with feeding(regions, NEVER_AGAIN) as feed, feed.follow(product_id) as follower:
        assert (await follower.take()).around.holds == HoldCounts(orders=2, units=4, lapsing=1)


async def test_followers_of_a_product_share_the_readings(pool: Pool, regions: Regions) -> None:
    product_id, other = await new_product(pool), await new_product(pool)
    async with feeding(regions, NEVER_AGAIN) as feed:
        async with feed.follow(product_id) as follower, feed.follow(other):
            taken = await follower.take()
            async with feed.follow(product_id) as another:
                assert await another.take() is taken, "the latest is there at once"
                assert readings() == 2
        await until(lambda: readings() == 0)
        async with feed.follow(product_id) as follower:
            assert await follower.take() is not taken


async def test_too_many_products_are_refused(regions: Regions) -> None:
    async with feeding(regions, NEVER_AGAIN) as feed:
        following = [feed.follow(UUID(int=number)) for number in range(MAX_FOLLOWED + 1)]
        for each in following[:-1]:
            await each.__aenter__()
        with pytest.raises(InvalidInput, match="follows 50 products already"):
            await following[-1].__aenter__()
        for each in following[:-1]:
            await each.__aexit__(None, None, None)


async def test_a_row_that_is_committed_late_is_seen(pool: Pool, regions: Regions) -> None:
    """Its moment is before that of a row which was read already."""
    product_id, one = await new_product(pool), process(pool, regions)
    await one.buy(product_id)
    await one.recorder.write()
    async with feeding(regions) as feed, feed.follow(product_id) as follower:
        await take_until(follower, lambda activity: outcomes(activity.points) == {"confirmed": 1})
        await pool.execute(
            "INSERT INTO activity SELECT product_id, at - interval '5 s', gen_random_uuid(), 2, NULL, NULL, data "
            "FROM activity"
        )
        await take_until(follower, lambda activity: outcomes(activity.points) == {"confirmed": 2})


async def test_readings_go_on_when_the_database_is_back(
    pool: Pool, faulty: Faulty, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    product_id = await new_product(pool, stock=5)
    times = FeedTimes(interval=0.02, backoff=Backoff(base=0.001, cap=0.001))
    endpoint = Endpoint("here", faulty.url)
    async with (
        Regions((endpoint,), 5, tokens, PATIENT_TIMES) as regions,
        feeding(regions, times) as feed,
        feed.follow(product_id) as follower,
    ):
        await follower.take()
        with caplog.at_level(logging.INFO, "dropzero.activity"):
            faulty.down()
            await until(lambda: "cannot be read" in caplog.text)
            await restock(pool, product_id, 2)
            await faulty.up()
            await take_until(follower, lambda activity: activity.product.stock == 7)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
