"""The probe: pings an endpoint, over a connection that no other statement uses."""

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
    """One kept connection to an endpoint. Pings at the same time share one round trip."""

    def __init__(self, endpoint: Endpoint, tokens: AuthTokens, times: ConnectTimes = ConnectTimes()) -> None:
        self._connector = Connector(endpoint, tokens, times)
        self._connection: Connection | None = None
        self._pinging: asyncio.Task[float] | None = None

    async def ping(self, timeout: float) -> float:
        """Send `SELECT 1`, and return the milliseconds of its round trip. Raises Unavailable without an answer in
        `timeout` seconds.

        Time counts only while this process is on time. A process that is overloaded, or got no processor time, must
        not take its own lateness for the endpoint's. So the timeout is counted in slices, and a slice that ended late
        does not count. After MAX_SLICES slices, late or not, the ping has failed.
        """
        if self._pinging is None or self._pinging.done():
            self._pinging = asyncio.create_task(self._ping(), name="probe")
        pinging, slice_ = self._pinging, timeout / SLICES
        on_time = 0
        for _ in range(MAX_SLICES):
            started = time.monotonic()
            await asyncio.wait([pinging], timeout=slice_)
            if pinging.done() and not pinging.cancelled():
                return pinging.result()
            on_time += time.monotonic() - started < slice_ + LATE
            if on_time == SLICES or pinging.cancelled():
                break
        await self.close()
        raise Unavailable(f"no answer within {timeout:g} seconds")

    async def close(self) -> None:
        """Cancel the ping that waits for an answer, and disconnect."""
        if self._pinging is not None:
            self._pinging.cancel()
            await asyncio.wait([self._pinging])
        self._drop()

    async def _ping(self) -> float:
        connection = self._connection
        if connection is not None and not connection.is_closed():
            # It may have ended unnoticed since the last ping, as Aurora DSQL ends connections after 60 minutes.
            with suppress(Unavailable):
                return await self._round_trip(connection)
        self._drop()
        self._connection = await self._connector.connect()
        return await self._round_trip(self._connection)

    async def _round_trip(self, connection: Connection) -> float:
        started = time.perf_counter()
        try:
            await connection.execute("SELECT 1")
        except Exception as error:  # also asyncpg's AttributeError when a connection ends between two of its steps
            named = translate(error)
            if not isinstance(named, Conflict):  # a Conflict is an answer, as after a schema change
                raise named or Unavailable(str(error) or type(error).__name__) from error
        return (time.perf_counter() - started) * 1000

    def _drop(self) -> None:
        if self._connection is not None:
            with suppress(asyncpg.InterfaceError):
                self._connection.terminate()
            self._connection = None
