"""Retention: events that every reader had time to read are deleted, the oldest first and a few at a time."""

import asyncio
import logging
import random
from dataclasses import dataclass, field
from datetime import timedelta

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import Conflict, DatabaseError

logger = logging.getLogger("dropzero.events")

KEPT_FOR = timedelta(days=7)
"""Events are kept for so long: longer than they are sent again, see parcels.GIVE_UP, with a weekend to spare."""

STEP = 1000
"""Events that one transaction deletes at most. Aurora DSQL allows 3,000 changed rows."""

# The newest event always stays, since the next one is numbered after it. Events that wait for the receiver stay, and
# all that are newer, so that the positions which are kept have no gap: so a cursor can be recognised as too old.
_READ_OLD = f"""
SELECT position, occurred_at < now() - $1::interval AS is_old FROM events
WHERE position < least(
    (SELECT max(position) FROM events),
    CASE WHEN $2 THEN (SELECT min(first) FROM parcels WHERE first > 0) END,
    CASE WHEN $2 THEN coalesce((SELECT last + 1 FROM parcels WHERE first = 0), 0) END
)
ORDER BY position LIMIT {STEP}
"""
_DELETE_OLD = "DELETE FROM events WHERE position BETWEEN $1 AND $2"


@dataclass(frozen=True, slots=True)
class RetentionTimes:
    """`interval`: seconds between two looks, jittered by a half. `backoff` is added while the database is away."""

    interval: float = 300.0
    backoff: Backoff = field(default=Backoff(base=5.0, cap=300.0))


class Retention:
    """Deletes old events, from `start` to `close`."""

    def __init__(self, database: Database, sends: bool, times: RetentionTimes = RetentionTimes()) -> None:
        """`sends`: whether events are sent to a webhook. Those that wait for it are not deleted, then."""
        self._database = database
        self._sends = sends
        self._times = times
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="retention")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def delete_old(self, kept_for: timedelta = KEPT_FOR) -> int:
        """Delete up to STEP events that are older than `kept_for`, and return how many. Raises Conflict when another
        process was first, Unavailable, OutcomeUnknown, which does no harm."""
        async with self._database.begin() as transaction:
            rows = await transaction.fetch(_READ_OLD, kept_for, self._sends)
            young = next((number for number, row in enumerate(rows) if not row["is_old"]), len(rows))
            if young:
                await transaction.execute(_DELETE_OLD, rows[0]["position"], rows[young - 1]["position"])
                await transaction.commit()
        return young

    async def _run(self) -> None:
        failures = 0
        while True:
            pause = self._times.interval * random.uniform(0.5, 1.5)  # noqa: S311
            try:
                if await self.delete_old() == STEP:
                    pause = 1.0
            except Conflict:
                pass
            except Exception as error:
                failures += 1
                if failures == 1:
                    defect = None if isinstance(error, DatabaseError) else error
                    logger.warning(
                        "old events cannot be deleted yet: %s; this is tried again. If it goes on, look at /readyz; "
                        "report a traceback",
                        error,
                        exc_info=defect,
                    )
                pause += self._times.backoff.delay(failures)
            else:
                failures = 0
            await asyncio.sleep(pause)
