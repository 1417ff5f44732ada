"""The regional endpoints of one database: a pool for each, and how each of them does."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from api.database.endpoint import Endpoint
from api.database.errors import DatabaseError
from api.database.pool import Pool

PING_TIMEOUT = 2.0
"""Seconds after which an endpoint that does not answer counts as unhealthy."""


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
    """One pool per endpoint; all of them are one strongly consistent database."""

    def __init__(self, endpoints: tuple[Endpoint, ...], connections: int) -> None:
        """`endpoints` with home first; `connections` is the bound for each of them."""
        self._pools = {endpoint.region: Pool(endpoint, connections) for endpoint in endpoints}
        self.home = self._pools[endpoints[0].region]

    def __iter__(self) -> Iterator[Pool]:
        return iter(self._pools.values())

    def pool(self, region: str | None) -> Pool:
        """The pool of a Region, or of home for None. Raises UnknownRegion."""
        if region is None:
            return self.home
        try:
            return self._pools[region]
        except KeyError:
            known = ", ".join(self._pools)
            raise UnknownRegion(f"unknown region {region[:50]!r}; name {known}, or leave region out") from None

    async def open(self) -> None:
        for pool in self:
            await pool.open()

    async def close(self) -> None:
        await asyncio.gather(*(pool.close() for pool in self))

    async def health(self) -> list[RegionHealth]:
        """Ask every endpoint at once, home first. Takes PING_TIMEOUT at most, and never raises."""
        return list(await asyncio.gather(*(self._health(pool) for pool in self)))

    async def _health(self, pool: Pool) -> RegionHealth:
        try:
            async with asyncio.timeout(PING_TIMEOUT):
                latency = await pool.ping()
        except (DatabaseError, TimeoutError):
            return RegionHealth(pool.region, pool is self.home, healthy=False, latency_ms=None)
        return RegionHealth(pool.region, pool is self.home, healthy=True, latency_ms=round(latency, 3))
