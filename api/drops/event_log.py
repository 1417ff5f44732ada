"""The log of events: reading the events of orders by position, and following them as they come."""

import asyncio
import base64
import binascii
import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import DatabaseError
from api.database.pool import Record
from api.drops.errors import InvalidInput
from api.drops.events import Event, EventType
from api.drops.keyset import Page, Paging, Stretch, union

logger = logging.getLogger("dropzero.events")

BUFFER = 2000
"""Events that wait for one follower at most: one megabyte. Past it the follower has fallen behind."""

PAGE = 500
"""Events of one reading for followers: 5 ms of the event loop."""

MAX_PAGES = 4
"""Readings in a row at most. When more events have come meanwhile, all followers have fallen behind."""

_KIND = "events"

_BEYOND = 2**63 - 1
"""A position that no event will have."""

_COLUMNS = "position, id, type, occurred_at, product_id, order_id, data"
_BOUNDS = "(SELECT min(position) FROM events) AS oldest, (SELECT max(position) FROM events) AS newest"
_READ_NEWEST = "SELECT coalesce(max(position), 0) AS newest FROM events"


@dataclass(frozen=True, slots=True)
class FollowTimes:
    """When the log is read for followers, in seconds. `interval`: between two readings, jittered by a tenth. `backoff`
    is added to it while the database is away."""

    interval: float = 0.25
    backoff: Backoff = field(default=Backoff(base=0.25, cap=5.0))


def encode_position(position: int) -> str:
    """The cursor of an event: an opaque string for clients."""
    return base64.urlsafe_b64encode(f"{_KIND}:{position}".encode()).decode()


def decode_position(text: str, name: str = "after") -> int:
    """Raises InvalidInput for a text that is no cursor of an event. `name`: of the argument."""
    try:
        kind, position = base64.b64decode(text, altchars=b"-_", validate=True).decode().split(":")
        if kind != _KIND or not 0 < int(position) < 2**63:
            raise ValueError(text)
        return int(position)
    except (ValueError, binascii.Error):
        raise InvalidInput(
            f"{name} is not a cursor of events; pass the cursor of an event, or leave it out for the "
            f"{'oldest' if name == 'after' else 'newest'} ones",
            name,
        ) from None


async def read_events(
    database: Database,
    first: int | None = None,
    after: str | None = None,
    *,
    last: int | None = None,
    before: str | None = None,
) -> Page[Event]:
    """One page of the events of orders, oldest first. An event that is committed later has a higher position, so that
    no event is ever missed by going on from the last cursor.

    Raises InvalidInput, also when events after the cursor are no longer kept, Conflict, Unavailable.
    """
    window = Paging(first, after, last, before).window(lambda name, text: decode_position(text, name))
    rows = await _read(database, window.stretches())
    oldest, newest = rows[0]["oldest"] or 1, rows[0]["newest"] or 0
    if window.after is not None and window.after + 1 < oldest:
        raise InvalidInput(
            "after is too old: events behind it are no longer kept. Read the orders once, and go on from the first "
            "event, without after",
            "after",
        )
    for name, position in (("after", window.after), ("before", window.before)):
        if position is not None and position > newest:
            raise InvalidInput(f"{name} is a cursor of another database: this one has no event there", name)
    events = [event_of(row) for row in rows if row["position"] is not None]
    return window.page(events, lambda event: event.position, descending=False)


async def _read(database: Database, stretches: Sequence[Stretch[int]]) -> list[Record]:
    """The events of the stretches by their positions, each with the oldest and the newest position of all events. One
    row with nothing but these if there are no events. Raises Conflict, Unavailable."""
    places: list[int] = []
    page = f"({union([_select_events(stretch, places) for stretch in stretches])}) AS page"
    statement = f"SELECT bounds.*, page.* FROM (SELECT {_BOUNDS}) AS bounds LEFT JOIN {page} ON true ORDER BY position"
    return await database.fetch(statement, *places)


def _select_events(stretch: Stretch[int], places: list[int]) -> str:
    """The statement for the events of a stretch. Appends its arguments to `places`."""
    equal, order = "=" if stretch.inclusive else "", "DESC" if stretch.backward else "ASC"
    places += [stretch.after or 0, _BEYOND if stretch.before is None else stretch.before]
    between = f"position >{equal} ${len(places) - 1} AND position <{equal} ${len(places)}"
    in_order = f"position {order}"
    return (
        f"SELECT {_COLUMNS} FROM events WHERE {between} AND order_id IS NOT NULL "
        f"ORDER BY {in_order} LIMIT {stretch.limit}"
    )


def event_of(row: Record) -> Event:
    """An event from a row of the table."""
    return Event(
        row["position"],
        row["id"],
        EventType(row["type"]),
        row["occurred_at"],
        row["product_id"],
        row["order_id"],
        row["data"],
    )


class FellBehind(Exception):
    """A follower has taken events too slowly. read_events has those that it has not taken."""


class Follower:
    """The events that wait for one subscriber, who follows all products or one."""

    def __init__(self, product_id: UUID | None) -> None:
        self._product_id = product_id
        self._events: deque[Event] = deque()
        self._filled = asyncio.Event()
        self._behind = False

    def put(self, event: Event) -> None:
        if self._product_id not in (None, event.product_id) or self._behind:
            return
        if len(self._events) == BUFFER:
            self.fall_behind()
        else:
            self._events.append(event)
            self._filled.set()

    def fall_behind(self) -> None:
        """End after the events that wait: others were not put here."""
        self._behind = True
        self._filled.set()

    async def take(self) -> Event:
        """Wait for the next event. Raises FellBehind when events are missing between the last one and the next."""
        while not self._events:
            if self._behind:
                raise FellBehind("events came faster than they were taken")
            self._filled.clear()
            await self._filled.wait()
        return self._events.popleft()


class EventLog:
    """Reads new events of orders once per interval for all followers, and nothing while nobody follows."""

    def __init__(self, database: Database, times: FollowTimes = FollowTimes()) -> None:
        self._database = database
        self._times = times
        self._followers: set[Follower] = set()
        self._woken = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None

    @property
    def followers(self) -> int:
        """Subscribers now."""
        return len(self._followers)

    @asynccontextmanager
    async def follow(self, product_id: UUID | None = None) -> AsyncIterator[Follower]:
        """A follower of the events of orders from now on, of one product or of all. Raises Conflict or Unavailable when
        the first reading fails, but not for a later one."""
        newest = (await self._database.fetch(_READ_NEWEST))[0]["newest"]
        follower = Follower(product_id)
        self._followers.add(follower)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_on(newest), name="event log")
        try:
            yield follower
        finally:
            self._followers.remove(follower)
            if not self._followers and self._reading is not None:
                self._reading.cancel()
                self._reading = None

    def wake(self) -> None:
        """Read soon: this process has just moved events."""
        self._woken.set()

    async def close(self) -> None:
        """End the readings. Followers get no more events; their tasks have to be cancelled by their owners."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read_on(self, position: int) -> None:
        """Send the events after a position to the followers. The last follower to leave cancels this task."""
        failures = 0
        while True:
            try:
                position = await self._read_after(position)
            except Exception as error:
                # A defect is caught too: without readings the followers would wait for ever.
                failures += 1
                if failures == 1:
                    defect = None if isinstance(error, DatabaseError) else error
                    logger.warning(
                        "new events cannot be read, followers wait: %s; this is tried again. If it goes on, look at "
                        "/readyz; report a traceback",
                        error,
                        exc_info=defect,
                    )
            else:
                if failures:
                    logger.info("new events can be read again, after %d failed readings", failures)
                failures = 0
            await self._pause(failures)

    async def _pause(self, failures: int) -> None:
        """Wait for the next reading: for an interval, and not as long after events that this process has moved."""
        interval = self._times.interval * random.uniform(0.9, 1.1)  # noqa: S311
        if failures:
            await asyncio.sleep(interval + self._times.backoff.delay(failures))
            return
        try:
            async with asyncio.timeout(interval):
                await self._woken.wait()
        except TimeoutError:
            return
        await asyncio.sleep(interval / 4)  # a busy relay moves events more often than followers need
        self._woken.clear()

    async def _read_after(self, position: int) -> int:
        """Send the events after a position, and return the position to go on from. Raises Conflict, Unavailable."""
        newest: int = position
        for _ in range(MAX_PAGES):
            rows = await _read(self._database, [Stretch(PAGE, after=position)])
            newest = max(rows[0]["newest"] or 0, position)
            events = [event_of(row) for row in rows if row["position"] is not None]
            for event in events:
                for follower in self._followers:
                    follower.put(event)
            if len(events) < PAGE:
                return newest
            position = events[-1].position
        if newest - position > MAX_PAGES * PAGE:
            for follower in self._followers:
                follower.fall_behind()
            return newest
        return position
