"""Migrations: numbered SQL files, one statement each, applied in order and recorded in `schema_migrations`.

They are written for Aurora DSQL, which accepts one DDL statement per transaction and has no advisory locks. So every
statement is safe to run twice (IF NOT EXISTS). Several processes can migrate at the same time, and a process can go on
where an earlier one was interrupted. Plain PostgreSQL accepts the same files.

A migration that moves rows is an INSERT of so many as one transaction may change. It is repeated until none is left.
"""

import asyncio
import hashlib
import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from api.database.backoff import Backoff
from api.database.endpoint import Endpoint
from api.database.errors import Conflict, DatabaseError
from api.database.index_jobs import DDL_TIMEOUT, INDEX_BUDGET, RIVAL_SQLSTATES, IndexBudget, IndexNotBuilt, build_index
from api.database.pool import Pool, Record
from api.database.retry import RetryBudget, run_again

STATEMENT_TIMEOUT = 3600.0
"""Seconds for a statement on plain PostgreSQL, where an index on a large table takes long."""

MIGRATION_BUDGET = RetryBudget(attempts=40, seconds=60.0)
"""For each statement of a migration, which is retried within this budget."""

EARLIER_TEXTS = {2: "4973cbd9a7f398043b85a814f7f117e007540c7934499638bbbde7f7a5c51388"}
"""Checksums of files whose text has changed since, by version. A later migration brings the record up to date."""

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")
_ADDED_CONSTRAINT = re.compile(r"^ALTER TABLE \w+ ADD CONSTRAINT ", re.MULTILINE)
_MOVED_ROWS = re.compile(r"^INSERT INTO ", re.MULTILINE)
_NO_ROW_INSERTED = "INSERT 0 0"
_ASYNC_INDEX = re.compile(r"^(CREATE (?:UNIQUE )?INDEX) ASYNC (IF NOT EXISTS (\w+) ON )", re.MULTILINE)
_NOT_ALLOWED = "42501"

_CREATE_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
# pg_tables also shows a table to roles that may not read it.
_RECORD_EXISTS = "SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_migrations'"
_READ_RECORD = "SELECT version, name, checksum FROM schema_migrations ORDER BY version"
_WRITE_RECORD = """
INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3) ON CONFLICT (version) DO NOTHING
"""


class MigrationError(Exception):
    """The migrations cannot be applied; the message says why and what to do."""


class MigrationChanged(MigrationError):
    """The file of a migration differs from the one that this database has applied."""


class MigrationRefused(MigrationError):
    """The database refused a statement, as for a role that may not create tables."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `version` and `name` from its name, its one `statement`, and the SHA-256 of the whole text."""

    version: int
    name: str
    statement: str
    checksum: str

    def __str__(self) -> str:
        return _numbered(self.version, self.name)

    @property
    def async_index(self) -> str | None:
        """The name of the index that CREATE INDEX ASYNC makes; None for any other statement."""
        match = _ASYNC_INDEX.search(self.statement)
        return None if match is None else match[3]

    @property
    def moves_rows(self) -> bool:
        """Whether the statement moves rows, some at a time."""
        return _MOVED_ROWS.search(self.statement) is not None

    @property
    def plain_statement(self) -> str:
        """The statement for plain PostgreSQL, which has no asynchronous indexes: without the word ASYNC."""
        return _ASYNC_INDEX.sub(r"\1 \2", self.statement)


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of a database, compared with this version.

    `pending`: the migrations that it has not applied.
    `ahead`: the names of those that a newer version has applied. This is no fault where those only add:
    this version then works on the schema of the next one, so that servers can be replaced one by one.
    """

    pending: list[Migration]
    ahead: list[str]


def migrations_directory() -> Path:
    """The directory of the SQL files: inside an installed wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"


def load_migrations(directory: Path) -> list[Migration]:
    """Read all migrations of a directory, in order. Raises MigrationError when there are none, when a number is missing
    or when a file has another kind of name."""
    migrations: list[Migration] = []
    for expected, path in enumerate(sorted(directory.glob("*.sql")), start=1):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or int(match[1]) != expected:
            raise MigrationError(f"expected a migration named {expected:04d}_name.sql, found {path.name}")
        statement = path.read_text(encoding="utf-8")
        checksum = hashlib.sha256(statement.encode()).hexdigest()
        migrations.append(Migration(expected, match[2], statement, checksum))
    if not migrations:
        raise MigrationError(f"there are no migrations in {directory}; install dropzero again")
    return migrations


async def read_schema(pool: Pool, migrations: list[Migration]) -> Schema:
    """Compare what the database has applied with `migrations`. Raises MigrationError, Unavailable, Conflict."""
    try:
        if not await _read(pool, _RECORD_EXISTS):
            return Schema(pending=migrations, ahead=[])
        recorded = {row["version"]: row for row in await _read(pool, _READ_RECORD)}
    except asyncpg.PostgresError as error:
        role = "this role" if pool.endpoint.dsql is None else pool.endpoint.dsql.role
        remedy = f"; as its owner, run: GRANT SELECT ON schema_migrations TO {role}"
        raise MigrationRefused(
            f"schema_migrations cannot be read: {error}{remedy if error.sqlstate == _NOT_ALLOWED else ''}"
        ) from error
    for migration in migrations:
        row = recorded.get(migration.version)
        if row is None or row["checksum"] in (migration.checksum, EARLIER_TEXTS.get(migration.version)):
            continue
        if row["name"] != migration.name:
            raise MigrationChanged(
                f"this database has applied {_numbered(row['version'], row['name'])} and knows no {migration}; run the "
                "version of dropzero that it belongs to, or give the new migration the next number"
            )
        raise MigrationChanged(
            f"migration {migration} was changed after this database applied it; "
            "restore the file and write a new migration instead"
        )
    return Schema(
        pending=[migration for migration in migrations if migration.version not in recorded],
        ahead=[_numbered(row["version"], row["name"]) for row in recorded.values() if row["version"] > len(migrations)],
    )


async def migrate(
    pool: Pool,
    migrations: list[Migration],
    say: Callable[[str], None] = lambda line: None,
    index_budget: IndexBudget = INDEX_BUDGET,
    budget: RetryBudget = MIGRATION_BUDGET,
) -> list[Migration]:
    """Apply the pending migrations and return them. Safe to run again, and from several processes at once.

    All statements go through the one endpoint of `pool`. `say` is called with its name, and with a line for each step.
    Raises MigrationError, and Unavailable or Conflict before the first statement. Migrations that were applied stay,
    and the next run goes on after them.
    """
    schema = await read_schema(pool, migrations)
    say(f"through {_described(pool.endpoint)}: {len(schema.pending)} of {len(migrations)} migrations to apply")
    if schema.ahead:
        say(f"the database is ahead of this version: it has {', '.join(schema.ahead)} of a newer one")
    if schema.pending:
        with _explained("schema_migrations", pool.endpoint):
            await _run(pool, budget, _CREATE_RECORD)
    for migration in schema.pending:
        started = time.monotonic()
        with _explained(str(migration), pool.endpoint):
            try:
                await _apply(pool, migration, say, index_budget, budget)
            except asyncpg.UndefinedTableError:
                # Another process can have applied this migration and a later one, which dropped the table.
                if migration in (await read_schema(pool, migrations)).pending:
                    raise
                continue
            await _run(pool, budget, _WRITE_RECORD, migration.version, migration.name, migration.checksum)
        say(f"applied {migration} in {time.monotonic() - started:.2f} s")
    return schema.pending


async def _apply(
    pool: Pool, migration: Migration, say: Callable[[str], None], index_budget: IndexBudget, budget: RetryBudget
) -> None:
    if pool.endpoint.dsql is not None and migration.async_index is not None:
        await build_index(pool, migration.async_index, migration.statement, index_budget, say)
        return
    done = await _run(pool, budget, migration.plain_statement)
    while migration.moves_rows and done != _NO_ROW_INSERTED:
        done = await _run(pool, budget, migration.plain_statement)


def how_to_migrate(endpoint: Endpoint) -> str:
    """The command that migrates the database of an endpoint. On Aurora DSQL it needs the role `admin`."""
    if endpoint.dsql is None or endpoint.dsql.role == "admin":
        return "dropzero migrate"
    url = urlsplit(endpoint.url)
    as_admin = url._replace(netloc=f"admin@{url.netloc.rpartition('@')[2]}").geturl()
    return f"DROPZERO_ENDPOINTS='{endpoint.region}={as_admin}' dropzero migrate"


async def _read(pool: Pool, statement: str) -> list[Record]:
    """Run one read, and retry it while other processes change the schema: on Aurora DSQL each change costs every reader
    a conflict (OC001)."""
    backoff = Backoff(base=0.02, cap=1.0)
    for failures in itertools.count(1):
        try:
            return await pool.fetch(statement)
        except Conflict:
            if failures == MIGRATION_BUDGET.attempts:
                raise
        await asyncio.sleep(backoff.delay(failures))
    raise AssertionError("the last attempt returns or raises")


async def _run(pool: Pool, budget: RetryBudget, statement: str, *arguments: object) -> str:
    """Run one statement in its own transaction, and return its command tag. Retries it after a conflict, and when it
    got no answer. Adding a constraint that is there does nothing, and has no tag."""
    timeout = STATEMENT_TIMEOUT if pool.endpoint.dsql is None else DDL_TIMEOUT

    async def attempt() -> str:
        try:
            return await pool.execute(statement, *arguments, timeout=timeout)
        except asyncpg.PostgresError as error:
            if isinstance(error, asyncpg.DuplicateObjectError) and _ADDED_CONSTRAINT.search(statement):
                return ""  # an earlier run has added it; there is no ADD CONSTRAINT IF NOT EXISTS
            if error.sqlstate in RIVAL_SQLSTATES:
                raise Conflict(f"{error.sqlstate}: {error}") from error
            raise

    return await run_again(attempt, budget, safe_after_lost_commit=True, backoff=Backoff(base=0.02, cap=1.0))


@contextmanager
def _explained(what: str, endpoint: Endpoint) -> Iterator[None]:
    """Raise each error as MigrationError, with the name of its migration and with what to do."""
    try:
        yield
    except IndexNotBuilt as error:
        raise MigrationError(f"{what} was not applied: {error}") from error
    except DatabaseError as error:
        raise MigrationError(
            f"{what} was not applied: {error}; what came before it stays, and dropzero migrate goes on from there"
        ) from error
    except asyncpg.PostgresError as error:
        raise MigrationRefused(
            f"{what} was not applied: the database refused it: {error}{_remedy(error, endpoint)}"
        ) from error


def _remedy(error: asyncpg.PostgresError, endpoint: Endpoint) -> str:
    if error.sqlstate != _NOT_ALLOWED:
        return ""
    if endpoint.dsql is None:
        return "; run dropzero migrate as the owner of the schema, or as a role that may create tables in it"
    return f"; {endpoint.dsql.role} may not change the schema; run: {how_to_migrate(endpoint)}"


def _described(endpoint: Endpoint) -> str:
    dsql = endpoint.dsql
    return endpoint.region if dsql is None else f"{endpoint.region} ({dsql.host} as {dsql.role})"


def _numbered(version: int, name: str) -> str:
    return f"{version:04d}_{name}"
