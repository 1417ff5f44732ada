"""Losing a Region, on two stand-ins for Aurora DSQL: purchases go through the peer, cost no error, and return to home.

A Region is lost in two ways. A Region that refuses connections fails each ping at once, so a ping may take long. A
Region that goes silent shows only when a ping gets no answer within a short time. On a busy machine the other Region
can miss that time too and count as away for a moment. So these tests expect nothing that such a moment would change.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TypeAlias
from uuid import UUID

import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Unavailable
from api.database.monitor import RegionTimes
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.drops.decisions import Confirmed, Replayed
from api.drops.drops import Drops
from api.drops.group_policy import GroupPolicy
from api.drops.order_search import list_orders
from api.drops.products import get_product
from api.drops.stock import PollingTimes
from api.drops.ticket import Outcome
from tests.drops.purchases import assert_books_balance, kinds, new_product, purchase
from tests.drops.watching import current
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE, PATIENT_BUDGET, PATIENT_TIMES, short, until
from tests.regions import HOME, PEER

REFUSED = replace(PATIENT_TIMES, ping_interval=0.02, answers_to_return=3)
"""For Regions that refuse connections, and are back soon after they accept them again."""

SILENT = replace(REFUSED, ping_timeout=short(0.8), pool=replace(PATIENT_TIMES.pool, close=short(0.1)))
"""For a Region that goes silent."""

ENDLESS = RetryBudget(attempts=1_000_000, seconds=PATIENCE)
"""For purchases that wait for a Region to come back, however often they are tried until then."""

Lose: TypeAlias = Callable[[StandIn], None]


@asynccontextmanager
async def drops_of(
    *endpoints: StandIn, times: RegionTimes, budget: RetryBudget = PATIENT_BUDGET
) -> AsyncIterator[Drops]:
    """The drops of a server with these Regions, home first."""
    named = tuple(Endpoint(endpoint.region or "", endpoint.url) for endpoint in endpoints)
    polling = PollingTimes(interval=0.05, timeout=PATIENCE, max_backoff=0.1)
    drops = Drops(Regions(named, connections=5, times=times), GroupPolicy(), budget, polling)
    await drops.open()
    try:
        await drops.regions.warm_up(2)
        yield drops
    finally:
        await drops.close(grace=PATIENCE)


async def until_active(drops: Drops, region: str) -> None:
    """Wait until purchases that name no Region go through `region`."""
    await until(lambda: drops.regions.region == region)


def lose_connections(endpoint: StandIn) -> None:
    endpoint.down()


def go_silent(endpoint: StandIn) -> None:
    endpoint.hang()


async def come_back(endpoint: StandIn) -> None:
    endpoint.release()
    endpoint.down()  # closes the silent connections
    await endpoint.up()


async def buy(drops: Drops, product_id: UUID, buyers: range) -> list[Outcome]:
    purchases = (purchase(product_id, f"buyer-{number}") for number in buyers)
    return await asyncio.gather(*(drops.purchase(each, None) for each in purchases))


def regions_of(outcomes: list[Outcome]) -> set[str]:
    return {outcome.region for outcome in outcomes}


def log_of_regions(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "dropzero.regions"]


async def test_losing_home_costs_no_error_and_purchases_return_to_home(
    home: StandIn, peer: StandIn, behind: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    product_id = await new_product(behind, stock=300)

    async with drops_of(home, peer, times=REFUSED) as drops:
        before = await buy(drops, product_id, range(100))
        lose_connections(home)
        during = await buy(drops, product_id, range(100, 200))
        await come_back(home)
        await until_active(drops, HOME)
        after = await buy(drops, product_id, range(200, 300))

    assert [kinds(outcomes) for outcomes in (before, during, after)] == [{"Confirmed": 100}] * 3
    assert [regions_of(outcomes) for outcomes in (before, during, after)] == [{HOME}, {PEER}, {HOME}]
    assert (await get_product(behind, product_id)).stock == 0
    await assert_books_balance(behind)
    left, returned = log_of_regions(caplog)
    assert left.startswith(f"{HOME} is away; what names no Region goes through {PEER}: no connection to {HOME} ")
    assert returned.startswith(f"{HOME} answers again, after ")
    assert returned.endswith(f"; what names no Region goes through {HOME}")


@pytest.mark.slow
async def test_a_silent_home_costs_no_error_and_purchases_return_to_home(
    home: StandIn, peer: StandIn, behind: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    product_id = await new_product(behind, stock=300)

    async with drops_of(home, peer, times=SILENT, budget=ENDLESS) as drops:
        before = await buy(drops, product_id, range(100))
        go_silent(home)
        during = await buy(drops, product_id, range(100, 200))
        await come_back(home)
        after: list[Outcome] = []
        async with asyncio.timeout(PATIENCE):
            while HOME not in regions_of(after):
                await until_active(drops, HOME)
                after += await buy(drops, product_id, range(200 + len(after), 201 + len(after)))

    assert [kinds(outcomes) for outcomes in (before, during, after)] == [
        {"Confirmed": 100},
        {"Confirmed": 100},
        {"Confirmed": len(after)},
    ]
    assert regions_of(during) == {PEER}
    assert (await get_product(behind, product_id)).stock == 100 - len(after)
    await assert_books_balance(behind)
    log = log_of_regions(caplog)
    assert any(line.startswith(f"{HOME} is away") and "no answer within" in line for line in log), log
    assert any(line.startswith(f"{HOME} answers again, after ") for line in log), log


async def buy_until_a_commit_arrives(drops: Drops, behind: Pool, home: StandIn) -> tuple[UUID, "asyncio.Task[Outcome]"]:
    """Buy a product's one unit, and return both as soon as the COMMIT has arrived at home.

    While home counts as away, a purchase goes through the peer. Then the unit of another product is bought.
    """
    arrived = asyncio.create_task(home.commit_arrived.wait())
    try:
        while True:
            product_id = await new_product(behind, stock=1)
            buying = asyncio.create_task(drops.purchase(purchase(product_id), None))
            await asyncio.wait([buying, arrived], timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
            if arrived.done():
                return product_id, buying
            assert (await buying).region == PEER
    finally:
        arrived.cancel()


@pytest.mark.parametrize("fault", ["cut_after_commit", "hang_at_commit"])
@pytest.mark.slow
async def test_a_commit_lost_with_home_is_found_or_repeated_through_the_peer(
    home: StandIn, peer: StandIn, behind: Pool, fault: str
) -> None:
    async with drops_of(home, peer, times=SILENT, budget=ENDLESS) as drops:
        setattr(home, fault, 1)
        product_id, buying = await buy_until_a_commit_arrives(drops, behind, home)
        go_silent(home)
        outcome = await buying

    # The answer and the order name the Region that committed.
    committed = HOME if fault == "cut_after_commit" else PEER
    assert isinstance(outcome.decision, Confirmed)
    assert (outcome.region, outcome.decision.order.region) == (committed, committed)
    [order] = [order for order in (await list_orders(behind, 10)).items if order.product_id == product_id]
    assert order.region == committed
    assert (await get_product(behind, product_id)).stock == 0


async def test_a_purchase_that_commits_in_both_regions_at_once_is_sold_once(
    home: StandIn, peer: StandIn, behind: Pool
) -> None:
    """Its COMMIT is in flight at home when a second request under the same key commits through the peer."""
    latency = short(0.2)
    async with drops_of(home, peer, times=REFUSED) as drops, asyncio.timeout(PATIENCE):
        while True:
            product_id = await new_product(behind, stock=3)
            home.commit_arrived.clear()
            home.commit_latency, commits = latency, home.commits
            late = asyncio.create_task(drops.purchase(purchase(product_id, key="click-1"), HOME))
            await home.commit_arrived.wait()
            home.commit_latency = 0.0
            first = await drops.purchase(purchase(product_id, key="click-1"), PEER)
            overtaken = home.commits == commits
            second = await late
            if overtaken:
                break
            latency *= 2  # home's COMMIT was not in flight for long enough

    assert isinstance(first.decision, Confirmed)
    assert isinstance(second.decision, Replayed)
    assert regions_of([first, second]) == {PEER}
    assert (await get_product(behind, product_id)).stock == 2


async def test_a_named_region_does_not_move(home: StandIn, peer: StandIn, behind: Pool) -> None:
    product_id = await new_product(behind, stock=2)
    async with drops_of(home, peer, times=REFUSED, budget=ENDLESS) as drops:
        lose_connections(home)
        await until_active(drops, PEER)

        buying = asyncio.create_task(drops.purchase(purchase(product_id, "patient"), HOME))
        assert (await drops.purchase(purchase(product_id, "ada"), None)).region == PEER
        assert not buying.done()
        await come_back(home)

        assert (await buying).region == HOME


async def test_a_named_region_that_stays_away_is_an_error_and_sells_nothing(
    home: StandIn, peer: StandIn, behind: Pool
) -> None:
    product_id = await new_product(behind, stock=2)
    async with drops_of(home, peer, times=REFUSED, budget=RetryBudget(attempts=4, seconds=PATIENCE)) as drops:
        lose_connections(home)
        with pytest.raises(Unavailable):
            await drops.purchase(purchase(product_id), HOME)

    assert (await get_product(behind, product_id)).stock == 2


async def test_a_purchase_waits_while_every_region_is_away_and_uses_the_first_to_return(
    home: StandIn, peer: StandIn, behind: Pool
) -> None:
    product_id = await new_product(behind, stock=2)
    async with drops_of(home, peer, times=REFUSED, budget=ENDLESS) as drops:
        lose_connections(home)
        lose_connections(peer)
        buying = asyncio.create_task(drops.purchase(purchase(product_id), None))
        await until(lambda: drops.regions.is_away(HOME) and drops.regions.is_away(PEER))
        assert not buying.done()

        await come_back(peer)

        assert (await buying).region == PEER


@pytest.mark.parametrize(("lose", "times"), [(lose_connections, REFUSED), (go_silent, SILENT)])
@pytest.mark.slow
async def test_watchers_see_the_stock_fall_while_home_is_away(
    home: StandIn, peer: StandIn, behind: Pool, lose: Lose, times: RegionTimes
) -> None:
    product_id = await new_product(behind, stock=10)

    async with (
        drops_of(home, peer, times=times) as drops,
        drops_of(peer, times=PATIENT_TIMES) as another_server,
        drops.publisher.watch([product_id]) as watcher,
        asyncio.timeout(PATIENCE),
    ):
        assert (await watcher.take())[0].level.stock == 10
        lose(home)
        await until_active(drops, PEER)
        await another_server.purchase(purchase(product_id), None)
        change = None
        while change != current(product_id, 9, 2):
            [change] = await watcher.take()


async def test_one_database_under_two_names_is_not_monitored(postgres_url: str) -> None:
    async with Regions((Endpoint(HOME, postgres_url), Endpoint(PEER, postgres_url)), connections=1):
        assert [task for task in asyncio.all_tasks() if task.get_name().startswith("monitor ")] == []
