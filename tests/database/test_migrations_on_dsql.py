"""Migrations under the rules of Aurora DSQL: one change of the schema at a time, and indexes that jobs build."""

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Conflict, OutcomeUnknown
from api.database.index_jobs import IndexBudget
from api.database.migrations import MigrationError, load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.database.tokens import AuthTokens
from api.startup import SchemaBehind, require_ready_database
from tests import command
from tests.database.mortal import Killed, Mortal
from tests.dsql.certificates import Authority
from tests.dsql.cluster import Cluster, create_role
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENT_TIMES, until

MIGRATIONS = load_migrations(migrations_directory())
NAMES = [str(migration) for migration in MIGRATIONS]
TOKYO, SEOUL = "ap-northeast-1", "ap-northeast-2"
A_TABLE_AND_ITS_INDEX = [MIGRATIONS[0], replace(MIGRATIONS[3], version=2)]


@dataclass(frozen=True)
class TwoRegions:
    """A cluster without any table, and its two endpoints."""

    cluster: Cluster
    tokyo: StandIn
    seoul: StandIn
    tokens: AuthTokens
    database_url: str

    def pool(self, endpoint: StandIn | None = None, role: str = "admin") -> Pool:
        return Pool(self.endpoint(endpoint, role), 2, self.tokens, PATIENT_TIMES.pool)

    def endpoint(self, endpoint: StandIn | None = None, role: str = "admin") -> Endpoint:
        chosen = endpoint or self.tokyo
        assert chosen.region is not None
        return Endpoint(chosen.region, chosen.url_as(role))

    async def sql(self, statement: str) -> list[Any]:
        """Run a statement in the database behind the cluster."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(statement))
        finally:
            await connection.close()

    async def migrated(self) -> bool:
        """Whether every migration was applied and recorded once, and every index is valid."""
        recorded = await self.sql("SELECT version, name FROM schema_migrations ORDER BY version")
        assert [f"{version:04d}_{name}" for version, name in recorded] == NAMES
        [[invalid]] = await self.sql("SELECT count(*) FROM pg_index WHERE NOT indisvalid")
        return bool(invalid == 0)

    async def start_over(self) -> None:
        for statement in ("DROP SCHEMA public CASCADE", "CREATE SCHEMA public", "DELETE FROM sys.jobs"):
            await self.sql(statement)


@pytest.fixture
async def regions(empty_database_url: str, authority: Authority, tokens: AuthTokens) -> AsyncIterator[TwoRegions]:
    cluster = Cluster(empty_database_url, authority)
    async with cluster.endpoint(TOKYO) as tokyo, cluster.endpoint(SEOUL) as seoul:
        yield TwoRegions(cluster, tokyo, seoul, tokens, empty_database_url)


async def test_every_migration_is_applied_and_its_index_waited_for(regions: TwoRegions) -> None:
    said: list[str] = []
    async with regions.pool() as pool:
        assert await migrate(pool, MIGRATIONS, said.append) == MIGRATIONS
        assert await regions.migrated()
        assert (
            said[0] == f"through ap-northeast-1 (localhost as admin): {len(NAMES)} of {len(NAMES)} migrations to apply"
        )
        built = [line for line in said if line.startswith("building the index")]
        assert [line.split()[3] for line in built] == [
            migration.async_index for migration in MIGRATIONS if migration.async_index is not None
        ]
        assert await migrate(pool, MIGRATIONS) == []
    assert regions.seoul.connections_opened == 0, "the schema is changed through one Region only"


# A kill after a statement is the same as a kill before the next one.
@pytest.mark.parametrize(
    ("end", "before"),
    [(Killed, True), (OutcomeUnknown, True), (OutcomeUnknown, False)],
    ids=["killed", "answer lost, statement not done", "answer lost, statement done"],
)
@pytest.mark.slow
async def test_a_run_that_ends_at_any_statement_is_finished_by_the_next(
    regions: TwoRegions, end: type[Exception], before: bool
) -> None:
    for at in itertools.count(1):
        async with Mortal(regions.endpoint(), at, end, before=before, tokens=regions.tokens) as mortal:
            with contextlib.suppress(end):
                await migrate(mortal, A_TABLE_AND_ITS_INDEX)
        async with regions.pool(regions.seoul) as pool:
            applied = await migrate(pool, A_TABLE_AND_ITS_INDEX)
            if end is OutcomeUnknown and at > 2:  # the caller has to retry the two reads at the beginning
                assert applied == []
            assert await pool.fetch("SELECT FROM schema_migrations WHERE version = 2")
        assert [valid for [valid] in await regions.sql("SELECT DISTINCT indisvalid FROM pg_index")] == [True]
        await regions.start_over()
        if not mortal.ended:
            break
    assert at > 10


async def test_a_read_that_conflicts_with_a_schema_change_is_retried(regions: TwoRegions) -> None:
    for at in (1, 2):
        async with Mortal(regions.endpoint(), at, Conflict, before=True, tokens=regions.tokens) as pool:
            await migrate(pool, MIGRATIONS)
            assert pool.ended
    assert await regions.migrated()


@pytest.mark.slow
async def test_processes_in_two_regions_that_migrate_at_once_leave_one_schema(regions: TwoRegions) -> None:
    async with contextlib.AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(regions.pool(at)) for at in (regions.tokyo, regions.seoul) * 3]
        await asyncio.gather(*(migrate(pool, MIGRATIONS) for pool in pools))
    assert await regions.migrated()


@contextlib.asynccontextmanager
async def at_each_commit(endpoint: StandIn, *faults: Callable[[], None]) -> AsyncIterator[None]:
    """Cause the faults in turn, over and over. Each COMMIT that arrives causes the next fault."""

    async def cause() -> None:
        for fault in itertools.cycle(faults):
            await endpoint.commit_arrived.wait()
            endpoint.commit_arrived.clear()
            fault()

    causing = asyncio.create_task(cause())
    try:
        yield
    finally:
        causing.cancel()
        await asyncio.wait([causing])


def nothing() -> None:
    """No fault."""


async def test_a_storm_of_conflicts_and_schema_changes_ends_in_one_schema(regions: TwoRegions) -> None:
    def conflict() -> None:
        regions.tokyo.conflicts = 1

    def change_schema() -> None:
        regions.cluster.catalogue.version += 1  # OC001 to every statement that sees it

    async with at_each_commit(regions.tokyo, conflict, change_schema, nothing), regions.pool() as pool:
        await migrate(pool, MIGRATIONS)
    assert await regions.migrated()


@pytest.mark.slow
async def test_connections_that_are_cut_at_commit_cost_only_time(regions: TwoRegions) -> None:
    def cut_before() -> None:
        regions.tokyo.cut_before_commit = 1

    def cut_after() -> None:
        regions.tokyo.cut_after_commit = 1

    async with at_each_commit(regions.tokyo, cut_before, nothing, cut_after, nothing), regions.pool() as pool:
        await migrate(pool, MIGRATIONS)
    assert await regions.migrated()


async def test_endless_conflicts_end_the_run_with_what_to_do(regions: TwoRegions) -> None:
    async with regions.pool() as pool:
        regions.tokyo.conflicts = 10**6
        with pytest.raises(
            MigrationError,
            match=r"schema_migrations was not applied: 40001: change conflicts with another transaction \(OC000\); "
            "what came before it stays, and dropzero migrate goes on from there",
        ):
            await migrate(pool, MIGRATIONS, budget=RetryBudget(attempts=3))
        assert regions.tokyo.conflicts == 10**6 - 3
        regions.tokyo.conflicts = 0
        await migrate(pool, MIGRATIONS)
    assert await regions.migrated()


async def test_an_index_that_a_killed_run_ordered_is_not_ordered_twice(regions: TwoRegions) -> None:
    regions.cluster.catalogue.run_jobs.clear()
    said: list[str] = []
    async with regions.pool() as pool:
        killed = asyncio.create_task(migrate(pool, MIGRATIONS, said.append))
        await until(lambda: any(line.startswith("building the index products_by_time") for line in said))
        killed.cancel()
        await asyncio.wait([killed])
    async with regions.pool() as pool:
        waiting = asyncio.create_task(migrate(pool, MIGRATIONS, said.append, IndexBudget(report=0.0)))
        await until(lambda: any("submitted" in line for line in said))
        assert not waiting.done()
        regions.cluster.catalogue.run_jobs.set()
        await waiting
    assert await regions.migrated()
    assert await regions.sql("SELECT count(*) FROM sys.jobs WHERE object_name = 'products_by_time'") == [(1,)]


@pytest.mark.parametrize("status", ["failed", "completed"])
async def test_an_index_whose_job_failed_is_built_again(regions: TwoRegions, status: str) -> None:
    regions.cluster.catalogue.failed_status = status
    regions.cluster.catalogue.failing_jobs = 2
    said: list[str] = []
    async with regions.pool() as pool:
        await migrate(pool, MIGRATIONS, said.append)
    assert await regions.migrated()
    dropped = [line for line in said if "dropping it to build it again" in line]
    assert [f"{status}: the job was told to fail" in line for line in dropped] == [True, True]


async def test_an_index_that_cannot_be_built_stops_the_run_until_its_cause_is_gone(
    regions: TwoRegions, tmp_path: Path
) -> None:
    (tmp_path / "0001_products.sql").write_text("CREATE TABLE IF NOT EXISTS products (id uuid PRIMARY KEY, name text)")
    (tmp_path / "0002_one_name.sql").write_text("CREATE UNIQUE INDEX ASYNC IF NOT EXISTS one_name ON products (name)")
    async with regions.pool() as pool:
        await migrate(pool, load_migrations(tmp_path)[:1])
        await pool.execute("INSERT INTO products SELECT gen_random_uuid(), 'Tee' FROM generate_series(1, 2)")
        with pytest.raises(
            MigrationError,
            match=r"0002_one_name was not applied: the index one_name was built 3 times and is not valid \(job \w+ "
            r"failed: could not create unique index .*\); remove the cause, then run dropzero migrate again",
        ):
            await migrate(pool, load_migrations(tmp_path))
        await regions.sql("DELETE FROM products")
        assert len(await migrate(pool, load_migrations(tmp_path))) == 1


@pytest.mark.slow
async def test_the_command_prints_its_endpoint_and_what_to_run_without_rights(regions: TwoRegions) -> None:
    await create_role(regions.database_url, "app")
    tokyo, seoul = (regions.endpoint(endpoint, "app") for endpoint in (regions.tokyo, regions.seoul))
    as_admin = f"{TOKYO}={tokyo.url.replace('app@', 'admin@')}"

    refused = await command.dropzero_here("migrate", DROPZERO_ENDPOINTS=f"{TOKYO}={tokyo.url},{SEOUL}={seoul.url}")
    assert refused.status == 1
    assert (
        refused.out == f"through ap-northeast-1 (localhost as app): {len(NAMES)} of {len(NAMES)} migrations to apply\n"
    )
    assert refused.err == (
        "dropzero: schema_migrations was not applied: the database refused it: permission denied for schema public; "
        f"app may not change the schema; run: DROPZERO_ENDPOINTS='{as_admin}' dropzero migrate\n"
    )
    async with Regions((tokyo, seoul), 2, regions.tokens, PATIENT_TIMES) as served:
        with pytest.raises(SchemaBehind) as behind:
            await require_ready_database(served)
    assert str(behind.value).endswith(f"from {NAMES[0]} on; run: DROPZERO_ENDPOINTS='{as_admin}' dropzero migrate")

    migrated = await command.dropzero_here("migrate", DROPZERO_ENDPOINTS=as_admin)
    assert (migrated.status, migrated.err) == (0, "")
    assert migrated.out.splitlines()[-1] == "The schema is up to date."
    assert await regions.migrated()
