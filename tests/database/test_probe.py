"""The probe: whether an endpoint answers a ping, and how fast, over a connection that no other statement uses."""

import asyncio
import re
import time
from collections.abc import AsyncIterator

import pytest

from api.database.connect import ConnectTimes
from api.database.endpoint import Endpoint
from api.database.errors import Unavailable
from api.database.probe import Probe
from api.database.tokens import AuthTokens
from tests.clock import pass_time
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE, short, until
from tests.regions import HOME

SOON = short(0.1)
NO_ANSWER = rf"^no answer within {re.escape(f'{SOON:g}')} seconds$"
FOREVER = 3600.0


@pytest.fixture
async def probe(home: StandIn, tokens: AuthTokens) -> AsyncIterator[Probe]:
    probe = Probe(Endpoint(HOME, home.url), tokens, ConnectTimes(timeout=PATIENCE))
    yield probe
    await probe.close()


async def test_a_round_trip_is_timed_without_the_time_to_connect(probe: Probe, home: StandIn) -> None:
    home.hang()
    pinging = asyncio.create_task(probe.ping(PATIENCE))
    await until(lambda: home.connections_open == 1)  # it cannot log in before the release
    released = time.perf_counter()
    home.release()
    latency = await pinging
    assert 0 < latency < (time.perf_counter() - released) * 1000
    assert (home.connections_opened, home.statements) == (1, 1)


async def test_the_wait_for_an_answer_is_a_part_of_the_round_trip(probe: Probe, home: StandIn) -> None:
    home.statement_latency = short(0.05)
    for pings in (1, 2):
        assert await probe.ping(PATIENCE) >= home.statement_latency * 1000 * 0.9  # a timer may be a little early
        assert (home.connections_opened, home.statements) == (1, pings)


async def test_pings_at_the_same_time_share_one_answer(probe: Probe, home: StandIn) -> None:
    answers = await asyncio.gather(*(probe.ping(PATIENCE) for _ in range(5)))
    assert len(set(answers)) == 1
    assert (home.connections_opened, home.statements) == (1, 1)


async def test_a_refusal_is_raised_at_once_with_its_reason(probe: Probe, home: StandIn) -> None:
    home.down()
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unavailable, match="nothing listens"):
            await probe.ping(FOREVER)


async def test_a_connection_that_ended_since_the_last_ping_is_replaced(probe: Probe, home: StandIn) -> None:
    await probe.ping(PATIENCE)
    home.drop()
    await probe.ping(PATIENCE)
    assert (home.connections_opened, home.statements) == (2, 2)


async def test_a_silent_endpoint_is_unavailable_in_time_and_pinged_anew(probe: Probe, home: StandIn) -> None:
    await probe.ping(PATIENCE)
    home.hang()
    for _ in range(2):  # on the kept connection, and on a new one
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(Unavailable, match=NO_ANSWER):
                await probe.ping(SOON)
    home.release()
    assert await probe.ping(PATIENCE) > 0
    await until(lambda: home.connections_open == 1)


async def test_a_ping_that_timed_out_is_not_shared(probe: Probe, home: StandIn) -> None:
    await probe.ping(PATIENCE)
    home.statement_latency = FOREVER
    with pytest.raises(Unavailable, match=NO_ANSWER):
        await probe.ping(SOON)
    home.statement_latency = 0.0
    async with asyncio.timeout(PATIENCE):
        await probe.ping(FOREVER)
    assert home.connections_opened == 2


async def test_a_pause_of_this_process_does_not_count_as_the_endpoint_s(probe: Probe, home: StandIn) -> None:
    await probe.ping(PATIENCE)
    home.hang()
    pinging = asyncio.create_task(probe.ping(PATIENCE))
    await until(lambda: any(task.get_name() == "probe" for task in asyncio.all_tasks()))
    pass_time(2 * PATIENCE)  # as in a process that got no processor time
    home.release()
    assert await pinging > 0
    assert home.connections_opened == 1


async def test_closing_ends_a_ping_that_waits(probe: Probe, home: StandIn) -> None:
    home.hang()
    pinging = asyncio.create_task(probe.ping(FOREVER))
    await until(lambda: home.connections_opened == 1)
    async with asyncio.timeout(PATIENCE):
        await probe.close()
        with pytest.raises(Unavailable):
            await pinging
    home.release()
    await until(lambda: home.connections_open == 0)
