"""The regional endpoints of one database: a pool for each, how it does, and the way round one that is away."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Self

from api.database.endpoint import Endpoint
from api.database.errors import DatabaseError, Unavailable, WakingUp
from api.database.pool import (
    READ_ATTEMPTS,
    READ_TIMEOUT,
    TRANSACTION_TIMEOUT,
    Pool,
    PoolTimes,
    Record,
    Transaction,
    read_again,
)
from api.database.probe import Probe
from api.database.tokens import AuthTokens

logger = logging.getLogger("dropzero.regions")


@dataclass(frozen=True, slots=True)
class RegionTimes:
    """When an endpoint counts as away, and when it is used again. All times in seconds.

    `ping_timeout`: an endpoint that does not answer a ping for so long is away. A read takes 5 to 10 ms on Aurora
    DSQL; with the interval, purchases leave an endpoint that went silent within 1.1 s.
    `ping_interval`: between an answer and the next ping.
    `answers_to_return`: answers in a row, 2 s of them, before an endpoint that was away is used again.
    `waking`: what a server that starts gives an idle cluster to wake up.
    `pool`: for the connections to each endpoint.
    """

    ping_timeout: float = 0.8
    ping_interval: float = 0.25
    answers_to_return: int = 8
    waking: float = 60.0
    pool: PoolTimes = PoolTimes()


class UnknownRegion(LookupError):
    """A Region was asked for that no endpoint serves."""


@dataclass(frozen=True, slots=True)
class RegionHealth:
    """How one endpoint answered just now. `latency_ms` is None when it did not."""

    name: str
    home: bool
    healthy: bool
    latency_ms: float | None


class Regions:
    """One pool per endpoint; all of them are one strongly consistent database.

    As a `Database` it goes through home, and through a healthy peer while home is away. Where there is a peer, all
    endpoints are watched from `open` to `close`.
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
        self._probes = {endpoint.region: Probe(endpoint, tokens, times.pool.connect) for endpoint in endpoints}
        self._times = times
        self._away: set[str] = set()
        # On a laptop two Regions are one server under two names, and there is nowhere else to go.
        self._watched = len({endpoint.url for endpoint in endpoints}) > 1
        self._watching: list[asyncio.Task[None]] = []
        self.home = self._pools[endpoints[0].region]

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    @property
    def active(self) -> Pool:
        """Home, or while it is away the first peer that is not. With all of them away it is home again."""
        return next((pool for pool in self if pool.region not in self._away), self.home)

    @property
    def region(self) -> str:
        return self.active.region

    def is_away(self, region: str) -> bool:
        """Whether the endpoint is known not to answer."""
        return region in self._away

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
        if self._watched:
            self._watching = [asyncio.create_task(self._watch(pool), name=f"watch {pool.region}") for pool in self]

    async def warm_up(self, connections: int) -> Pool:
        """Open so many connections to each endpoint, and return the pool of the first, home if it can be, that has
        them. Waits for a cluster that is waking up. Raises Unavailable when no endpoint takes connections."""
        pools = list(self)
        refusals = await asyncio.gather(*(self._warm_up(pool, connections) for pool in pools))
        ready = [pool for pool, refusal in zip(pools, refusals, strict=True) if refusal is None]
        if not ready and refusals[0] is not None:
            raise refusals[0]
        for pool, refusal in zip(pools, refusals, strict=True):
            if refusal is not None:
                logger.warning("%s takes no connections: %s", pool.region, refusal)
        return ready[0]

    async def _warm_up(self, pool: Pool, connections: int) -> Unavailable | None:
        deadline = time.monotonic() + self._times.waking
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
        for task in self._watching:
            task.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)
        await asyncio.gather(*(probe.close() for probe in self._probes.values()), *(pool.close() for pool in self))

    async def fetch(self, statement: str, *arguments: Any, timeout: float = READ_TIMEOUT) -> list[Record]:
        """Run one read, which any Region answers alike. Raises Unavailable when none does in `timeout` seconds."""
        active = self.active
        others = [pool for pool in self if pool is not active] if self._watched else []
        pools = ([active, *others] * READ_ATTEMPTS)[: max(READ_ATTEMPTS, 1 + len(others))]
        return await read_again(pools, statement, arguments, timeout)

    async def fetchrow(self, statement: str, *arguments: Any) -> Record | None:
        """Run one read and return its first row, if any. Raises Unavailable."""
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    def begin(self, timeout: float = TRANSACTION_TIMEOUT) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction at the active endpoint; see Pool.begin."""
        return self.active.begin(timeout)

    async def health(self) -> list[RegionHealth]:
        """Ask every endpoint at once, home first. Never raises. Takes the `ping_timeout` at most, and more only while
        this process itself is late; see Probe.ping."""
        return list(await asyncio.gather(*(self._health(pool) for pool in self)))

    async def _health(self, pool: Pool) -> RegionHealth:
        try:
            latency = await self._probes[pool.region].ping(self._times.ping_timeout)
        except DatabaseError:
            return RegionHealth(pool.region, pool is self.home, healthy=False, latency_ms=None)
        return RegionHealth(pool.region, pool is self.home, healthy=True, latency_ms=round(latency, 3))

    async def _watch(self, pool: Pool) -> None:
        """Ask one endpoint again and again, until `close`; it is away from the first question without an answer on,
        until it has answered for a while."""
        region, answers, left_at = pool.region, 0, 0.0
        while True:
            try:
                await self._probes[region].ping(self._times.ping_timeout)
            except Unavailable as error:
                answers = 0
                if region not in self._away:
                    left_at = time.monotonic()
                    self._leave(pool, str(error))
            except Exception:
                logger.exception("%s cannot be asked whether it answers; it counts as answering", region)
            else:
                answers += 1
                if region in self._away and answers >= self._times.answers_to_return:
                    self._away.discard(region)
                    logger.info("%s answers again, after %.1f s%s", region, time.monotonic() - left_at, self._now())
            await asyncio.sleep(self._times.ping_interval)

    def _leave(self, pool: Pool, reason: str) -> None:
        self._away.add(pool.region)
        logger.warning("%s is away%s: %s", pool.region, self._now(), reason)
        # Whatever waits there is to be tried again where it is answered; a commit in flight is decided by its orders.
        pool.lose()

    def _now(self) -> str:
        if len(self._away) == len(self._pools):
            return "; no endpoint answers, and nothing can be bought"
        return f"; what names no Region goes through {self.region}"
