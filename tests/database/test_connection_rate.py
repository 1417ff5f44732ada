"""The rate at which connections to an endpoint are opened: a burst, and then one in each interval."""

import asyncio
import contextlib
from collections.abc import Iterator

from api.database.connect import ConnectionRate, Connector, ConnectTimes
from api.database.endpoint import Endpoint
from api.database.tokens import AuthTokens
from tests.clock import pass_time
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE, short, until
from tests.regions import HOME

INTERVAL = 1000.0
"""Seconds from one connection to the next."""


class Queue:
    """Callers of a rate that lets one pass in each interval. `passed`: how many have passed."""

    def __init__(self, burst: int) -> None:
        self._rate = ConnectionRate(per_second=1 / INTERVAL, burst=burst)
        self._waiting: list[asyncio.Task[None]] = []
        self.passed = 0

    async def join(self, callers: int) -> None:
        self._waiting += [asyncio.create_task(self._pass()) for _ in range(callers)]
        await asyncio.sleep(0)

    async def _pass(self) -> None:
        await self._rate.wait()
        self.passed += 1

    def close(self) -> None:
        for task in self._waiting:
            task.cancel()


@contextlib.contextmanager
def queue(burst: int) -> Iterator[Queue]:
    queue = Queue(burst)
    try:
        yield queue
    finally:
        queue.close()


async def test_a_burst_of_connections_passes_and_then_one_in_each_interval() -> None:
    with queue(burst=5) as callers:
        await callers.join(8)
        assert callers.passed == 5
        for passed in (6, 7, 8):
            pass_time(INTERVAL)
            await until(lambda passed=passed: callers.passed >= passed)  # type: ignore[misc]
            assert callers.passed == passed


async def test_a_long_idle_time_allows_one_burst_and_no_more() -> None:
    with queue(burst=2) as callers:
        await callers.join(2)
        pass_time(10 * INTERVAL)
        await callers.join(4)
        assert callers.passed == 2 + 2


async def test_connections_to_an_endpoint_take_their_turns(home: StandIn, tokens: AuthTokens) -> None:
    one_by_one = ConnectTimes(timeout=PATIENCE, per_second=1 / INTERVAL, burst=1)
    connector = Connector(Endpoint(HOME, home.url), tokens, one_by_one)
    (await connector.connect()).terminate()
    second = asyncio.create_task(connector.connect())
    await asyncio.wait([second], timeout=short(0.2))
    assert (second.done(), home.connections_opened) == (False, 1)
    pass_time(INTERVAL)
    (await second).terminate()
    assert home.connections_opened == 2
