"""Indexes on Aurora DSQL: CREATE INDEX ASYNC only orders one, and a job builds it, which takes its time and can fail.

Every step follows from what the catalogue and sys.jobs show at that moment, not from what this process did before. So
it does not matter who ordered an index, nor whether the answer to that, or the process itself, was lost meanwhile.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import asyncpg

from api.database.backoff import Backoff
from api.database.errors import DatabaseError
from api.database.pool import Pool

DDL_TIMEOUT = 60.0
"""Seconds for a DDL statement, which changes the catalogue and touches no row."""

# A rival that runs the same statement at the same moment shows itself as a duplicate: of a table or of an object, and
# of a row in the catalogue, which is a Conflict anyway. Running the statement again then finds its work done.
RIVAL_SQLSTATES = frozenset({"42P07", "42710"})

_READ_JOBS = """
SELECT job_id, status, details FROM sys.jobs
WHERE job_id = $1 OR job_type = 'INDEX_BUILD' AND object_name IN ($2, current_schema() || '.' || $2)
ORDER BY job_id = $1 DESC, start_time DESC
"""
_READ_VALID = """
SELECT i.indisvalid FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relname = $1
"""

# Whatever else a status says, such as submitted or processing, the job is not over.
_ENDED = frozenset({"completed", "failed", "cancelled", "canceled"})


class IndexNotBuilt(Exception):
    """An index could not be built, or not in time; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class IndexBudget:
    """What one index may cost: how often one that failed is dropped and ordered again, faults of the database in a
    row, and seconds in all.

    `doubt` is how many seconds an index that is not valid, while no job is known to build it or to have failed, is
    still left in peace. `report` is the time from one line about the progress to the next.
    """

    rebuilds: int = 2
    faults: int = 40
    seconds: float = 2 * 3600.0
    doubt: float = 10.0
    report: float = 10.0


INDEX_BUDGET = IndexBudget()


@dataclass(frozen=True, slots=True)
class _Job:
    """One row of sys.jobs, which keeps a job for half an hour after its end."""

    id: str
    status: str
    details: str

    @property
    def at_work(self) -> bool:
        return self.status not in _ENDED

    @property
    def failed(self) -> bool:
        """A job can say completed and carry an error in its details."""
        return not self.at_work and (self.status != "completed" or self.details != "")

    def __str__(self) -> str:
        return f"job {self.id} {self.status}{': ' if self.details else ''}{self.details}"


async def build_index(pool: Pool, name: str, statement: str, budget: IndexBudget, say: Callable[[str], None]) -> None:
    """Have the index built by its `statement`, CREATE INDEX ASYNC IF NOT EXISTS, and return when it is valid.

    An index that an earlier run left is waited for while a job builds it, and dropped and ordered again when that
    failed. `say` hears of each step. Raises IndexNotBuilt; DatabaseError with the budget of faults spent; and
    PostgresError for a statement that the database refuses.
    """
    backoff = Backoff(base=0.02, cap=1.0)
    started = reported = at_work = time.monotonic()
    job: _Job | None = None
    ordered = ""
    rebuilds = faults = 0
    while True:
        now = time.monotonic()
        if now - started > budget.seconds:
            raise IndexNotBuilt(
                f"the index {name} is not valid after {now - started:.0f} s ({job or 'no job'}); run dropzero migrate "
                "again, which goes on waiting for it"
            )
        try:
            # The job first: one that ends between the two readings is then seen at work, or with its index valid.
            job = await _read_job(pool, ordered, name)
            valid = await _read_valid(pool, name)
            if valid:
                return
            if valid is None:
                ordered = await _order(pool, statement)
                at_work = time.monotonic()
                say(f"building the index {name}{ordered and f' (job {ordered})'}")
            elif job is not None and job.at_work:
                at_work = now
            elif (job is not None and job.failed) or now - at_work > budget.doubt:
                if rebuilds == budget.rebuilds:
                    raise IndexNotBuilt(
                        f"the index {name} was built {rebuilds + 1} times and is not valid ({job or 'no job'}); remove "
                        "the cause, then run dropzero migrate again, which drops the index and builds it anew"
                    )
                say(f"the index {name} is not valid ({job or 'no job'}); dropping it to build it again")
                await pool.execute(f"DROP INDEX IF EXISTS {name}", timeout=DDL_TIMEOUT)
                rebuilds += 1
            if now - reported >= budget.report:
                reported = now
                say(f"waiting for the index {name} since {now - started:.0f} s ({job or 'no job'})")
            faults = 0
            delay = min(max((now - started) / 10, 0.02), 2.0)
        except DatabaseError:
            # An order or a DROP whose answer was lost, too: the next look shows what became of it.
            faults += 1
            if faults == budget.faults:
                raise
            delay = backoff.delay(faults)
        await asyncio.sleep(delay)


async def _read_job(pool: Pool, ordered: str, name: str) -> _Job | None:
    """The job that builds the index now, or else the last that did. `ordered` is the id of ours, if we know it."""
    rows = await pool.fetch(_READ_JOBS, ordered, name)
    jobs = [_Job(row["job_id"], row["status"], " ".join((row["details"] or "").split())) for row in rows]
    return next((job for job in jobs if job.at_work), jobs[0] if jobs else None)


async def _read_valid(pool: Pool, name: str) -> bool | None:
    """Whether the index is valid; None when there is none."""
    row = await pool.fetchrow(_READ_VALID, name)
    return None if row is None else bool(row["indisvalid"])


async def _order(pool: Pool, statement: str) -> str:
    """Send CREATE INDEX ASYNC once and return the id of its job; an index that is there already answers none."""
    try:
        async with pool.begin(DDL_TIMEOUT) as transaction:
            rows = await transaction.fetch(statement)
            await transaction.commit()
    except asyncpg.PostgresError as error:
        if error.sqlstate in RIVAL_SQLSTATES:
            return ""
        raise
    return str(rows[0]["job_id"]) if rows else ""
