"""The monitor of the endpoints: it pings each one again and again, and knows which of them are away."""

import asyncio
import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from api.database.errors import Unavailable
from api.database.pool import Pool, PoolTimes
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
    `waking`: how long a server that starts waits for an idle cluster to wake up.
    `pool`: for the connections to each endpoint.
    """

    ping_timeout: float = 0.8
    ping_interval: float = 0.25
    answers_to_return: int = 8
    waking: float = 60.0
    pool: PoolTimes = PoolTimes()


class Monitor:
    """Pings the endpoints of all pools, and drops the connections of a pool whose endpoint is away."""

    def __init__(self, pools: Mapping[str, Pool], tokens: AuthTokens, times: RegionTimes) -> None:
        """`pools` by their Regions, in the order in which they are used: home first."""
        self._pools = pools
        self._times = times
        self._probes = {region: Probe(pool.endpoint, tokens, times.pool.connect) for region, pool in pools.items()}
        self._away: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Ping every endpoint from now on, until `close`. Without it no endpoint is ever away."""
        self._tasks = [
            asyncio.create_task(self._monitor(pool), name=f"monitor {region}") for region, pool in self._pools.items()
        ]

    async def close(self) -> None:
        """Stop, and disconnect."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(probe.close() for probe in self._probes.values()))

    def is_away(self, region: str) -> bool:
        """Whether the endpoint is known not to answer."""
        return region in self._away

    def present(self) -> Iterator[Pool]:
        """The pools whose endpoints are not away, in their order."""
        return (pool for region, pool in self._pools.items() if region not in self._away)

    async def ping(self, region: str) -> float:
        """Milliseconds of one round trip to an endpoint. Raises Unavailable when it takes longer than `ping_timeout`,
        which counts only while this process is on time; see Probe.ping."""
        return await self._probes[region].ping(self._times.ping_timeout)

    async def _monitor(self, pool: Pool) -> None:
        """Ping one endpoint until `close`. It is away after one failed ping, and back after `answers_to_return`
        successful ones in a row."""
        region, answers, away_since = pool.region, 0, 0.0
        while True:
            try:
                await self.ping(region)
            except Unavailable as error:
                answers = 0
                if region not in self._away:
                    away_since = time.monotonic()
                    self._leave(pool, str(error))
            except Exception:
                logger.exception(
                    "defect: %s cannot be pinged; it counts as answering. Report it with this traceback",
                    region,
                )
            else:
                answers += 1
                if region in self._away and answers >= self._times.answers_to_return:
                    self._away.discard(region)
                    logger.info("%s answers again, after %.1f s%s", region, time.monotonic() - away_since, self._now())
            await asyncio.sleep(self._times.ping_interval)

    def _leave(self, pool: Pool, reason: str) -> None:
        self._away.add(pool.region)
        logger.warning(
            "%s is away%s: %s; if it does not return, look at its status, the network and the credentials",
            pool.region,
            self._now(),
            reason,
        )
        # Work that waits for this endpoint fails and is retried through a peer. Whether a commit in flight succeeded
        # is decided by the orders that are found.
        pool.drop_connections()

    def _now(self) -> str:
        used = next(self.present(), None)
        if used is None:
            return "; no endpoint answers, and nothing can be bought"
        return f"; what names no Region goes through {used.region}"
