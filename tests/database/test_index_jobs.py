"""Building an index by a job: whatever an earlier run or a rival left behind, and whatever becomes of the job.

The jobs of Aurora DSQL are played by hand here, on a PostgreSQL with a sys.jobs of its own: what is under test is what
follows from each state, and a state is a row there and the flag of the index in the catalogue.
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
        """Leave the index and its job as they would be found, in place of those that are there."""
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

    async def heard(self, words: str) -> None:
        """Wait until the builder has said something with these words in it."""
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


async def test_an_index_that_is_not_there_is_ordered(cluster: Cluster) -> None:
    await cluster.build()
    assert cluster.said[0] == "building the index orders_by_time"
    assert await cluster.pool.fetch("SELECT FROM pg_indexes WHERE indexname = 'orders_by_time'")


async def test_an_index_that_is_valid_is_left_in_peace(cluster: Cluster) -> None:
    await cluster.leave("completed", valid=True)
    await cluster.build()
    assert cluster.said == []


@pytest.mark.parametrize("status", ["submitted", "processing", "a status that is new"])
async def test_an_index_that_an_earlier_run_ordered_is_waited_for(cluster: Cluster, status: str) -> None:
    await cluster.leave(status)
    building = asyncio.create_task(cluster.build(replace(BUDGET, doubt=0.0)))
    await cluster.heard("waiting for the index orders_by_time since 0 s")
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


async def test_a_job_at_work_counts_for_more_than_one_that_failed_whatever_their_times(cluster: Cluster) -> None:
    await cluster.leave("processing")
    await cluster.pool.execute("INSERT INTO sys.jobs SELECT 'old', 'failed', 'x', job_type, object_name FROM sys.jobs")
    building = asyncio.create_task(cluster.build())
    await cluster.heard("(job job1 processing)")
    await cluster.leave("completed", valid=True)
    await building
    assert not any("dropping" in line for line in cluster.said)


@pytest.mark.parametrize("status", ["", "completed"])
async def test_an_index_that_nobody_is_known_to_build_is_given_some_time_and_then_built_again(
    cluster: Cluster, status: str
) -> None:
    await cluster.leave(status)
    in_doubt = asyncio.create_task(cluster.build())
    await cluster.heard("waiting")
    await cluster.leave(status, valid=True)
    await in_doubt
    assert not any("dropping" in line for line in cluster.said)

    await cluster.leave(status)
    await cluster.build(replace(BUDGET, doubt=0.0))
    assert any("dropping it to build it again" in line for line in cluster.said)


async def test_an_index_that_fails_every_time_is_given_up_with_the_reason(cluster: Cluster) -> None:
    await cluster.leave("failed", "found duplicate key")
    # Every index that is made from here on is found as if its job had failed, too.
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
