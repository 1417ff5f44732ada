"""The probe: whether an endpoint answers, and how fast, asked over one connection that nothing else waits for."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Unavailable
from api.database.probe import Probe
from api.database.tokens import AuthTokens
from tests.dsql.stand_in import StandIn
from tests.regions import HOME


@pytest.fixture
async def probe(home: StandIn, tokens: AuthTokens) -> AsyncIterator[Probe]:
    probe = Probe(Endpoint(HOME, home.url), tokens)
    yield probe
    await probe.close()


async def test_a_round_trip_is_timed_without_the_time_to_connect(probe: Probe, home: StandIn) -> None:
    home.statement_latency = 0.05
    started = time.perf_counter()
    first = await probe.ping(10)
    elapsed = (time.perf_counter() - started) * 1000
    assert 50 <= first < elapsed
    assert await probe.ping(10) >= 50
    assert (home.connections_opened, home.statements) == (1, 2)


async def test_whoever_asks_while_an_answer_is_awaited_shares_it(probe: Probe, home: StandIn) -> None:
    answers = await asyncio.gather(*(probe.ping(10) for _ in range(5)))
    assert len(set(answers)) == 1
    assert (home.connections_opened, home.statements) == (1, 1)


async def test_an_endpoint_that_refuses_says_why_at_once(probe: Probe, home: StandIn) -> None:
    home.down()
    async with asyncio.timeout(5):
        with pytest.raises(Unavailable, match="nothing listens"):
            await probe.ping(60)


async def test_a_connection_that_died_since_the_last_question_is_replaced(probe: Probe, home: StandIn) -> None:
    await probe.ping(10)
    home.down()
    await home.up()
    await probe.ping(10)
    assert home.connections_opened == 2


async def test_an_endpoint_that_says_nothing_is_given_up_in_time_and_asked_anew(probe: Probe, home: StandIn) -> None:
    await probe.ping(10)
    home.hang()
    for _ in range(2):  # on the kept connection, and on a new one
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match=r"^no answer within 0\.1 seconds$"):
                await probe.ping(0.1)
    home.release()
    await probe.ping(10)


async def test_a_question_that_was_given_up_is_not_shared(probe: Probe, home: StandIn) -> None:
    home.statement_latency = 3600.0
    with pytest.raises(Unavailable, match="no answer"):
        await probe.ping(0.1)
    home.statement_latency = 0.0
    async with asyncio.timeout(5):
        await probe.ping(10)
    assert home.connections_opened == 2


async def test_a_pause_of_this_process_does_not_pass_for_the_endpoint_s(probe: Probe, home: StandIn) -> None:
    home.statement_latency = 0.05
    await probe.ping(10)
    asked = home.statements
    asking = asyncio.create_task(probe.ping(0.4))
    while home.statements == asked:
        await asyncio.sleep(0.001)
    time.sleep(0.45)  # noqa: ASYNC251  # a process that is not given the processor
    await asking


async def test_closing_breaks_off_what_is_awaited(probe: Probe, home: StandIn) -> None:
    home.hang()
    asking = asyncio.create_task(probe.ping(60))
    async with asyncio.timeout(5):
        while not home.connections_opened:
            await asyncio.sleep(0.005)
        await probe.close()
        with pytest.raises(Unavailable):
            await asking
    home.release()
    async with asyncio.timeout(5):
        while home.connections_open:
            await asyncio.sleep(0.005)
