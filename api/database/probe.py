"""The probe: asks an endpoint now and then whether it answers, over a connection that nothing else waits for."""

import asyncio
import time
from contextlib import suppress

import asyncpg

from api.database.connect import Connection, Connector, ConnectTimes
from api.database.endpoint import Endpoint
from api.database.errors import Conflict, Unavailable, translate
from api.database.tokens import AuthTokens

SLICES = 4
"""Slices that a ping's timeout is counted in."""

MAX_SLICES = 40
"""Slices that one ping waits at most. A new connection takes some ten rounds of the event loop."""

LATE = 0.05
"""Seconds by which a slice ends late in a process that is overloaded. One that is on time is late by a millisecond or
two; a group of 500 purchases holds the event loop for some 20 ms."""


class Probe:
    """One kept connection to an endpoint. Whoever asks while an answer is awaited shares it."""

    def __init__(self, endpoint: Endpoint, tokens: AuthTokens, times: ConnectTimes = ConnectTimes()) -> None:
        self._connector = Connector(endpoint, tokens, times)
        self._connection: Connection | None = None
        self._asking: asyncio.Task[float] | None = None

    async def ping(self, timeout: float) -> float:
        """Milliseconds of one round trip. Raises Unavailable when there is none in `timeout` seconds.

        Time counts only while this process is on time: a process that is overloaded, or was not given the processor,
        must not take its own lateness for the endpoint's. The time is counted in slices, and a slice that ended late
        does not count. After MAX_SLICES slices, late or not, the process has looked for an answer often enough.
        """
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask(), name="probe")
        asking, slice_ = self._asking, timeout / SLICES
        on_time = 0
        for _ in range(MAX_SLICES):
            started = time.monotonic()
            await asyncio.wait([asking], timeout=slice_)
            if asking.done() and not asking.cancelled():
                return asking.result()
            on_time += time.monotonic() - started < slice_ + LATE
            if on_time == SLICES or asking.cancelled():
                break
        await self.close()
        raise Unavailable(f"no answer within {timeout:g} seconds")

    async def close(self) -> None:
        """Break off what is awaited, and disconnect."""
        if self._asking is not None:
            self._asking.cancel()
            await asyncio.wait([self._asking])
        self._drop()

    async def _ask(self) -> float:
        connection = self._connection
        if connection is not None and not connection.is_closed():
            # It may have died in silence since the last time, as it does at the end of its life.
            with suppress(Unavailable):
                return await self._round_trip(connection)
        self._drop()
        self._connection = await self._connector.connect()
        return await self._round_trip(self._connection)

    async def _round_trip(self, connection: Connection) -> float:
        started = time.perf_counter()
        try:
            await connection.execute("SELECT 1")
        except Exception as error:  # whatever it is, such as asyncpg's on a connection that ends between two steps
            named = translate(error)
            if not isinstance(named, Conflict):  # which is an answer, such as one to a schema change
                raise named or Unavailable(str(error) or type(error).__name__) from error
        return (time.perf_counter() - started) * 1000

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(asyncpg.InterfaceError):
                self._connection.terminate()
            self._connection = None
