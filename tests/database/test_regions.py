"""The regional endpoints of one database: how each does, which one is used, and when."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import pytest

from api.database import connect as connect_module
from api.database import regions as regions_module
from api.database.endpoint import Endpoint
from api.database.errors import Unavailable, WakingUp
from api.database.regions import RegionHealth, Regions, UnknownRegion
from api.database.tokens import AuthTokens
from tests.dsql.stand_in import StandIn
from tests.regions import HOME, PEER


@pytest.fixture(autouse=True)
def watched_closely(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(regions_module, "PING_INTERVAL", 0.01)
    monkeypatch.setattr(regions_module, "PING_TIMEOUT", 0.4)


@pytest.fixture
async def endpoints(home: StandIn, peer: StandIn) -> tuple[Endpoint, ...]:
    return Endpoint(HOME, home.url), Endpoint(PEER, peer.url)


@pytest.fixture
async def regions(endpoints: tuple[Endpoint, ...], tokens: AuthTokens) -> AsyncIterator[Regions]:
    async with Regions(endpoints, 2, tokens) as regions:
        yield regions


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_each_endpoint_says_how_it_does_home_first(regions: Regions, home: StandIn, peer: StandIn) -> None:
    peer.statement_latency = 0.05
    here, there = await regions.health()
    assert (here.name, here.home, here.healthy) == (HOME, True, True)
    assert (there.name, there.home, there.healthy) == (PEER, False, True)
    assert here.latency_ms is not None
    assert there.latency_ms is not None
    assert there.latency_ms >= 50

    home.hang()
    peer.down()
    async with asyncio.timeout(3):
        assert await regions.health() == [
            RegionHealth(HOME, home=True, healthy=False, latency_ms=None),
            RegionHealth(PEER, home=False, healthy=False, latency_ms=None),
        ]
    home.release()


async def test_an_endpoint_that_lets_nobody_in_is_not_healthy(regions: Regions, home: StandIn) -> None:
    home.revoked = {"app"}
    home.down()
    await home.up()
    assert [health.healthy for health in await regions.health()] == [False, True]


async def test_a_region_that_nobody_serves_is_refused_by_the_names_of_those_that_are(regions: Regions) -> None:
    assert regions.pool(PEER).region == PEER
    with pytest.raises(UnknownRegion, match=f"^unknown region 'mars'; name {HOME}, {PEER}, or leave region out$"):
        regions.pool("mars")


async def test_home_is_left_once_and_used_again_after_so_many_answers_in_a_row(
    regions: Regions, home: StandIn, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "dropzero.regions")
    monkeypatch.setattr(regions_module, "ANSWERS_TO_RETURN", 10_000)
    assert (regions.region, regions.is_away(HOME)) == (HOME, False)
    home.down()
    await until(lambda: regions.region == PEER)
    assert regions.is_away(HOME)
    await home.up()
    answered = home.statements
    await until(lambda: home.statements >= answered + 10)
    assert regions.region == PEER, "a few answers are not enough"
    monkeypatch.setattr(regions_module, "ANSWERS_TO_RETURN", 3)
    await until(lambda: regions.region == HOME)
    left, returned = [record.getMessage() for record in caplog.records]
    assert left.startswith(f"{HOME} is away; what names no Region goes through {PEER}: no connection to {HOME}")
    assert returned.startswith(f"{HOME} answers again, after ")


async def test_answers_are_counted_anew_after_one_that_did_not_come(
    regions: Regions, home: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions_module, "ANSWERS_TO_RETURN", 20)
    home.down()
    await until(lambda: regions.is_away(HOME))
    for _ in range(3):  # three times 15 answers are not 20 in a row
        home.refusing = True
        await home.up()
        refused = home.connections_opened
        await until(lambda refused=refused: home.connections_opened >= refused + 2)  # type: ignore[misc]
        home.refusing = False
        answered = home.statements
        await until(lambda answered=answered: home.statements >= answered + 15)  # type: ignore[misc]
        home.down()
        assert regions.is_away(HOME)


async def test_with_every_endpoint_away_home_is_asked_and_it_is_said_that_nothing_can_be_bought(
    regions: Regions, home: StandIn, peer: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    home.down()
    await until(lambda: regions.is_away(HOME))
    peer.down()
    await until(lambda: regions.is_away(PEER))
    assert regions.region == HOME
    assert f"{PEER} is away; no endpoint answers, and nothing can be bought: " in caplog.text


async def test_what_waits_at_an_endpoint_that_goes_silent_is_let_go(regions: Regions, home: StandIn) -> None:
    async def ask() -> None:
        async with regions.begin(timeout=60) as transaction:
            await transaction.fetch("SELECT 1")
            home.hang()
            await transaction.fetch("SELECT 2")

    async with asyncio.timeout(10):
        with pytest.raises(Unavailable):
            await ask()
    assert regions.is_away(HOME)
    home.release()


async def test_a_read_goes_round_an_endpoint_that_is_not_yet_known_to_be_away(
    endpoints: tuple[Endpoint, ...], tokens: AuthTokens, home: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regions_module, "PING_INTERVAL", 60)
    async with Regions(endpoints, 2, tokens) as regions:
        await regions.health()  # whose answer is that to the last question for a minute
        home.down()
        row = await regions.fetchrow("SELECT 1 AS one")
        assert row is not None
        assert row["one"] == 1
        assert not regions.is_away(HOME)


async def test_reads_fail_in_time_when_no_endpoint_answers(regions: Regions, home: StandIn, peer: StandIn) -> None:
    home.down()
    peer.down()
    with pytest.raises(Unavailable, match="nothing listens"):
        await regions.fetch("SELECT 1")
    for endpoint in (home, peer):
        await endpoint.up()
        endpoint.hang()
    with pytest.raises(Unavailable, match=r"^no answer within 0\.1 seconds$"):
        await regions.fetch("SELECT 1", timeout=0.1)
    for endpoint in (home, peer):
        endpoint.release()


async def test_connections_to_every_endpoint_are_opened_before_the_first_request(
    endpoints: tuple[Endpoint, ...],
    tokens: AuthTokens,
    home: StandIn,
    peer: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(regions_module, "PING_INTERVAL", 60)
    async with Regions(endpoints, 2, tokens) as regions:
        assert (await regions.warm_up(2)).region == HOME
        await until(lambda: home.connections_open == peer.connections_open == 3)  # the watch has one of its own
    home.down()
    async with Regions(endpoints, 2, tokens) as regions:
        assert (await regions.warm_up(2)).region == PEER
        assert f"{HOME} takes no connections: no connection to {HOME} (localhost): nothing listens" in caplog.text
    peer.down()
    async with Regions(endpoints, 2, tokens) as regions:
        with pytest.raises(Unavailable, match=f"^no connection to {HOME}"):
            await regions.warm_up(2)


async def test_an_idle_cluster_is_waited_for_but_not_for_ever(
    endpoints: tuple[Endpoint, ...], tokens: AuthTokens, home: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect_module, "_ATTEMPTS", 1)
    async with Regions(endpoints[:1], 2, tokens) as regions:
        home.waking_up = 1
        assert (await regions.warm_up(1)).region == HOME
        assert home.connections_opened == 2
    async with Regions(endpoints[:1], 2, tokens) as regions:
        monkeypatch.setattr(regions_module, "WAKING_TIMEOUT", 0.0)
        home.waking_up = 1000
        with pytest.raises(WakingUp):
            await regions.warm_up(1)


async def test_closing_ends_the_watch_and_every_connection(
    endpoints: tuple[Endpoint, ...], tokens: AuthTokens, home: StandIn, peer: StandIn
) -> None:
    regions = Regions(endpoints, 2, tokens)
    await regions.open()
    await regions.warm_up(2)
    await until(lambda: home.statements > 0 and peer.statements > 0)
    await regions.close()
    names = {task.get_name() for task in asyncio.all_tasks()}
    assert not {name for name in names if name.startswith(("watch", "probe"))}
    await until(lambda: home.connections_open == peer.connections_open == 0)
