"""Retention: what was kept long enough is deleted, the oldest first and a few rows at a time."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from api.database.backoff import Backoff
from api.database.errors import Conflict, DatabaseError


@dataclass(frozen=True, slots=True)
class RetentionTimes:
    """`interval`: seconds between two looks, jittered by a half; the first look comes sooner. `backoff` is added while
    the database is away."""

    interval: float = 300.0
    backoff: Backoff = field(default=Backoff(base=5.0, cap=300.0))


class Retention:
    """Deletes old rows, from `start` to `close`."""

    def __init__(
        self, what: str, delete: Callable[[], Awaitable[bool]], times: RetentionTimes = RetentionTimes()
    ) -> None:
        """`what` is deleted, for the log. `delete` deletes some of the old rows, and returns whether there may be more.
        It raises Conflict when another process was first."""
        self._what = what
        self._delete = delete
        self._times = times
        self._logger = logging.getLogger(f"dropzero.{what}")
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="retention")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        failures = 0
        pause = self._times.interval * random.uniform(0.05, 0.1)  # noqa: S311  # a server that starts has other work
        while True:
            await asyncio.sleep(pause)
            pause = self._times.interval * random.uniform(0.5, 1.5)  # noqa: S311
            try:
                if await self._delete():
                    pause = 1.0
            except Conflict:
                pass
            except Exception as error:
                failures += 1
                if failures == 1:
                    defect = None if isinstance(error, DatabaseError) else error
                    self._logger.warning(
                        "old %s cannot be deleted yet: %s; this is tried again. If it goes on, look at /readyz; report "
                        "a traceback",
                        self._what,
                        error,
                        exc_info=defect,
                    )
                pause += self._times.backoff.delay(failures)
            else:
                failures = 0
