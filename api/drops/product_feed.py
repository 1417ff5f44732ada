"""The product feed: what operators create and change, read once per interval for all who follow it in this process."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import DatabaseError
from api.drops.product_reads import MAX_PRODUCTS
from api.drops.products import Product, get_products

logger = logging.getLogger("dropzero.products")

BUFFER = 1_000
"""Products that wait for one follower at most. Past it the follower has fallen behind."""

PAGE = 500
"""Changes of one statement at most."""

MAX_PAGES = 20
"""Statements of one reading at most. When more has changed meanwhile, all followers have fallen behind."""

OVERLAP = 10
"""Seconds that each reading goes back behind the last one. A change is committed so much later than its moment, and the
clocks of two Regions differ by less."""

# The place before the first change is that of no product: no id is less than its own.
READ_CHANGES = f"""
SELECT clock.now, page.* FROM (SELECT now() AS now) AS clock LEFT JOIN (
    SELECT id, changed_at, coalesce(revision, 0) AS revision FROM products
    WHERE (changed_at, id) > (coalesce($1::timestamptz, now() - interval '{OVERLAP} seconds'), $2::uuid)
    ORDER BY changed_at, id LIMIT {PAGE}
) AS page ON true
ORDER BY page.changed_at, page.id
"""
_BEFORE_ALL = UUID(int=0)


class ProductsMissed(Exception):
    """A follower has taken products too slowly, and does not know of all changes. The message is for its client."""

    def __init__(self) -> None:
        super().__init__(
            "products changed faster than you read them, and this subscription has ended; subscribe again, and then "
            "read the products again"
        )


@dataclass(frozen=True, slots=True)
class ProductFeedTimes:
    """When the changes are read, in seconds. `interval`: between two readings, jittered by a tenth. `backoff` is added
    to it while the database is away."""

    interval: float = 1.0
    backoff: Backoff = field(default=Backoff(base=1.0, cap=10.0))


@dataclass(frozen=True, slots=True)
class _Changes:
    """What a reading has found: the revision of each product that has changed, and when the reading began. `complete`:
    nothing else has changed."""

    at: datetime
    revisions: Mapping[UUID, int]
    complete: bool


class Follower:
    """The products that wait for one subscriber. A later revision of a product replaces one that was not taken yet."""

    def __init__(self) -> None:
        self._products: dict[UUID, Product] = {}
        self._filled = asyncio.Event()
        self._behind = False

    def put(self, product: Product) -> None:
        if product.id not in self._products and len(self._products) >= BUFFER:
            self.fall_behind()
        elif not self._behind:
            self._products[product.id] = product
            self._filled.set()

    def fall_behind(self) -> None:
        """End after the products that wait: others were not put here."""
        self._behind = True
        self._filled.set()

    async def take(self) -> Product:
        """Wait for the next product. Raises ProductsMissed when others were dropped before it."""
        while not self._products:
            if self._behind:
                raise ProductsMissed
            self._filled.clear()
            await self._filled.wait()
        return self._products.pop(next(iter(self._products)))


class ProductFeed:
    """Reads the changes of all products once per interval, and nothing while nobody follows.

    Each change has the moment of its transaction, by the clock of the Region that it went through, and is seen once
    the transaction is committed. So each reading goes back OVERLAP seconds, and skips the revisions that it knows.
    """

    def __init__(self, database: Database, times: ProductFeedTimes = ProductFeedTimes()) -> None:
        self._database = database
        self._times = times
        self._followers: set[Follower] = set()
        self._known: dict[UUID, int] = {}
        """The latest revision that was sent, or was there before, of each product that the last reading has found."""
        self._read_at: datetime | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def followers(self) -> int:
        """Subscribers now."""
        return len(self._followers)

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[Follower]:
        """A follower of what is created and changed from now on. Raises Conflict or Unavailable when the first reading
        fails, but not for a later one."""
        if self._reading is None:
            found = await self._read_changes(None)
        follower = Follower()
        self._followers.add(follower)
        if self._reading is None:
            self._read_at, self._known = found.at, dict(found.revisions)
            self._reading = asyncio.create_task(self._read_on(), name="product feed")
        try:
            yield follower
        finally:
            self._followers.remove(follower)
            if not self._followers and self._reading is not None:
                self._reading.cancel()
                self._reading = None

    async def close(self) -> None:
        """End the readings. Followers get no more products; their tasks have to be cancelled by their owners."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read_on(self) -> None:
        """Send what has changed to the followers, again and again. The last follower to leave cancels this task."""
        failures = 0
        while True:
            pause = self._times.interval * random.uniform(0.9, 1.1)  # noqa: S311
            await asyncio.sleep(pause + (self._times.backoff.delay(failures) if failures else 0.0))
            try:
                await self._read()
            except Exception as error:
                # A defect is caught too: without readings the followers would wait for ever.
                failures += 1
                if failures == 1:
                    defect = None if isinstance(error, DatabaseError) else error
                    logger.warning(
                        "changes of products cannot be read, followers wait: %s; this is tried again. If it goes on, "
                        "look at /readyz; report a traceback",
                        error,
                        exc_info=defect,
                    )
            else:
                if failures:
                    logger.info("changes of products can be read again, after %d failed readings", failures)
                failures = 0

    async def _read(self) -> None:
        """Send the products to the followers that have changed since the last reading. Raises Conflict, Unavailable;
        what was not sent is then read again."""
        assert self._read_at is not None, "the first follower has read it"
        found = await self._read_changes(self._read_at - timedelta(seconds=OVERLAP))
        new = [each for each, revision in found.revisions.items() if revision > self._known.get(each, -1)]
        if not found.complete:
            for follower in self._followers:
                follower.fall_behind()
            new = []
        for start in range(0, len(new), MAX_PRODUCTS):
            products = await get_products(self._database, new[start : start + MAX_PRODUCTS])
            for product in products.values():
                self._known[product.id] = product.revision  # of a later change, perhaps
                for follower in self._followers:
                    follower.put(product)
        known = self._known
        self._known = {each: max(revision, known.get(each, 0)) for each, revision in found.revisions.items()}
        self._read_at = found.at

    async def _read_changes(self, since: datetime | None) -> _Changes:
        """What has changed since a moment; for None in the last OVERLAP. Raises Conflict, Unavailable."""
        revisions: dict[UUID, int] = {}
        moments: list[datetime] = []
        place: tuple[datetime | None, UUID] = (since, _BEFORE_ALL)
        while len(moments) < MAX_PAGES:
            rows = await self._database.fetch(READ_CHANGES, *place)
            moments.append(rows[0]["now"])
            page = {row["id"]: row["revision"] for row in rows if row["id"] is not None}
            revisions |= page
            if len(page) < PAGE:
                return _Changes(moments[0], revisions, complete=True)
            place = rows[-1]["changed_at"], rows[-1]["id"]
        return _Changes(moments[-1], revisions, complete=False)
