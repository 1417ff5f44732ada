"""Migrations: numbered SQL files, one statement each, applied in order and recorded in `schema_migrations`.

They are written for Aurora DSQL, which takes one DDL statement per transaction and has no advisory locks. So
every statement is safe to run twice (IF NOT EXISTS), and processes that migrate at the same time, or after one
that was cut off half way, meet without harm.
"""

import asyncio
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from api.database.backoff import Backoff
from api.database.errors import Conflict, OutcomeUnknown
from api.database.pool import Pool

_FILE_NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

# A rival that runs the same statement at the same moment shows itself as a duplicate: of a table or of an object, and
# of a row in the catalogue, which is a Conflict anyway. Running the statement again then finds its work done.
_RIVAL_SQLSTATES = frozenset({"42P07", "42710"})
_ATTEMPTS = 20

STATEMENT_TIMEOUT = 3600.0
"""Seconds. An index on a table that is full takes its time."""

_CREATE_RECORD = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
# pg_tables shows a table to roles that may not read it, too.
_RECORD_EXISTS = "SELECT FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_migrations'"
_READ_RECORD = "SELECT version, checksum FROM schema_migrations"
_WRITE_RECORD = """
INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3) ON CONFLICT (version) DO NOTHING
"""


class MigrationError(Exception):
    """The migrations cannot be applied; the message says why and what to do."""


class MigrationChanged(MigrationError):
    """A migration that this database has already applied reads differently now."""


class MigrationRefused(MigrationError):
    """The database refused a statement, as it does to a role that may not create tables."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: `version` and `name` from its name, its one `statement`, and the checksum of that."""

    version: int
    name: str
    statement: str
    checksum: str

    def __str__(self) -> str:
        return f"{self.version:04d}_{self.name}"


def migrations_directory() -> Path:
    """Where the SQL files are: inside an installed wheel, or beside the package in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "migrations"
    return packaged if packaged.is_dir() else package.parent / "migrations"


def load_migrations(directory: Path) -> list[Migration]:
    """Read all migrations of a directory, in order. Raises MigrationError for none, a gap or a stray file name."""
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


async def pending_migrations(pool: Pool, migrations: list[Migration]) -> list[Migration]:
    """Those that the database has not applied yet. Raises MigrationError, Unavailable."""
    try:
        if not await pool.fetch(_RECORD_EXISTS):
            return migrations
        applied = {row["version"]: row["checksum"] for row in await pool.fetch(_READ_RECORD)}
    except asyncpg.PostgresError as error:
        raise MigrationRefused(f"schema_migrations cannot be read: {error}; ask its owner to grant SELECT") from error
    for migration in migrations:
        if applied.get(migration.version, migration.checksum) != migration.checksum:
            raise MigrationChanged(
                f"migration {migration} was changed after this database applied it; "
                "restore the file and write a new migration instead"
            )
    return [migration for migration in migrations if migration.version not in applied]


async def migrate(pool: Pool, migrations: list[Migration]) -> list[Migration]:
    """Apply what is pending and return it. Safe to run again, and from several processes at once.

    Raises MigrationError, Unavailable; what was applied before stays, and the next run goes on from there.
    """
    pending = await pending_migrations(pool, migrations)
    if pending:
        await _run(pool, _CREATE_RECORD)
    for migration in pending:
        # Plain PostgreSQL has no asynchronous indexes and takes the same statement without the word.
        await _run(pool, migration.statement.replace("CREATE INDEX ASYNC", "CREATE INDEX"))
        await _run(pool, _WRITE_RECORD, migration.version, migration.name, migration.checksum)
    return pending


async def _run(pool: Pool, statement: str, *arguments: object) -> None:
    """Run one statement in its own transaction, again when a rival came between."""
    backoff = Backoff(base=0.02, cap=1.0)
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await pool.execute(statement, *arguments, timeout=STATEMENT_TIMEOUT)
        except (Conflict, OutcomeUnknown):
            if attempt == _ATTEMPTS:
                raise
        except asyncpg.PostgresError as error:
            if error.sqlstate not in _RIVAL_SQLSTATES or attempt == _ATTEMPTS:
                words = " ".join(re.sub("--.*", "", statement).split()[:6])
                raise MigrationRefused(f"the database refused {words} ...: {error}") from error
        else:
            return
        await asyncio.sleep(backoff.delay(attempt))
