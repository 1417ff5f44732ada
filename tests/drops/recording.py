"""What the tests of activity share: server processes that record what they answer when a test wants it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.regions import Regions
from api.drops.activity import delete_old_activity
from api.drops.activity_feed import ActivityFeed, FeedTimes
from api.drops.curve import ActivityPoint
from api.drops.group_commit import GroupCommit
from api.drops.history import read_history
from api.drops.processes import OwnProcess, delete_gone_processes, list_processes
from api.drops.recorder import Recorder, RecorderTimes
from tests.drops.purchases import new_group_commit, new_product, purchase
from tests.patience import PATIENCE, PATIENT_TIMES

NEVER = RecorderTimes(interval=1e6, timeout=PATIENCE)
"""A recorder that writes only when a test calls `write`, or at its end."""

OFTEN = FeedTimes(interval=0.02)


@dataclass(frozen=True)
class Process:
    """The lines of a server process, and its recorder."""

    line: GroupCommit
    recorder: Recorder

    async def buy(self, product_id: UUID, count: int = 1) -> None:
        for number in range(count):
            await self.line.submit(purchase(product_id, f"buyer-{number}"))


def process(pool: Pool, regions: Regions, times: RecorderTimes = NEVER) -> Process:
    """A process that sells through the pool, and records through the Regions."""
    line = new_group_commit(pool)
    return Process(line, Recorder(regions, lambda: [line.tally], OwnProcess(regions, lambda: line.unanswered), times))


@asynccontextmanager
async def regions_of(pool: Pool) -> AsyncIterator[Regions]:
    """The pool's endpoint, with a pool of its own."""
    endpoint = Endpoint(pool.region, pool.endpoint.url)
    async with Regions((endpoint,), 5, times=PATIENT_TIMES) as regions:
        yield regions


def outcomes(points: Sequence[ActivityPoint]) -> dict[str, int]:
    """The purchases of all points, by outcome."""
    names = ("confirmed", "held", "sold_out", "limit_reached", "not_open", "paused", "closed", "cancelled", "busy")
    sums = {name: sum(getattr(point, name) for point in points) for name in (*names, "failed")}
    return {name: count for name, count in sums.items() if count}


async def send_every_statement_about_activity(pool: Pool) -> None:
    """Sell, write what happened, read it, follow it, and delete it."""
    product_id = await new_product(pool)
    async with regions_of(pool) as regions:
        selling = process(pool, regions)
        selling.recorder.start()
        await selling.buy(product_id)
        await selling.recorder.write()
        assert outcomes(await read_history(regions, product_id)) == {"confirmed": 1}
        feed = ActivityFeed(regions)
        async with feed.follow(product_id) as follower:
            await follower.take()
        await feed.close()
        await selling.recorder.close(PATIENCE)
        assert await list_processes(regions) == []
        await delete_gone_processes(regions, timedelta(0))
        await delete_old_activity(regions, timedelta(0))
        assert await read_history(regions, product_id) == []
