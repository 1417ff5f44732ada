"""Parcels: ranges of events that one process at a time sends to the webhook, and what is sent again later.

The highest position that was ever put into a parcel stands in a row that always stays. Processes that take the next
range at the same time conflict on it, so that each event is in one parcel. A process that takes a parcel leases it for
a while. If the process dies, any other takes the parcel when the lease has run out. So an event is sent at least once,
and twice only when a process or its connection died, or was late by a whole lease.
"""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import Conflict
from api.database.pool import Record, Transaction
from api.database.retry import RetryBudget, run_again
from api.drops.event_log import event_of
from api.drops.events import Event

MAX_PARCEL = 100
"""Events in a new parcel. A process that dies leaves so many to be sent twice at most, for each parcel that it had."""

LEASE = timedelta(seconds=60)
"""Longer than a parcel takes, see SENDING and the longest answer of a receiver, with much to spare."""

GIVE_UP = timedelta(days=3)
"""Age of a parcel after which no event of it is sent again by itself. Standard Webhooks recommends about as long."""

BACKOFF = Backoff(base=5.0, cap=4 * 3600.0)
"""When an event is sent again: some 40 times within GIVE_UP, first after seconds, at last every two hours."""

FINISH_BUDGET = RetryBudget(attempts=20, seconds=30.0)

_LOOK = """
SELECT cursor.last AS cursor, bounds.oldest, bounds.newest, due.first, due.last, due.attempts, due.due, due.created_at,
    coalesce(waiting.events, 0)::bigint AS again, coalesce(waiting.given_up, 0)::bigint AS given_up,
    extract(epoch FROM now() - (
        SELECT occurred_at FROM events
        WHERE position >= least(waiting.first, coalesce(cursor.last, 0) + 1) ORDER BY position LIMIT 1
    ))::float8 AS oldest_age, now() AS now
FROM (SELECT (SELECT min(position) FROM events) AS oldest, (SELECT max(position) FROM events) AS newest) AS bounds
LEFT JOIN parcels AS cursor ON cursor.first = 0
LEFT JOIN (
    SELECT min(first) FILTER (WHERE due < 'infinity') AS first,
        sum(last - first + 1) FILTER (WHERE due < 'infinity') AS events,
        sum(last - first + 1) FILTER (WHERE due = 'infinity') AS given_up
    FROM parcels WHERE first > 0
) AS waiting ON true
LEFT JOIN (
    SELECT first, last, attempts, due, created_at FROM parcels WHERE first > 0 AND due <= now() ORDER BY due LIMIT 1
) AS due ON true
"""
_INSERT_CURSOR = "INSERT INTO parcels (first, last, attempts, due) VALUES (0, $1, 0, 'infinity')"
_MOVE_CURSOR = "UPDATE parcels SET last = $1 WHERE first = 0 AND last = $2 RETURNING last"
_INSERT_PARCEL = """
INSERT INTO parcels (first, last, attempts, due) VALUES ($1, $2, 0, now() + $3::interval) RETURNING due, created_at
"""
_LEASE_AGAIN = """
UPDATE parcels SET due = now() + $3::interval WHERE first = $1 AND due = $2 RETURNING due, created_at
"""
_READ_EVENTS = """
SELECT position, id, type, occurred_at, product_id, order_id, data FROM events
WHERE position BETWEEN $1 AND $2 ORDER BY position
"""
_READ_LEASE = "SELECT 1 FROM parcels WHERE first = $1 AND due = $2"
_DELETE_PARCEL = "DELETE FROM parcels WHERE first = $1"
_KEEP_PARCELS = """
INSERT INTO parcels (first, last, attempts, due, created_at)
SELECT kept.first, kept.last, kept.attempts,
    CASE WHEN kept.seconds IS NULL THEN 'infinity' ELSE now() + kept.seconds * interval '1 second' END, $1
FROM unnest($2::text[]::bigint[], $3::text[]::bigint[], $4::text[]::integer[], $5::text[]::float8[])
    AS kept (first, last, attempts, seconds)
ON CONFLICT (first) DO UPDATE SET last = excluded.last, attempts = excluded.attempts, due = excluded.due
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events that the receiver has not taken: those that are sent now or later, and those that were given up.
    `oldest_age`: seconds since the oldest of the former; 0 if there is none."""

    waiting: int = 0
    given_up: int = 0
    oldest_age: float = 0.0


@dataclass(frozen=True, slots=True)
class Parcel:
    """Events that this process may send until `leased_until`. `attempts`: how often they were sent in vain. `old`:
    whether they are given up when they fail once more."""

    first: int
    last: int
    attempts: int
    leased_until: datetime
    created_at: datetime
    old: bool
    events: Sequence[Event]


@dataclass(frozen=True, slots=True)
class Results:
    """What became of a parcel, by positions: some have `failed`, some are `unsent`, and the receiver has taken the
    others. `pause`: seconds that the receiver wants to be left alone."""

    failed: Sequence[int] = ()
    unsent: Sequence[int] = ()
    pause: float = 0.0


_Kept = tuple[int, int, int, float | None]
"""First and last position, attempts, and the seconds until the events are sent again; None for never."""


class Parcels:
    """The parcels of one database. Uses one connection at a time."""

    def __init__(self, database: Database, backoff: Backoff = BACKOFF) -> None:
        """`backoff`: when an event is sent again."""
        self._database = database
        self._backoff = backoff
        self._turn = asyncio.Lock()
        self.backlog = Backlog()
        """As `take` has found it last."""

    async def take(self, size: int) -> Parcel | None:
        """Lease a parcel: one that is due, or else the next `size` events. None if there is nothing to send. Raises
        Conflict when another process was first, Unavailable, OutcomeUnknown; after these, nobody sends a parcel that
        was leased all the same until the lease has run out."""
        async with self._turn:
            look = (await self._database.fetch(_LOOK))[0]
            claimed, newest = _claimed(look), look["newest"] or 0
            waiting = newest - claimed + look["again"]
            self.backlog = Backlog(waiting, look["given_up"], (look["oldest_age"] or 0.0) if waiting else 0.0)
            if look["first"] is None and claimed >= newest:
                return None
            async with self._database.begin() as transaction:
                if look["first"] is None:
                    parcel = await _take_next(transaction, look, min(newest, claimed + size))
                else:
                    parcel = await _take_due(transaction, look)
                await transaction.commit()
        return parcel

    async def finish(self, parcel: Parcel, results: Results) -> None:
        """Delete a parcel, and keep what was not taken for later. Does nothing if the lease has run out, and the parcel
        has been taken by another process. Raises Conflict, Unavailable, OutcomeUnknown when FINISH_BUDGET is spent."""
        kept = [*self._again(parcel, results), *((*run, parcel.attempts, 0.0) for run in _runs(results.unsent))]

        async def attempt() -> None:
            async with self._turn, self._database.begin() as transaction:
                if await transaction.fetch(_READ_LEASE, parcel.first, parcel.leased_until):
                    if parcel.first not in {first for first, *_ in kept}:
                        await transaction.execute(_DELETE_PARCEL, parcel.first)
                    if kept:
                        await _keep(transaction, parcel, kept)
                    await transaction.commit()

        await run_again(attempt, FINISH_BUDGET, safe_after_lost_commit=True)

    def _again(self, parcel: Parcel, results: Results) -> Iterable[_Kept]:
        """What has failed, as parcels of their own. What failed together in a row stays together."""
        attempts = parcel.attempts + 1
        for first, last in _runs(results.failed):
            pause = None if parcel.old else max(results.pause, self._backoff.delay(attempts))
            yield first, last, attempts, pause


def _claimed(look: Record) -> int:
    """The highest position that was put into a parcel, or was deleted before any process had a webhook."""
    deleted: int = (look["oldest"] or 1) - 1
    return max(look["cursor"] or 0, deleted)


async def _take_next(transaction: Transaction, look: Record, last: int) -> Parcel:
    first = _claimed(look) + 1
    if look["cursor"] is None:
        await transaction.execute(_INSERT_CURSOR, last)
    elif not await transaction.fetch(_MOVE_CURSOR, last, look["cursor"]):
        raise Conflict("another process has taken the next events")
    row = (await transaction.fetch(_INSERT_PARCEL, first, last, LEASE))[0]
    events = [event_of(event) for event in await transaction.fetch(_READ_EVENTS, first, last)]
    return Parcel(first, last, 0, row["due"], row["created_at"], old=False, events=events)


async def _take_due(transaction: Transaction, look: Record) -> Parcel:
    first, last, created_at = look["first"], look["last"], look["created_at"]
    rows = await transaction.fetch(_LEASE_AGAIN, first, look["due"], LEASE)
    if not rows:
        raise Conflict("another process has taken this parcel")
    events = [event_of(event) for event in await transaction.fetch(_READ_EVENTS, first, last)]
    old = look["now"] - created_at > GIVE_UP
    return Parcel(first, last, look["attempts"], rows[0]["due"], created_at, old, events)


async def _keep(transaction: Transaction, parcel: Parcel, kept: Sequence[_Kept]) -> None:
    firsts, lasts, attempts, seconds = zip(*kept, strict=True)
    await transaction.execute(
        _KEEP_PARCELS,
        parcel.created_at,
        list(map(str, firsts)),
        list(map(str, lasts)),
        list(map(str, attempts)),
        [None if pause is None else str(pause) for pause in seconds],
    )


def _runs(positions: Iterable[int]) -> Iterable[tuple[int, int]]:
    """The first and last of each row of positions without a gap."""
    run: tuple[int, int] | None = None
    for position in sorted(positions):
        if run is not None and position == run[1] + 1:
            run = run[0], position
        else:
            if run is not None:
                yield run
            run = position, position
    if run is not None:
        yield run
