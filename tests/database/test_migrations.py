"""Migrations: safe to run again, several at once, and after an interrupted run. Without them no server starts."""

import asyncio
import contextlib
import itertools
import logging
import re
import shutil
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from api.database.endpoint import Endpoint
from api.database.errors import OutcomeUnknown
from api.database.migrations import (
    Migration,
    MigrationChanged,
    MigrationError,
    MigrationRefused,
    Schema,
    load_migrations,
    migrate,
    migrations_directory,
    read_schema,
)
from api.database.pool import Pool
from api.settings import Settings
from api.startup import prepare
from tests import command
from tests.database.mortal import Killed, Mortal
from tests.patience import PATIENT_TIMES, until
from tests.server import serving

MIGRATIONS = load_migrations(migrations_directory())
NAMES = [str(migration) for migration in MIGRATIONS]
ALL = len(NAMES)
A_TABLE_AND_ITS_INDEX = [MIGRATIONS[0], replace(MIGRATIONS[3], version=2)]


@pytest.fixture
async def empty(empty_database_url: str) -> AsyncIterator[Pool]:
    """A few connections to a database without any table."""
    async with Pool(Endpoint("here", empty_database_url), size=4, times=PATIENT_TIMES.pool) as pool:
        yield pool


async def pending(pool: Pool, migrations: list[Migration] = MIGRATIONS) -> list[Migration]:
    """The migrations that the database lacks."""
    return (await read_schema(pool, migrations)).pending


async def recorded(pool: Pool) -> list[str]:
    rows = await pool.fetch("SELECT version, name FROM schema_migrations ORDER BY version")
    return [f"{row['version']:04d}_{row['name']}" for row in rows]


async def start_over(pool: Pool) -> None:
    """Leave the database without any table."""
    await pool.execute("DROP SCHEMA public CASCADE")
    await pool.execute("CREATE SCHEMA public")


async def tables_and_indexes(pool: Pool) -> set[str]:
    rows = await pool.fetch("SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    return {row["relname"] for row in rows}


async def dropzero_migrate(url: str) -> command.Run:
    """Run `dropzero migrate` on a database, in this process."""
    return await command.dropzero_here("migrate", DROPZERO_ENDPOINTS=f"here={url}")


async def test_every_migration_is_applied_once_and_in_order(empty: Pool) -> None:
    assert await migrate(empty, MIGRATIONS) == MIGRATIONS
    assert await recorded(empty) == NAMES
    found = await tables_and_indexes(empty)
    assert {"products", "stock_shards", "orders", "orders_by_buyer", "orders_by_product"} <= found
    assert not {"orders_by_time", "orders_by_buyer_and_product"} & found, "later migrations drop them"
    assert await migrate(empty, MIGRATIONS) == []
    assert await recorded(empty) == NAMES


async def test_eight_runs_at_once_leave_one_schema(empty: Pool, empty_database_url: str) -> None:
    async with Pool(Endpoint("here", empty_database_url), size=8, times=PATIENT_TIMES.pool) as pool:
        for _ in range(3):
            await asyncio.gather(*(migrate(pool, MIGRATIONS) for _ in range(8)))
            assert await recorded(empty) == NAMES
            assert await pending(empty) == []
            await start_over(empty)


@pytest.mark.slow
async def test_two_processes_at_once_print_their_steps_and_leave_one_schema(
    empty: Pool, empty_database_url: str
) -> None:
    endpoints = f"here={empty_database_url}"
    runs = await asyncio.gather(*(command.dropzero("migrate", DROPZERO_ENDPOINTS=endpoints) for _ in range(2)))
    assert [(run.status, run.err) for run in runs] == [(0, ""), (0, "")]
    # On a busy machine one can start late, find some applied and overtake the other, which then skips a step.
    applied = [re.findall(r"^applied (\S+) in \d+\.\d\d s$", run.out, re.M) for run in runs]
    for run, names in zip(runs, applied, strict=True):
        begun = re.match(rf"through here: (\d+) of {ALL} migrations to apply\n", run.out)
        assert begun is not None
        pending = NAMES[ALL - int(begun[1]) :]
        assert names == [name for name in pending if name in names], "in their order, each once"
        assert len(run.out.splitlines()) == len(names) + 2
        assert run.out.endswith("The schema is up to date.\n" if pending else "The schema was up to date already.\n")
    assert {name for names in applied for name in names} == set(NAMES)
    assert await recorded(empty) == NAMES
    assert await dropzero_migrate(empty_database_url) == command.Run(
        0, f"through here: 0 of {ALL} migrations to apply\nThe schema was up to date already.\n", ""
    )


@contextlib.asynccontextmanager
async def table_that_is_being_created(url: str, name: str) -> AsyncIterator[None]:
    """Create a table in another transaction, which stays open. A run that creates the same table waits for it."""
    rival = await asyncpg.connect(url)
    try:
        await rival.execute("BEGIN")
        await rival.execute(f"CREATE TABLE {name} (id uuid PRIMARY KEY)")
        yield
    finally:
        await rival.close()


@contextlib.asynccontextmanager
async def migrating_process(url: str) -> AsyncIterator[Process]:
    """`dropzero migrate` as a process, which is killed at the end of the block."""
    run = await asyncio.create_subprocess_exec(
        *[*command.DROPZERO, "migrate"],
        env=command.environment({"DROPZERO_ENDPOINTS": f"here={url}"}),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield run
    finally:
        with contextlib.suppress(ProcessLookupError):
            run.kill()
        await run.wait()


@pytest.mark.slow
async def test_a_killed_run_is_finished_by_the_next(empty: Pool, empty_database_url: str) -> None:
    async with table_that_is_being_created(empty_database_url, "orders"):
        async with migrating_process(empty_database_url) as run:

            async def is_held() -> bool:
                assert run.returncode is None
                return bool(await empty.fetch("SELECT FROM pg_locks WHERE NOT granted"))

            await until(is_held)
        assert run.returncode == -signal.SIGKILL
    assert await recorded(empty) == NAMES[:2]

    assert [str(migration) for migration in await migrate(empty, MIGRATIONS)] == NAMES[2:]
    assert await recorded(empty) == NAMES


# A kill after a statement is the same as a kill before the next one.
@pytest.mark.parametrize(
    ("end", "before"),
    [(Killed, True), (OutcomeUnknown, True), (OutcomeUnknown, False)],
    ids=["killed", "answer lost, statement not done", "answer lost, statement done"],
)
async def test_a_run_that_ends_at_any_statement_is_finished_by_the_next(
    empty: Pool, end: type[Exception], before: bool
) -> None:
    for at in itertools.count(1):
        async with Mortal(empty.endpoint, at, end, before=before) as pool:
            with contextlib.suppress(end):
                await migrate(pool, A_TABLE_AND_ITS_INDEX)
        if end is OutcomeUnknown and at > 2:  # the caller has to retry the two reads at the beginning
            assert await migrate(empty, A_TABLE_AND_ITS_INDEX) == []
        await migrate(empty, A_TABLE_AND_ITS_INDEX)
        assert {"products", A_TABLE_AND_ITS_INDEX[1].async_index} <= await tables_and_indexes(empty)
        assert await pending(empty, A_TABLE_AND_ITS_INDEX) == []
        await start_over(empty)
        if not pool.ended:
            break
    assert at > 2 * len(A_TABLE_AND_ITS_INDEX)


async def test_a_statement_that_was_not_recorded_is_run_again_without_harm(empty: Pool) -> None:
    await migrate(empty, MIGRATIONS)
    whole = await tables_and_indexes(empty)
    for migration in MIGRATIONS:
        await start_over(empty)
        await migrate(empty, MIGRATIONS[: migration.version])
        await empty.execute("DELETE FROM schema_migrations WHERE version = $1", migration.version)
        assert (await pending(empty))[0] == migration
        await migrate(empty, MIGRATIONS)
        assert await tables_and_indexes(empty) == whole


async def test_a_file_that_was_changed_after_it_was_applied_is_refused(empty: Pool, tmp_path: Path) -> None:
    await migrate(empty, MIGRATIONS)
    shutil.copytree(migrations_directory(), tmp_path, dirs_exist_ok=True)
    with (tmp_path / f"{NAMES[1]}.sql").open("a") as file:
        file.write("-- an afterthought\n")
    with pytest.raises(MigrationChanged, match=rf"{NAMES[1]} was changed after .*; restore the file and write a new"):
        await migrate(empty, load_migrations(tmp_path))


async def test_a_new_file_is_the_only_one_applied(empty: Pool, tmp_path: Path) -> None:
    await migrate(empty, MIGRATIONS)
    shutil.copytree(migrations_directory(), tmp_path, dirs_exist_ok=True)
    (tmp_path / f"{len(NAMES) + 1:04d}_reviews.sql").write_text(
        "CREATE TABLE IF NOT EXISTS reviews (id uuid PRIMARY KEY)"
    )
    applied = await migrate(empty, load_migrations(tmp_path))
    assert [migration.name for migration in applied] == ["reviews"]
    assert "reviews" in await tables_and_indexes(empty)


async def test_a_database_that_is_ahead_is_served_with_a_warning(
    settings: Settings, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An older version works on a newer schema, as it must while servers are replaced one by one."""
    async with Pool(Endpoint("here", database_url), size=1, times=PATIENT_TIMES.pool) as pool:
        await pool.execute("INSERT INTO schema_migrations VALUES (9999, 'reviews', 'of a newer version')")
        assert await read_schema(pool, MIGRATIONS) == Schema(pending=[], ahead=["9999_reviews"])
    assert await dropzero_migrate(database_url) == command.Run(
        0,
        f"through here: 0 of {ALL} migrations to apply\n"
        "the database is ahead of this version: it has 9999_reviews of a newer one\n"
        "The schema was up to date already.\n",
        "",
    )
    served = replace(settings, endpoints=(Endpoint("here", database_url),))
    await prepare(served, embedded=False)
    [warning] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert warning.startswith("serving a database that is ahead: it has 9999_reviews of a newer version; that works")
    async with serving(served) as server:
        assert await server.data("{ regions { name } }") == {"regions": [{"name": "here"}]}


async def test_another_migration_under_the_same_number_is_refused(empty: Pool) -> None:
    await migrate(empty, MIGRATIONS)
    await empty.execute("UPDATE schema_migrations SET name = 'reviews', checksum = 'another' WHERE version = 9")
    complaint = f"this database has applied 0009_reviews and knows no {NAMES[8]}; run the version of dropzero that"
    with pytest.raises(MigrationChanged, match=complaint):
        await migrate(empty, MIGRATIONS)


async def test_a_role_that_may_not_create_tables_is_refused_with_what_to_do(
    empty: Pool, empty_database_url: str
) -> None:
    await empty.execute("DROP ROLE IF EXISTS shopkeeper")
    await empty.execute("CREATE ROLE shopkeeper LOGIN")
    url = empty_database_url.replace("postgres@", "shopkeeper@")
    async with Pool(Endpoint("here", url), size=1, times=PATIENT_TIMES.pool) as pool:
        with pytest.raises(
            MigrationRefused,
            match="schema_migrations was not applied: the database refused it: permission denied for schema public; "
            "run dropzero migrate as the owner of the schema, or as a role that may create tables in it",
        ):
            await migrate(pool, MIGRATIONS)
        await migrate(empty, MIGRATIONS)
        with pytest.raises(
            MigrationRefused,
            match="schema_migrations cannot be read: permission denied for table schema_migrations; as its owner, run: "
            "GRANT SELECT ON schema_migrations TO this role",
        ):
            await pending(pool)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ([], "there are no migrations in"),
        (["0002_a.sql"], "expected a migration named 0001_name.sql, found 0002_a.sql"),
        (["0001_a.sql", "0003_c.sql"], "expected a migration named 0002_name.sql, found 0003_c.sql"),
        (["0001_a.sql", "0001_b.sql"], "expected a migration named 0002_name.sql, found 0001_b.sql"),
        (["1_a.sql"], "expected a migration named 0001_name.sql, found 1_a.sql"),
        (["0001_A.sql"], "expected a migration named 0001_name.sql, found 0001_A.sql"),
        (["0001_a.sql", "notes.sql"], "expected a migration named 0002_name.sql, found notes.sql"),
    ],
)
def test_a_gap_or_a_stray_name_is_refused(tmp_path: Path, names: list[str], complaint: str) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")
    with pytest.raises(MigrationError, match=re.escape(complaint)):
        load_migrations(tmp_path)


@pytest.mark.parametrize("name", NAMES)
async def test_each_file_is_one_statement_that_can_be_run_twice(
    empty: Pool, empty_database_url: str, name: str
) -> None:
    migration = MIGRATIONS[NAMES.index(name)]
    statement = migration.statement
    await migrate(empty, MIGRATIONS[: migration.version - 1])
    # PostgreSQL itself counts the statements: it prepares only one, and refuses "multiple commands".
    connection = await asyncpg.connect(empty_database_url)
    await connection.prepare(migration.plain_statement)
    await connection.close()
    assert re.search(
        r" IF (NOT )?EXISTS |ON CONFLICT .* DO NOTHING|^ALTER TABLE \w+ ADD CONSTRAINT |^UPDATE ", statement, re.M
    )
    made = re.search(r"INDEX .* (\w+) ON ", statement)
    assert MIGRATIONS[NAMES.index(name)].async_index == (made and made[1]), "Aurora DSQL has no other indexes"


@pytest.mark.slow
async def test_a_server_whose_schema_is_behind_prints_what_to_run(empty: Pool, empty_database_url: str) -> None:
    run = await command.dropzero("serve", "--port", "0", DROPZERO_ENDPOINTS=f"here={empty_database_url}")
    assert (run.status, run.out) == (1, "")
    assert run.err == f"dropzero: the database lacks {ALL} migrations, from {NAMES[0]} on; run: dropzero migrate\n"

    await migrate(empty, MIGRATIONS)
    await empty.execute("UPDATE schema_migrations SET checksum = 'of another text' WHERE version = 1")
    run = await dropzero_migrate(empty_database_url)
    assert (run.status, run.out) == (1, "")
    assert run.err == (
        f"dropzero: migration {NAMES[0]} was changed after this database applied it; "
        "restore the file and write a new migration instead\n"
    )


@pytest.mark.slow
async def test_a_database_that_cannot_be_used_is_reported_in_one_line(empty_database_url: str, tmp_path: Path) -> None:
    away = f"postgresql://app:hunter2@/shop?host={tmp_path}"
    served = await command.dropzero("serve", "--port", "0", DROPZERO_ENDPOINTS=f"here={away}")
    visited = [
        await command.dropzero_here(name, DROPZERO_ENDPOINTS=f"here={url}")
        for name, url in [
            ("migrate", away),
            ("audit", away),
            ("audit", empty_database_url.replace("postgres@", "nobody:hunter2@")),
            ("audit", re.sub(r"/test_\d+", "/nowhere", empty_database_url)),
        ]
    ]
    for run in [served, *visited]:
        assert (run.status, run.out) == (1, ""), run
        assert run.err.startswith("dropzero: the database cannot be used: ")
        assert run.err.endswith("; check DROPZERO_ENDPOINTS and that it runs\n")
        assert run.err.count("\n") == 1
        assert "hunter2" not in run.err
