"""Building an index by a job, from any state that an earlier run or another process left, to any end of the job.

There is no cluster here, only a PostgreSQL with a table sys.jobs. A test writes a state into it: the row of a job, and
the flag of the index in the catalogue. It then checks what build_index does.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from api.database.endpoint import Endpoint
from api.database.index_jobs import IndexBudget, IndexNotBuilt, build_index
from api.database.pool import Pool
from tests.patience import PATIENCE, PATIENT_TIMES, short, until

ORDER = "CREATE INDEX IF NOT EXISTS orders_by_time ON orders (created_at, id)"
BUDGET = IndexBudget(doubt=3600.0, report=0.0)


@dataclass
class Cluster:
    """One database, and the jobs that an Aurora DSQL cluster would show for it."""

    pool: Pool
    said: list[str] = field(default_factory=list)

    async def leave(self, status: str, details: str | None = None, *, valid: bool = False) -> None:
        """Put the index and its job into a state, in the place of the current one."""
        await self.pool.execute("CREATE INDEX IF NOT EXISTS orders_by_time ON orders (created_at, id)")
        await self.pool.execute(
            "UPDATE pg_index SET indisvalid = $1 WHERE indexrelid = 'orders_by_time'::regclass", valid
        )
        await self.pool.execute("DELETE FROM sys.jobs")
        if status:
            await self.pool.execute(
                "INSERT INTO sys.jobs VALUES ($1, $2, $3, 'INDEX_BUILD', 'public.orders_by_time')",
                "job1",
                status,
                details,
            )

    async def build(self, budget: IndexBudget = BUDGET) -> None:
        async with asyncio.timeout(PATIENCE):
            await build_index(self.pool, "orders_by_time", ORDER, budget, self.said.append)

    async def reported(self, words: str) -> None:
        """Wait until build_index has reported a line with these words."""
        await until(lambda: any(words in line for line in self.said))


@pytest.fixture
async def cluster(empty_database_url: str) -> AsyncIterator[Cluster]:
    async with Pool(Endpoint("here", empty_database_url), size=2, times=PATIENT_TIMES.pool) as pool:
        await pool.execute("CREATE TABLE orders (id uuid PRIMARY KEY, created_at timestamptz)")
        await pool.execute("CREATE SCHEMA sys")
        await pool.execute(
            "CREATE TABLE sys.jobs (job_id text, status text, details text, job_type text, object_name text, "
            "start_time timestamptz DEFAULT now())"
        )
        yield Cluster(pool)


async def test_a_missing_index_is_ordered(cluster: Cluster) -> None:
    await cluster.build()
    assert cluster.said[0] == "building the index orders_by_time"
    assert await cluster.pool.fetch("SELECT FROM pg_indexes WHERE indexname = 'orders_by_time'")


async def test_a_valid_index_is_left_as_it_is(cluster: Cluster) -> None:
    await cluster.leave("completed", valid=True)
    await cluster.build()
    assert cluster.said == []


@pytest.mark.parametrize("status", ["submitted", "processing", "a status that is new"])
async def test_an_index_that_an_earlier_run_ordered_is_waited_for(cluster: Cluster, status: str) -> None:
    await cluster.leave(status)
    building = asyncio.create_task(cluster.build(replace(BUDGET, doubt=0.0)))
    await cluster.reported("waiting for the index orders_by_time since 0 s")
    assert f"(job job1 {status})" in cluster.said[0]
    await cluster.leave("completed", valid=True)
    await building
    assert not any("dropping" in line for line in cluster.said)


@pytest.mark.parametrize("left", [("failed", "found duplicate key"), ("completed", "out of luck"), ("cancelled", "")])
async def test_an_index_whose_job_failed_is_dropped_and_built_again(cluster: Cluster, left: tuple[str, str]) -> None:
    await cluster.leave(*left)
    await cluster.build()
    story = [line for line in cluster.said if "waiting" not in line]
    reason = ": ".join(filter(None, left))
    assert story == [
        f"the index orders_by_time is not valid (job job1 {reason}); dropping it to build it again",
        "building the index orders_by_time",
    ]


async def test_a_job_at_work_comes_before_a_failed_one_whatever_their_times(cluster: Cluster) -> None:
    await cluster.leave("processing")
    await cluster.pool.execute("INSERT INTO sys.jobs SELECT 'old', 'failed', 'x', job_type, object_name FROM sys.jobs")
    building = asyncio.create_task(cluster.build())
    await cluster.reported("(job job1 processing)")
    await cluster.leave("completed", valid=True)
    await building
    assert not any("dropping" in line for line in cluster.said)


@pytest.mark.parametrize("status", ["", "completed"])
async def test_an_index_without_a_known_job_is_built_again_after_some_time(cluster: Cluster, status: str) -> None:
    await cluster.leave(status)
    in_doubt = asyncio.create_task(cluster.build())
    await cluster.reported("waiting")
    await cluster.leave(status, valid=True)
    await in_doubt
    assert not any("dropping" in line for line in cluster.said)

    await cluster.leave(status)
    await cluster.build(replace(BUDGET, doubt=0.0))
    assert any("dropping it to build it again" in line for line in cluster.said)


async def test_an_index_that_fails_every_time_ends_the_run_with_the_reason(cluster: Cluster) -> None:
    await cluster.leave("failed", "found duplicate key")
    # Every index that is made from here on is not valid, as if its job had failed.
    await cluster.pool.execute(
        "CREATE FUNCTION spoil() RETURNS event_trigger LANGUAGE plpgsql AS "
        "$$ BEGIN UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'orders_by_time'::regclass; END $$"
    )
    await cluster.pool.execute(
        "CREATE EVENT TRIGGER spoiler ON ddl_command_end WHEN TAG IN ('CREATE INDEX') EXECUTE FUNCTION spoil()"
    )
    with pytest.raises(
        IndexNotBuilt,
        match=r"the index orders_by_time was built 3 times and is not valid \(job job1 failed: found duplicate key\); "
        "remove the cause, then run dropzero migrate again, which drops the index and builds it anew",
    ):
        await cluster.build()


async def test_the_wait_for_an_index_ends_with_what_to_do(cluster: Cluster) -> None:
    await cluster.leave("processing")
    with pytest.raises(
        IndexNotBuilt,
        match=r"is not valid after \d+ s \(job job1 processing\); run dropzero migrate again, which goes on",
    ):
        await cluster.build(replace(BUDGET, seconds=short(0.2)))
