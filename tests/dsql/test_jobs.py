"""Indexes that a job of the stand-in builds after the answer to CREATE INDEX ASYNC."""

import asyncio

import asyncpg
import pytest

from tests.dsql.certificates import Authority
from tests.dsql.cluster import Cluster
from tests.dsql.conftest import Connect, Connection
from tests.dsql.stand_in import StandIn
from tests.regions import HOME

CREATE = "CREATE INDEX ASYNC idx ON t (value)"
CREATE_UNIQUE = "CREATE UNIQUE INDEX ASYNC IF NOT EXISTS idx ON t (value)"

pytestmark = pytest.mark.usefixtures("table")


async def is_valid(connection: Connection) -> bool:
    valid: bool = await connection.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'idx'::regclass")
    return valid


async def job(connection: Connection, job_id: str) -> tuple[str, str | None]:
    row = await connection.fetchrow("SELECT status, details FROM sys.jobs WHERE job_id = $1", job_id)
    assert row is not None
    return row["status"], row["details"]


async def test_an_index_is_valid_when_its_job_has_run(cluster: Cluster, home: StandIn, connect: Connect) -> None:
    cluster.catalogue.run_jobs.clear()
    async with connect(home) as connection:
        job_id = await connection.fetchval(CREATE)
        assert not await is_valid(connection)
        assert await job(connection, job_id) == ("submitted", None)

        cluster.catalogue.run_jobs.set()
        assert await connection.fetchval(f"CALL sys.wait_for_job('{job_id}')") is True
        assert await is_valid(connection)
        assert await job(connection, job_id) == ("completed", None)


async def test_wait_for_job_waits_until_the_job_has_run(
    cluster: Cluster, home: StandIn, peer: StandIn, connect: Connect
) -> None:
    cluster.catalogue.run_jobs.clear()
    async with connect(home) as connection, connect(peer) as other:
        job_id = await connection.fetchval(CREATE)
        waiting = asyncio.create_task(other.fetchval("CALL sys.wait_for_job($1)", job_id))
        assert await job(connection, job_id) == ("submitted", None)
        assert not waiting.done()

        cluster.catalogue.run_jobs.set()
        assert await waiting is True
        assert await is_valid(other)


async def test_an_index_of_rows_that_are_not_unique_fails_and_stays_invalid(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        job_id = await connection.fetchval(CREATE_UNIQUE)
        assert await connection.fetchval("CALL sys.wait_for_job($1)", job_id) is False
        status, details = await job(connection, job_id)

        assert status == "failed"
        assert "could not create unique index" in str(details)
        assert not await is_valid(connection)
        with pytest.raises(asyncpg.UniqueViolationError):  # new rows must be unique all the same
            await connection.execute("INSERT INTO t VALUES (3, 0)")


async def test_a_unique_index_is_unique(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        await connection.execute("UPDATE t SET value = id")
        job_id = await connection.fetchval(CREATE_UNIQUE)
        assert await connection.fetchval("CALL sys.wait_for_job($1)", job_id) is True
        assert await is_valid(connection)
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("INSERT INTO t VALUES (3, 2)")


async def test_a_completed_job_can_have_an_error_in_its_details(
    cluster: Cluster, home: StandIn, connect: Connect
) -> None:
    cluster.catalogue.failing_jobs = 1
    cluster.catalogue.failed_status = "completed"
    async with connect(home) as connection:
        job_id = await connection.fetchval(CREATE)
        assert await connection.fetchval("CALL sys.wait_for_job($1)", job_id) is True
        assert await job(connection, job_id) == ("completed", "the job was told to fail")
        assert not await is_valid(connection)


async def test_an_existing_index_is_not_made_again_and_has_no_job(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        notices: list[str] = []
        connection.add_log_listener(lambda _, message: notices.append(str(message)))
        await connection.execute("CALL sys.wait_for_job('" + await connection.fetchval(CREATE) + "')")
        again = await connection.prepare("CREATE INDEX ASYNC IF NOT EXISTS idx ON t (id)")
        assert await again.fetch() == []
        assert again.get_statusmsg() == "CREATE INDEX"
        assert notices == ['relation "idx" already exists, skipping']
        with pytest.raises(asyncpg.DuplicateTableError):
            await connection.execute(CREATE)


async def test_every_open_session_gets_a_conflict_when_an_index_becomes_valid(
    cluster: Cluster, home: StandIn, connect: Connect
) -> None:
    cluster.catalogue.run_jobs.clear()
    async with connect(home) as connection, connect(home) as reader:
        job_id = await connection.fetchval(CREATE)
        with pytest.raises(asyncpg.SerializationError, match="OC001"):
            await reader.fetch("SELECT * FROM t")
        cluster.catalogue.run_jobs.set()
        await connection.execute(f"CALL sys.wait_for_job('{job_id}')")
        assert len(await connection.fetch("SELECT * FROM t")) == 2
        with pytest.raises(asyncpg.SerializationError, match="OC001"):
            await reader.fetch("SELECT * FROM t")


async def test_a_custom_role_reads_jobs(home: StandIn, connect: Connect) -> None:
    async with connect(home, "app") as connection:
        assert await connection.fetch("SELECT * FROM sys.jobs") == []


async def test_jobs_outlive_the_cluster_that_ran_them(
    cluster_url: str, authority: Authority, home: StandIn, connect: Connect
) -> None:
    async with connect(home) as connection:
        job_id = await connection.fetchval(CREATE)
        await connection.execute(f"CALL sys.wait_for_job('{job_id}')")

    async with Cluster(cluster_url, authority).endpoint(HOME) as later, connect(later) as connection:
        assert await job(connection, job_id) == ("completed", None)


async def test_wait_for_job_refuses_an_unknown_job(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        with pytest.raises(asyncpg.RaiseError, match="does not exist"):
            await connection.execute("CALL sys.wait_for_job('aaaaaaaaaaaaaaaaaaaaaaaaaa')")
