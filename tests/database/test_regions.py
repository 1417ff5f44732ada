"""The regional endpoints of one database: the health of each, which one is used, and when."""

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Unavailable, WakingUp
from api.database.probe import SLICES
from api.database.regions import RegionHealth, Regions, UnknownRegion
from api.database.tokens import AuthTokens
from tests.clock import pass_time
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE, PATIENT_TIMES, short, until
from tests.regions import HOME, PEER

FOREVER = 3600.0
ANSWERS = 20
"""Answers in a row before an endpoint that was away is used again."""

TIMES = replace(PATIENT_TIMES, ping_interval=0.005, answers_to_return=ANSWERS)
PINGED_ONCE = replace(TIMES, ping_interval=FOREVER)
SOON = short(0.1)


@pytest.fixture
async def endpoints(home: StandIn, peer: StandIn) -> tuple[Endpoint, ...]:
    return Endpoint(HOME, home.url), Endpoint(PEER, peer.url)


@pytest.fixture
async def regions(endpoints: tuple[Endpoint, ...], tokens: AuthTokens) -> AsyncIterator[Regions]:
    async with Regions(endpoints, 2, tokens, TIMES) as regions:
        yield regions


async def answer(endpoint: StandIn, pings: int) -> None:
    """Wait until the endpoint has answered so many more pings."""
    answered = endpoint.statements
    await until(lambda: endpoint.statements >= answered + pings)


async def refuse(endpoint: StandIn, pings: int) -> None:
    """Wait until the endpoint has refused so many more pings."""
    opened = endpoint.connections_opened
    await until(lambda: endpoint.connections_opened >= opened + pings)


async def test_the_health_of_each_endpoint_is_reported_home_first(regions: Regions, peer: StandIn) -> None:
    peer.statement_latency = short(0.05)
    here, there = await regions.health()
    assert (here.name, here.home, here.healthy) == (HOME, True, True)
    assert (there.name, there.home, there.healthy) == (PEER, False, True)
    assert here.latency_ms is not None
    assert there.latency_ms is not None
    assert there.latency_ms >= peer.statement_latency * 1000 * 0.9  # a timer may be a little early


async def test_endpoints_that_do_not_answer_are_not_healthy(
    endpoints: tuple[Endpoint, ...], tokens: AuthTokens, home: StandIn, peer: StandIn
) -> None:
    home.hang()
    peer.down()
    async with Regions(endpoints, 2, tokens, replace(TIMES, ping_timeout=SOON)) as regions, asyncio.timeout(PATIENCE):
        assert await regions.health() == [
            RegionHealth(HOME, home=True, healthy=False, latency_ms=None),
            RegionHealth(PEER, home=False, healthy=False, latency_ms=None),
        ]
    home.release()


async def test_an_endpoint_that_refuses_every_login_is_not_healthy(regions: Regions, home: StandIn) -> None:
    home.revoked = {"app"}
    home.drop()
    assert [health.healthy for health in await regions.health()] == [False, True]


async def test_an_unknown_region_is_refused_with_the_names_of_the_known_ones(regions: Regions) -> None:
    assert regions.pool(PEER).region == PEER
    with pytest.raises(UnknownRegion, match=f"^unknown region 'mars'; name {HOME}, {PEER}, or leave region out$"):
        regions.pool("mars")


async def test_home_is_used_again_after_so_many_answers_in_a_row(
    regions: Regions, home: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dropzero.regions")
    assert (regions.region, regions.is_away(HOME)) == (HOME, False)
    home.down()
    await until(lambda: regions.region == PEER)
    assert regions.is_away(HOME)
    answered = home.statements
    await home.up()
    await until(lambda: regions.region == HOME)
    assert home.statements >= answered + ANSWERS
    left, returned = [record.getMessage() for record in caplog.records]
    assert left.startswith(f"{HOME} is away; what names no Region goes through {PEER}: no connection to {HOME}")
    assert returned.startswith(f"{HOME} answers again, after ")


async def test_answers_are_counted_anew_after_a_failed_ping(regions: Regions, home: StandIn) -> None:
    home.down()
    await until(lambda: regions.is_away(HOME))
    await home.up()
    for _ in range(3):
        await answer(home, ANSWERS // 2)
        assert regions.is_away(HOME), "half of the answers are not all of them in a row"
        home.refusing = True
        home.drop()
        await refuse(home, 2)
        home.refusing = False
    await until(lambda: not regions.is_away(HOME))


async def test_with_every_endpoint_away_home_is_used(
    regions: Regions, home: StandIn, peer: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    home.down()
    await until(lambda: regions.is_away(HOME))
    peer.down()
    await until(lambda: regions.is_away(PEER))
    assert regions.region == HOME
    assert f"{PEER} is away; no endpoint answers, and nothing can be bought: " in caplog.text


async def test_work_that_waits_for_an_endpoint_fails_when_it_is_away(regions: Regions, home: StandIn) -> None:
    async def read_twice() -> None:
        async with regions.begin(timeout=FOREVER) as transaction:
            await transaction.fetch("SELECT 1")
            home.hang()
            await transaction.fetch("SELECT 2")

    def becomes_away() -> bool:
        pass_time(TIMES.ping_timeout / SLICES)  # each of the slices that a ping waits in
        return regions.is_away(HOME)

    reading = asyncio.create_task(read_twice())
    await until(lambda: home.is_hanging)
    assert not regions.is_away(HOME)
    await until(becomes_away, timeout=FOREVER)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unavailable):
            await reading
    home.release()


async def test_a_read_goes_round_an_endpoint_that_is_not_yet_known_to_be_away(
    endpoints: tuple[Endpoint, ...], tokens: AuthTokens, home: StandIn
) -> None:
    async with Regions(endpoints, 2, tokens, PINGED_ONCE) as regions:
        await regions.health()  # its ping is the only one
        home.down()
        row = await regions.fetchrow("SELECT 1 AS one")
        assert row is not None
        assert row["one"] == 1
        assert not regions.is_away(HOME)


async def test_reads_fail_in_time_when_no_endpoint_answers(regions: Regions, home: StandIn, peer: StandIn) -> None:
    home.down()
    peer.down()
    with pytest.raises(Unavailable, match="nothing listens"):
        await regions.fetch("SELECT 1", timeout=PATIENCE)
    for endpoint in (home, peer):
        await endpoint.up()
        endpoint.hang()
    with pytest.raises(Unavailable, match=rf"^no answer within {re.escape(f'{SOON:g}')} seconds$"):
        await regions.fetch("SELECT 1", timeout=SOON)
    for endpoint in (home, peer):
        endpoint.release()


async def test_connections_to_every_endpoint_are_opened_before_the_first_request(
    endpoints: tuple[Endpoint, ...], tokens: AuthTokens, home: StandIn, peer: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    async with Regions(endpoints, 2, tokens, PINGED_ONCE) as regions:
        assert (await regions.warm_up(2)).region == HOME
        await until(lambda: home.connections_open == peer.connections_open == 3)  # the monitor has one of its own
    home.down()
    async with Regions(endpoints, 2, tokens, PINGED_ONCE) as regions:
        assert (await regions.warm_up(2)).region == PEER
        assert f"{HOME} takes no connections: no connection to {HOME} (localhost): nothing listens" in caplog.text
    peer.down()
    async with Regions(endpoints, 2, tokens, PINGED_ONCE) as regions:
        with pytest.raises(Unavailable, match=f"^no connection to {HOME}"):
            await regions.warm_up(2)


async def test_an_idle_cluster_is_waited_for_but_not_forever(
    endpoints: tuple[Endpoint, ...], tokens: AuthTokens, home: StandIn
) -> None:
    once = replace(TIMES.pool, connect=replace(TIMES.pool.connect, attempts=1))
    times = replace(TIMES, waking=PATIENCE, pool=once)
    async with Regions(endpoints[:1], 2, tokens, times) as regions:
        home.waking_up = 1
        assert (await regions.warm_up(1)).region == HOME
        assert home.connections_opened == 2
    async with Regions(endpoints[:1], 2, tokens, replace(times, waking=0.0)) as regions:
        home.waking_up = 1000
        with pytest.raises(WakingUp):
            await regions.warm_up(1)


async def test_closing_ends_the_monitor_and_every_connection(
    endpoints: tuple[Endpoint, ...], tokens: AuthTokens, home: StandIn, peer: StandIn
) -> None:
    regions = Regions(endpoints, 2, tokens, TIMES)
    await regions.open()
    await regions.warm_up(2)
    await until(lambda: home.statements > 0 and peer.statements > 0)
    await regions.close()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not {name for name in names if name.startswith(("monitor", "probe"))}
    await until(lambda: home.connections_open == peer.connections_open == 0)
