"""A process that is late itself must not take its own lateness for an endpoint that is away."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Unavailable
from api.database.probe import LATE, MAX_SLICES, Probe
from api.database.tokens import AuthTokens
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE
from tests.regions import HOME

TIMEOUT = 0.004
"""Seconds. A pause of LATE is longer than the whole timeout, and makes every slice of it late."""


@pytest.fixture
async def probe(home: StandIn, tokens: AuthTokens) -> AsyncIterator[Probe]:
    """A probe with a connection to an endpoint that answers."""
    probe = Probe(Endpoint(HOME, home.url), tokens)
    await probe.ping(PATIENCE)
    yield probe
    await probe.close()


def pause_this_process() -> None:
    time.sleep(LATE + TIMEOUT)


async def test_silence_while_the_process_is_late_does_not_count(probe: Probe, home: StandIn) -> None:
    home.hang()
    pinging = asyncio.create_task(probe.ping(TIMEOUT))
    for _ in range(MAX_SLICES // 4):  # each pause is longer than the whole timeout
        await asyncio.sleep(0)
        pause_this_process()
    assert not pinging.done()
    pinging.cancel()
    await asyncio.wait([pinging])
    home.release()


async def test_an_endpoint_that_is_silent_while_the_process_is_on_time_is_away(probe: Probe, home: StandIn) -> None:
    home.hang()
    with pytest.raises(Unavailable, match=r"^no answer within 0\.004 seconds$"):
        await probe.ping(TIMEOUT)
    home.release()


@pytest.mark.slow
async def test_a_ping_of_a_process_that_is_always_late_ends_after_so_many_slices(probe: Probe, home: StandIn) -> None:
    home.hang()
    pinging = asyncio.create_task(probe.ping(TIMEOUT))
    pauses = 0
    while not pinging.done():
        await asyncio.sleep(0)
        pause_this_process()
        pauses += 1
    with pytest.raises(Unavailable):
        await pinging
    assert pauses >= MAX_SLICES
    home.release()
