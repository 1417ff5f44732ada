"""Indexes on Aurora DSQL: CREATE INDEX ASYNC only orders an index, and a job builds it, which takes time and can fail.

Every step follows from what the catalogue and sys.jobs show at that moment, not from what this process did before. So
it does not matter which process ordered an index, nor whether that process ended or got no answer to its order.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum, auto

import asyncpg

from api.database.backoff import Backoff
from api.database.errors import DatabaseError
from api.database.pool import Pool

DDL_TIMEOUT = 60.0
"""Seconds for a DDL statement, which changes the catalogue and touches no row."""

# If another process runs the same statement at the same moment, ours fails with a duplicate table or object; a
# duplicate row in the catalogue is a Conflict anyway. A retry of the statement finds that the work is done.
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
_READ_FAILED = """
SELECT object_name AS name, status, details FROM sys.jobs
WHERE job_type = 'INDEX_BUILD' AND (status = 'failed' OR details IS NOT NULL) ORDER BY start_time
"""

# With any other status, such as submitted or processing, the job has not ended.
_ENDED = frozenset({"completed", "failed", "cancelled", "canceled"})


class IndexNotBuilt(Exception):
    """An index could not be built, or not in time; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class IndexBudget:
    """What one index may cost.

    `rebuilds`: how often it is dropped and ordered again after it failed.
    `faults`: errors of the database in a row.
    `seconds`: in all.
    `doubt`: seconds before an index that is not valid is dropped, when no job is known to build it or to have failed.
    `report`: seconds from one line about the progress to the next.
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
        """Whether the job failed. Its status can be completed while its details hold an error."""
        return not self.at_work and (self.status != "completed" or self.details != "")

    def __str__(self) -> str:
        return f"job {self.id} {self.status}{': ' if self.details else ''}{self.details}"


class _Step(Enum):
    """What to do next for an index."""

    RETURN = auto()
    ORDER = auto()
    WAIT_FOR_JOB = auto()
    WAIT_IN_DOUBT = auto()
    REBUILD = auto()


def _next_step(job: _Job | None, valid: bool | None, *, doubted: bool) -> _Step:
    """What follows from the index's job and from `valid`; see _read_job and _read_valid. `doubted`: no job has been at
    work for longer than the budget's `doubt`."""
    if valid:
        return _Step.RETURN
    if valid is None:
        return _Step.ORDER
    if job is not None and job.at_work:
        return _Step.WAIT_FOR_JOB
    if doubted or (job is not None and job.failed):
        return _Step.REBUILD
    return _Step.WAIT_IN_DOUBT


async def build_index(pool: Pool, name: str, statement: str, budget: IndexBudget, say: Callable[[str], None]) -> None:
    """Have the index built by its `statement`, CREATE INDEX ASYNC IF NOT EXISTS, and return when it is valid.

    Waits for an index of an earlier run while a job builds it, and drops and orders it again if its job failed. Calls
    `say` with a line for each step. Raises IndexNotBuilt; DatabaseError when the budget of faults is spent; and
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
            raise _too_late(name, job, now - started)
        try:
            # Read the job first: if it ends between the two reads, it is seen at work, or its index is seen valid.
            job = await _read_job(pool, ordered, name)
            valid = await _read_valid(pool, name)
            match _next_step(job, valid, doubted=now - at_work > budget.doubt):
                case _Step.RETURN:
                    return
                case _Step.ORDER:
                    ordered = await _order(pool, statement)
                    at_work = time.monotonic()
                    say(f"building the index {name}{f' (job {ordered})' if ordered else ''}")
                case _Step.WAIT_FOR_JOB:
                    at_work = now
                case _Step.REBUILD:
                    if rebuilds == budget.rebuilds:
                        raise _never_valid(name, job, rebuilds + 1)
                    say(f"the index {name} is not valid ({job or 'no job'}); dropping it to build it again")
                    await pool.execute(f"DROP INDEX IF EXISTS {name}", timeout=DDL_TIMEOUT)
                    rebuilds += 1
            if now - reported >= budget.report:
                reported = now
                say(f"waiting for the index {name} since {now - started:.0f} s ({job or 'no job'})")
            faults = 0
            delay = min(max((now - started) / 10, 0.02), 2.0)
        except DatabaseError:
            # The answer to an order or to a DROP can be lost, too: the next reads show what became of it.
            faults += 1
            if faults == budget.faults:
                raise
            delay = backoff.delay(faults)
        await asyncio.sleep(delay)


def _too_late(name: str, job: _Job | None, seconds: float) -> IndexNotBuilt:
    return IndexNotBuilt(
        f"the index {name} is not valid after {seconds:.0f} s ({job or 'no job'}); run dropzero migrate again, which "
        "goes on waiting for it"
    )


def _never_valid(name: str, job: _Job | None, times: int) -> IndexNotBuilt:
    return IndexNotBuilt(
        f"the index {name} was built {times} times and is not valid ({job or 'no job'}); remove the cause, then run "
        "dropzero migrate again, which drops the index and builds it anew"
    )


async def _read_job(pool: Pool, ordered: str, name: str) -> _Job | None:
    """The job that builds the index now, or else the last one that did. `ordered` is the id of this process's own job,
    empty if it is not known."""
    rows = await pool.fetch(_READ_JOBS, ordered, name)
    jobs = [_Job(row["job_id"], row["status"], " ".join((row["details"] or "").split())) for row in rows]
    return next((job for job in jobs if job.at_work), jobs[0] if jobs else None)


async def _read_valid(pool: Pool, name: str) -> bool | None:
    """Whether the index is valid; None when there is no index."""
    row = await pool.fetchrow(_READ_VALID, name)
    return None if row is None else bool(row["indisvalid"])


async def _order(pool: Pool, statement: str) -> str:
    """Send CREATE INDEX ASYNC once and return the id of its job; an empty id if the index exists already."""
    try:
        async with pool.begin(DDL_TIMEOUT) as transaction:
            rows = await transaction.fetch(statement)
            await transaction.commit()
    except asyncpg.PostgresError as error:
        if error.sqlstate in RIVAL_SQLSTATES:
            return ""
        raise
    return str(rows[0]["job_id"]) if rows else ""


async def failed_jobs(pool: Pool, names: Iterable[str]) -> dict[str, str]:
    """Why the last job of each index failed, as far as Aurora DSQL still knows: it keeps a job for half an hour after
    its end. Raises Conflict, Unavailable."""
    wanted = set(names)
    rows = await pool.fetch(_READ_FAILED)
    failed = {row["name"].rpartition(".")[2]: " ".join((row["details"] or row["status"]).split()) for row in rows}
    return {name: reason for name, reason in failed.items() if name in wanted}
