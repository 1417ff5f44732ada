"""The activity feed: what happens in a drop now, read once per interval for all who follow it in this process."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from api.database.backoff import Backoff
from api.database.errors import DatabaseError
from api.database.regions import RegionHealth, Regions
from api.drops.curve import ActivityPoint, Curve
from api.drops.errors import InvalidInput
from api.drops.history import INTERVAL
from api.drops.holds import HoldCounts, count_holds
from api.drops.processes import ServerProcess, list_processes
from api.drops.products import Product, get_product

logger = logging.getLogger("dropzero.activity")

MAX_FOLLOWED = 50
"""Products that are followed in one process at a time."""

PAGE = 500
"""Rows of one reading at most, and the newest are read: what sixty processes write in OVERLAP."""

MINUTE = 60
"""Seconds that an event shows."""

OVERLAP = 15
"""Seconds that each reading goes back behind the last one: a row can be committed so much later than its moment."""

READ_NEW = f"""
SELECT clock.now, page.* FROM (SELECT now() AS now) AS clock LEFT JOIN (
    SELECT at, process, stock, version, data FROM activity
    WHERE product_id <= $1 AND (product_id, at) > ($1, greatest(
        $2::timestamptz - interval '{OVERLAP} seconds', now() - interval '{MINUTE} seconds'))
    ORDER BY product_id DESC, at DESC, process DESC LIMIT {PAGE}
) AS page ON true
"""


@dataclass(frozen=True, slots=True)
class FeedTimes:
    """When a followed product is read, in seconds. `interval`: between two readings, jittered by a tenth. `slow`: about
    so often, the holds, the processes and the endpoints are read too. `backoff` is added to the interval while the
    database is away."""

    interval: float = 1.0
    slow: float = 5.0
    backoff: Backoff = field(default=Backoff(base=1.0, cap=10.0))


@dataclass(frozen=True, slots=True)
class Around:
    """What is read less often than a product and its activity."""

    holds: HoldCounts
    processes: Sequence[ServerProcess]
    regions: Sequence[RegionHealth]


@dataclass(frozen=True, slots=True)
class DropActivity:
    """What happens in a drop, at one moment of the database's clock. `points`: of the last minute, oldest first."""

    at: datetime
    product: Product
    points: Sequence[ActivityPoint]
    around: Around


class Follower:
    """The latest activity for one subscriber. A later one replaces one that was not taken yet."""

    def __init__(self) -> None:
        self._latest: DropActivity | None = None
        self._filled = asyncio.Event()

    def put(self, activity: DropActivity) -> None:
        self._latest = activity
        self._filled.set()

    async def take(self) -> DropActivity:
        """Wait for activity that was not taken yet."""
        await self._filled.wait()
        self._filled.clear()
        assert self._latest is not None, "it was filled"
        return self._latest


class ActivityFeed:
    """Reads the activity of each followed product once per interval, and nothing while nobody follows it."""

    def __init__(self, regions: Regions, times: FeedTimes = FeedTimes()) -> None:
        self._regions = regions
        self._times = times
        self._followed: dict[UUID, _Followed] = {}

    @asynccontextmanager
    async def follow(self, product_id: UUID) -> AsyncIterator[Follower]:
        """A follower of a product that exists, which gets its activity now and whenever it changes. Raises InvalidInput
        when MAX_FOLLOWED others are followed. While the database is away, a follower gets nothing."""
        followed = self._followed.get(product_id)
        if followed is None:
            if len(self._followed) >= MAX_FOLLOWED:
                raise InvalidInput(f"this server follows {MAX_FOLLOWED} products already; end a subscription first")
            followed = self._followed[product_id] = _Followed(product_id, self._regions, self._times)
        follower = Follower()
        followed.add(follower)
        try:
            yield follower
        finally:
            followed.remove(follower)
            if not followed.followers and self._followed.get(product_id) is followed:
                del self._followed[product_id]

    async def close(self) -> None:
        """End the readings. Followers get nothing more; their tasks have to be cancelled by their owners."""
        tasks = [followed.reading for followed in self._followed.values()]
        self._followed.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


class _Followed:
    """A product that is followed, from the first follower to the last."""

    def __init__(self, product_id: UUID, regions: Regions, times: FeedTimes) -> None:
        self.followers: set[Follower] = set()
        self._product_id = product_id
        self._regions = regions
        self._times = times
        self._curve = Curve(INTERVAL)
        self._known: dict[tuple[datetime, UUID], None] = {}
        """The keys of the rows that were added to the curve."""
        self._latest: DropActivity | None = None
        self._around_at = float("-inf")
        self.reading = asyncio.create_task(self._run(), name="activity feed")

    def add(self, follower: Follower) -> None:
        self.followers.add(follower)
        if self._latest is not None:
            follower.put(self._latest)

    def remove(self, follower: Follower) -> None:
        """Remove a follower. The last one ends the readings."""
        self.followers.remove(follower)
        if not self.followers:
            self.reading.cancel()

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                await self._read()
            except Exception as error:
                # A defect is caught too: without readings the followers would wait for ever.
                failures += 1
                if failures == 1:
                    defect = None if isinstance(error, DatabaseError) else error
                    logger.warning(
                        "the activity of a drop cannot be read: %s; this is tried again. If it goes on, look at "
                        "/readyz; report a traceback",
                        error,
                        exc_info=defect,
                    )
            else:
                if failures:
                    logger.info("the activity of a drop can be read again, after %d failed readings", failures)
                failures = 0
            pause = self._times.interval * random.uniform(0.9, 1.1)  # noqa: S311
            await asyncio.sleep(pause + (self._times.backoff.delay(failures) if failures else 0.0))

    async def _read(self) -> None:
        """Read what is new, and send it to the followers if anything has changed, or what is read less often was read
        again. Raises Conflict, Unavailable."""
        last, now = self._latest, asyncio.get_running_loop().time()
        slow = now - self._around_at > self._times.slow - self._times.interval / 2
        at = await self._read_rows(None if last is None else last.at)
        product = await get_product(self._regions, self._product_id)
        around = await self._read_around() if last is None or slow else last.around
        points = self._curve.points()
        self._latest = DropActivity(at, product, points, around)
        if slow:
            self._around_at = now
        if slow or last is None or (product, points) != (last.product, last.points):
            for follower in self.followers:
                follower.put(self._latest)

    async def _read_rows(self, since: datetime | None) -> datetime:
        """Add the rows since a moment to the curve, and forget those that are older than MINUTE. Returns the moment
        now. Raises Conflict, Unavailable."""
        rows = await self._regions.fetch(READ_NEW, self._product_id, since)
        now: datetime = rows[0]["now"]
        first = now - timedelta(seconds=MINUTE)
        self._curve.drop_before(first)
        self._known = {key: None for key in self._known if key[0] > first}
        for row in rows:
            key = row["at"], row["process"]
            if row["at"] is not None and key not in self._known:
                self._known[key] = None
                self._curve.add(row)
        return now

    async def _read_around(self) -> Around:
        holds = await count_holds(self._regions, self._product_id)
        return Around(holds, await list_processes(self._regions), await self._regions.health())
