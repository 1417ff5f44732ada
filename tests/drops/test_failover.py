"""Losing a Region, on two stand-ins for Aurora DSQL: purchases go round it, cost no error, and come home again."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import TypeAlias
from uuid import UUID

import pytest

from api.database import regions as regions_module
from api.database.endpoint import Endpoint
from api.database.errors import Unavailable
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.drops.drops import Drops
from api.drops.group_commit import GroupPolicy, Outcome
from api.drops.orders import list_orders
from api.drops.products import get_product
from api.drops.purchase import Confirmed
from api.drops.stock import PollingTimes
from tests.drops.purchases import assert_books_balance, kinds, new_product, wish
from tests.dsql.stand_in import StandIn
from tests.regions import HOME, PEER

Lose: TypeAlias = Callable[[StandIn], None]


@pytest.fixture
def engine() -> str:
    return "dsql"


@pytest.fixture
async def drops(home: StandIn, peer: StandIn) -> AsyncIterator[Drops]:
    """What a server has of the two Regions."""
    regions = Regions((Endpoint(HOME, home.url), Endpoint(PEER, peer.url)), connections=5)
    drops = Drops(regions, GroupPolicy(), RetryBudget(), PollingTimes(interval=0.05))
    await drops.open()
    await regions.warm_up(2)
    yield drops
    await drops.close(grace=5)


async def until_active(drops: Drops, region: str) -> None:
    """Wait until purchases that name no Region go through this one."""
    async with asyncio.timeout(20):
        while drops.regions.region != region:
            await asyncio.sleep(0.01)


def lose_connections(endpoint: StandIn) -> None:
    endpoint.down()


def go_silent(endpoint: StandIn) -> None:
    endpoint.hang()


async def come_back(endpoint: StandIn) -> None:
    endpoint.release()
    endpoint.down()  # whatever was silent is gone
    await endpoint.up()


async def buy(drops: Drops, product_id: UUID, buyers: range, region: str | None = None) -> list[Outcome]:
    wishes = (wish(product_id, f"buyer-{number}") for number in buyers)
    return await asyncio.gather(*(drops.purchase(each, region) for each in wishes))


@pytest.mark.parametrize("lose", [lose_connections, go_silent])
async def test_losing_home_costs_no_buyer_an_error_and_purchases_come_home_again(
    drops: Drops, behind: Pool, home: StandIn, lose: Lose, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    product_id = await new_product(behind, stock=300)

    before = await buy(drops, product_id, range(100))
    lose(home)
    during = await buy(drops, product_id, range(100, 200))
    await come_back(home)
    await until_active(drops, HOME)
    after = await buy(drops, product_id, range(200, 300))

    assert [kinds(outcomes) for outcomes in (before, during, after)] == [{"Confirmed": 100}] * 3
    assert [{outcome.region for outcome in outcomes} for outcomes in (before, during, after)] == [
        {HOME},
        {PEER},
        {HOME},
    ]
    assert (await get_product(behind, product_id)).stock == 0
    await assert_books_balance(behind)
    told = [record.getMessage() for record in caplog.records if record.name == "dropzero.regions"]
    assert told[0].startswith(f"{HOME} is away; what names no Region goes through {PEER}: no")
    assert told[-1].startswith(f"{HOME} answers again, after ")
    assert told[-1].endswith(f"; what names no Region goes through {HOME}")


@pytest.mark.parametrize("fault", ["cut_after_commit", "hang_at_commit"])
async def test_a_commit_that_home_took_with_it_is_found_or_made_through_the_peer(
    drops: Drops, behind: Pool, home: StandIn, fault: str
) -> None:
    product_id = await new_product(behind, stock=1)
    setattr(home, fault, 1)

    buying = asyncio.create_task(drops.purchase(wish(product_id), None))
    await home.commit_arrived.wait()
    go_silent(home)
    outcome = await buying

    # Whichever Region committed is the one that is named, in the answer and in the order.
    committed = HOME if fault == "cut_after_commit" else PEER
    assert isinstance(outcome.decision, Confirmed)
    assert not outcome.decision.replayed
    assert (outcome.region, outcome.decision.order.region) == (committed, committed)
    assert [order.region for order in (await list_orders(behind, 10)).items] == [committed]
    assert (await get_product(behind, product_id)).stock == 0


async def test_a_purchase_whose_commit_is_under_way_in_one_region_and_done_in_the_other_is_sold_once(
    drops: Drops, behind: Pool, home: StandIn
) -> None:
    product_id = await new_product(behind, stock=3)
    home.commit_latency = 0.5

    late = asyncio.create_task(drops.purchase(wish(product_id, key="click-1"), HOME))
    await home.commit_arrived.wait()
    home.commit_latency = 0.0
    first = await drops.purchase(wish(product_id, key="click-1"), PEER)
    second = await late

    assert isinstance(first.decision, Confirmed)
    assert isinstance(second.decision, Confirmed)
    assert (first.decision.replayed, second.decision.replayed) == (False, True)
    assert {outcome.region for outcome in (first, second)} == {PEER}
    assert (await get_product(behind, product_id)).stock == 2


async def test_a_named_region_does_not_move(drops: Drops, behind: Pool, home: StandIn) -> None:
    product_id = await new_product(behind, stock=2)
    lose_connections(home)
    await until_active(drops, PEER)

    buying = asyncio.create_task(drops.purchase(wish(product_id, "patient"), HOME))
    assert (await drops.purchase(wish(product_id, "ada"), None)).region == PEER
    assert not buying.done()
    await come_back(home)

    assert (await buying).region == HOME


async def test_a_named_region_that_stays_away_is_an_error_and_sells_nothing(
    home: StandIn, peer: StandIn, behind: Pool
) -> None:
    product_id = await new_product(behind, stock=2)
    regions = Regions((Endpoint(HOME, home.url), Endpoint(PEER, peer.url)), connections=2)
    drops = Drops(regions, GroupPolicy(), RetryBudget(seconds=0.5), PollingTimes(interval=0.05))
    await drops.open()
    lose_connections(home)

    with pytest.raises(Unavailable):
        await drops.purchase(wish(product_id), HOME)
    await drops.close(grace=1)

    assert (await get_product(behind, product_id)).stock == 2


async def test_with_every_region_away_a_purchase_waits_and_goes_through_whichever_comes_back(
    drops: Drops, behind: Pool, home: StandIn, peer: StandIn
) -> None:
    product_id = await new_product(behind, stock=2)
    lose_connections(home)
    lose_connections(peer)
    buying = asyncio.create_task(drops.purchase(wish(product_id), None))
    async with asyncio.timeout(10):
        while not (drops.regions.is_away(HOME) and drops.regions.is_away(PEER)):
            await asyncio.sleep(0.01)

    await come_back(peer)

    assert (await buying).region == PEER


@pytest.mark.parametrize("lose", [lose_connections, go_silent])
async def test_watchers_see_the_stock_fall_while_home_is_away(
    drops: Drops, behind: Pool, home: StandIn, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions_module, "ANSWERS_TO_RETURN", 10_000)
    product_id = await new_product(behind, stock=10)
    elsewhere = Regions((drops.regions.pool(PEER).endpoint,), connections=1)
    another_server = Drops(elsewhere, GroupPolicy(), RetryBudget(), PollingTimes(interval=60))
    await another_server.open()

    async with drops.publisher.watch([product_id]) as watcher:
        assert (await watcher.take())[0].level.stock == 10
        lose(home)
        await until_active(drops, PEER)
        await another_server.purchase(wish(product_id), None)
        async with asyncio.timeout(10):
            while (change := (await watcher.take())[0]).level.stock != 9 or change.stale:
                pass
    await another_server.close(grace=1)


async def test_one_database_under_two_names_is_not_watched(postgres_url: str) -> None:
    regions = Regions((Endpoint(HOME, postgres_url), Endpoint(PEER, postgres_url)), connections=1)
    await regions.open()
    assert [task for task in asyncio.all_tasks() if task.get_name().startswith("watch ")] == []
    await regions.close()
