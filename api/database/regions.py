"""The regional endpoints of one database: a pool for each, the health of each, and which of them is used."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any, Self

from api.database.endpoint import Endpoint
from api.database.errors import DatabaseError, Unavailable, WakingUp
from api.database.monitor import Monitor, RegionTimes
from api.database.pool import READ_ATTEMPTS, READ_TIMEOUT, TRANSACTION_TIMEOUT, Pool, Record, Transaction, read_again
from api.database.tokens import AuthTokens

logger = logging.getLogger("dropzero.regions")


class UnknownRegion(LookupError):
    """A request named a Region that has no endpoint."""


@dataclass(frozen=True, slots=True)
class RegionHealth:
    """How one endpoint answered a ping just now. `latency_ms` is None when it did not."""

    name: str
    home: bool
    healthy: bool
    latency_ms: float | None


class Regions:
    """One pool per endpoint; all of them are one strongly consistent database.

    As a `Database` it goes through home, and through a healthy peer while home is away. Where there is a peer, all
    endpoints are monitored from `open` to `close`.
    """

    def __init__(
        self,
        endpoints: tuple[Endpoint, ...],
        connections: int,
        tokens: AuthTokens | None = None,
        times: RegionTimes = RegionTimes(),
    ) -> None:
        """`endpoints` with home first; `connections` is the bound for each of them."""
        tokens = tokens or AuthTokens()
        self._pools = {endpoint.region: Pool(endpoint, connections, tokens, times.pool) for endpoint in endpoints}
        self._monitor = Monitor(self._pools, tokens, times)
        # On a laptop two Regions are one server under two names: when it is away, no other endpoint can be used.
        self._monitored = len({endpoint.url for endpoint in endpoints}) > 1
        self._waking = times.waking
        self.home = self._pools[endpoints[0].region]

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    @property
    def active(self) -> Pool:
        """Home, or while home is away the first peer that is not. Home, too, while all of them are away."""
        return next(self._monitor.present(), self.home)

    @property
    def region(self) -> str:
        return self.active.region

    def is_away(self, region: str) -> bool:
        """Whether the endpoint is known not to answer."""
        return self._monitor.is_away(region)

    def pool(self, region: str) -> Pool:
        """The pool of a Region, whether it answers or not. Raises UnknownRegion."""
        try:
            return self._pools[region]
        except KeyError:
            known = ", ".join(self._pools)
            raise UnknownRegion(f"unknown region {region[:50]!r}; name {known}, or leave region out") from None

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self) -> None:
        for pool in self:
            await pool.open()
        if self._monitored:
            self._monitor.start()

    async def warm_up(self, connections: int) -> Pool:
        """Open so many connections to each endpoint, and wait for a cluster that is waking up.

        Returns the pool of the first endpoint that accepted them, home before its peers. Raises Unavailable when no
        endpoint accepts connections.
        """
        pools = list(self)
        refusals = await asyncio.gather(*(self._warm_up(pool, connections) for pool in pools))
        ready = [pool for pool, refusal in zip(pools, refusals, strict=True) if refusal is None]
        if not ready and refusals[0] is not None:
            raise refusals[0]
        for pool, refusal in zip(pools, refusals, strict=True):
            if refusal is not None:
                logger.warning("%s takes no connections: %s; the others serve until it does", pool.region, refusal)
        return ready[0]

    async def _warm_up(self, pool: Pool, connections: int) -> Unavailable | None:
        deadline = time.monotonic() + self._waking
        while True:
            try:
                await pool.warm_up(connections)
            except Unavailable as refusal:
                if isinstance(refusal, WakingUp) and time.monotonic() < deadline:
                    await asyncio.sleep(0.5)
                    continue
                return refusal
            return None

    async def close(self) -> None:
        await self._monitor.close()
        await asyncio.gather(*(pool.close() for pool in self))

    async def fetch(self, statement: str, *arguments: Any, timeout: float = READ_TIMEOUT) -> list[Record]:
        """Run one read, which every Region answers alike. Raises the last attempt's Conflict or Unavailable, and
        Unavailable when no Region answers in `timeout` seconds."""
        active = self.active
        others = [pool for pool in self if pool is not active] if self._monitored else []
        pools = islice(cycle([active, *others]), max(READ_ATTEMPTS, 1 + len(others)))
        return await read_again(list(pools), statement, arguments, timeout)

    async def fetchrow(self, statement: str, *arguments: Any) -> Record | None:
        """Run one read and return its first row, if any. Raises as `fetch` does."""
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    def begin(self, timeout: float = TRANSACTION_TIMEOUT) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction at the active endpoint; see Pool.begin."""
        return self.active.begin(timeout)

    def begin_reading(self, timeout: float) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that only reads at the active endpoint; see Pool.begin_reading."""
        return self.active.begin_reading(timeout)

    async def health(self) -> list[RegionHealth]:
        """Ping all endpoints at once, and return their health, home first. Raises nothing. Takes the `ping_timeout`
        at most, and more only while this process itself is late; see Probe.ping."""
        return list(await asyncio.gather(*(self._health(pool) for pool in self)))

    async def _health(self, pool: Pool) -> RegionHealth:
        try:
            latency = await self._monitor.ping(pool.region)
        except DatabaseError:
            return RegionHealth(pool.region, pool is self.home, healthy=False, latency_ms=None)
        return RegionHealth(pool.region, pool is self.home, healthy=True, latency_ms=round(latency, 3))
