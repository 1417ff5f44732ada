"""The recorder: writes what this process has done in each interval, and what it is doing, for all processes to see."""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from math import inf

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import DatabaseError
from api.database.pool import Transaction
from api.drops.activity import NewRow, take_rows, write_rows
from api.drops.history import INTERVAL
from api.drops.processes import OwnProcess
from api.drops.tally import Tally

logger = logging.getLogger("dropzero.activity")


@dataclass(frozen=True, slots=True)
class RecorderTimes:
    """When a process writes, in seconds. `interval`: from one look at the tallies to the next. `description`: from one
    description of the process to the next, about. `timeout`: for one transaction. `backoff` is added to the interval
    while the database is away."""

    interval: float = INTERVAL
    description: float = 5.0
    timeout: float = 5.0
    backoff: Backoff = field(default=Backoff(base=1.0, cap=30.0))


class Recorder:
    """Writes rows of activity and the row of this process, from `start` to `close`.

    Rows that could not be written stay as they are, and are written again. What is counted meanwhile stays in the
    tallies, which are bounded, and becomes one row for each product later. So nothing is lost or counted twice while
    the database is away, however long that is.
    """

    def __init__(
        self,
        database: Database,
        tallies: Callable[[], Iterable[Tally]],
        process: OwnProcess,
        times: RecorderTimes = RecorderTimes(),
    ) -> None:
        self._database = database
        self._tallies = tallies
        self._process = process
        self._times = times
        self._rows: list[NewRow] = []
        """Rows that are being written."""
        self._taken_at = 0.0
        """When they were taken from the tallies."""
        self._described_at = -inf
        """When this process was described last; -inf before the first time, and when its row is deleted."""
        self._written_at: datetime | None = None
        """The moment of the last transaction, by the database's clock."""
        self._phase = random.uniform(0.25, 0.75)  # noqa: S311
        """The part of each interval of the database's clock after which this process writes."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._taken_at = asyncio.get_running_loop().time()
        self._task = asyncio.create_task(self._run(), name="recorder")

    async def close(self, grace: float) -> None:
        """Stop. What was counted is written before, and the row of this process deleted, if that takes no longer than
        `grace` seconds."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        with suppress(DatabaseError, TimeoutError):  # a row of this process that is left is deleted by another one
            async with asyncio.timeout(grace):
                await self._write_last()

    async def write(self) -> bool:
        """Write what was counted since the last call, and the description of this process when it is time. Returns
        whether more is to be written at once. Raises Conflict, Unavailable, OutcomeUnknown."""
        again = bool(self._rows)
        self._take()
        now = asyncio.get_running_loop().time()
        next_at = self._described_at + self._times.description - self._times.interval / 2
        if self._rows or now > next_at:
            description = await self._process.describe()
            async with self._writing() as transaction:
                self._written_at = await self._process.write(transaction, description)
            self._described_at = now
        return again

    async def _write_last(self) -> None:
        for _ in range(2):  # rows that could not be written before, and then what was counted since
            self._take()
            if self._rows or self._described_at > -inf:
                async with self._writing() as transaction:
                    await self._process.delete(transaction)
                self._described_at = -inf

    @asynccontextmanager
    async def _writing(self) -> AsyncIterator[Transaction]:
        """A transaction that writes the rows, and what the block writes."""
        async with self._database.begin(self._times.timeout) as transaction:
            if self._rows:
                await write_rows(transaction, self._process.id, self._rows)
            yield transaction
            await transaction.commit()
        self._rows = []

    def _take(self) -> None:
        """Take rows from the tallies, unless rows wait to be written again."""
        if not self._rows:
            now = asyncio.get_running_loop().time()
            self._rows = take_rows(self._tallies(), now - self._taken_at)
            self._taken_at = now

    async def _run(self) -> None:
        failures, pause = 0, self._times.interval * random.uniform(0.5, 1.5)  # noqa: S311
        while True:
            await asyncio.sleep(pause)
            try:
                pause = 0.0 if await self.write() else self._until_next()
            except Exception as error:
                # A defect is caught too: without this task, operators would see nothing.
                failures += 1
                if failures == 1:
                    defect = None if isinstance(error, DatabaseError) else error
                    logger.warning(
                        "what happens in drops cannot be written yet: %s; this is tried again. If it goes on, look at "
                        "/readyz; report a traceback",
                        error,
                        exc_info=defect,
                    )
                pause = self._times.interval + self._times.backoff.delay(failures)
            else:
                if failures:
                    logger.info("what happens in drops is written again, after %d failures", failures)
                failures = 0

    def _until_next(self) -> float:
        """Seconds until the next look. Each process writes at its own phase of the intervals of the database's clock:
        so no interval has two rows of one process or none, and processes do not write in step."""
        interval = self._times.interval
        if self._written_at is None:
            return interval
        late = self._written_at.timestamp() / interval % 1 - self._phase
        self._written_at = None
        return interval * (1 - late)
