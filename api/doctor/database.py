"""What is in the database: its schema, its indexes, the rights on it, room for connections, and one for all Regions."""

import re
from collections.abc import Iterable, Sequence

from api.database.index_jobs import failed_jobs
from api.database.index_state import invalid_indexes
from api.database.migrations import (
    Migration,
    MigrationError,
    Schema,
    how_to_migrate,
    load_migrations,
    migrations_directory,
    read_schema,
)
from api.database.pool import Pool
from api.doctor.finding import Finding, explained, failed, ok, warning
from api.drops.rights import GRANTS, missing_rights

DSQL_CONNECTIONS = 10_000
"""Connections that an Aurora DSQL cluster accepts."""

_ROOM = """
SELECT current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer AS most,
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used,
    (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user) AS of_role,
    (SELECT datconnlimit FROM pg_database WHERE datname = current_database()) AS of_database
"""
_IDENTITY = """
SELECT
    (SELECT json_agg(json_build_array(version, applied_at) ORDER BY version)::text FROM schema_migrations) AS applied,
    (SELECT json_agg(json_build_array(id, created_at))::text
     FROM (SELECT id, created_at FROM products ORDER BY created_at DESC, id DESC LIMIT 5) AS newest) AS products
"""

_DROPPED_INDEX = re.compile(r"^DROP INDEX IF EXISTS (\w+)", re.MULTILINE)


async def check_schema(pool: Pool, *, embedded: bool) -> list[Finding]:
    """The schema; and the rights and the indexes of this version, if it is complete."""
    migrations = load_migrations(migrations_directory())
    try:
        schema = await read_schema(pool, migrations)
    except MigrationError as error:
        return [explained("schema", str(error), how_to_migrate(pool.endpoint))]
    findings = [_schema_finding(pool, schema, len(migrations), embedded=embedded)]
    if schema.pending:
        return findings
    return [*findings, *await _rights(pool), *await check_indexes(pool, migrations)]


def _schema_finding(pool: Pool, schema: Schema, migrations: int, *, embedded: bool) -> Finding:
    if schema.pending:
        found = f"{len(schema.pending)} of {migrations} migrations are missing, from {schema.pending[0]} on"
        if embedded:
            return ok("schema", f"{found}; dropzero serve applies them when it starts")
        return failed("schema", found, how_to_migrate(pool.endpoint))
    if schema.ahead:
        found = f"the database is ahead of this version: it has {', '.join(schema.ahead)} of a newer one"
        return warning("schema", found, "replace this version by the newer one when all servers can be")
    return ok("schema", f"all {migrations} migrations are applied, with the checksums of this version")


async def _rights(pool: Pool) -> list[Finding]:
    missing = await missing_rights(pool)
    if not missing:
        return [ok("rights", f"all that a server needs, on {len(GRANTS)} tables")]
    role = (await pool.fetch("SELECT current_user AS role"))[0]["role"]
    return [
        failed(
            "rights",
            f"{role} may not {', '.join(rights)} {table}",
            f"as the owner of the tables: GRANT {', '.join(rights)} ON {table} TO {role}",
        )
        for table, rights in missing.items()
    ]


async def check_indexes(pool: Pool, migrations: Sequence[Migration]) -> list[Finding]:
    """Whether every index of the migrations exists and is valid."""
    dropped = {name for migration in migrations for name in _DROPPED_INDEX.findall(migration.statement)}
    wanted = {migration.async_index: migration for migration in migrations if migration.async_index}
    kept = {name: migration for name, migration in wanted.items() if name not in dropped}
    state = await invalid_indexes(pool, kept)
    if not state:
        return [ok("indexes", f"all {len(kept)} exist and are valid")]
    jobs = await failed_jobs(pool, state) if pool.endpoint.dsql is not None else {}
    return [_index_finding(pool, name, kept[name], exists, jobs.get(name)) for name, exists in state.items()]


def _index_finding(pool: Pool, name: str, migration: Migration, exists: bool, job: str | None) -> Finding:
    on_dsql = pool.endpoint.dsql is not None
    lines = (migration.statement if on_dsql else migration.plain_statement).splitlines()
    create = " ".join(line.strip() for line in lines if not line.startswith("--"))
    reason = f": its job failed: {job}" if job else ""
    found = f"{name} {'is not valid' if exists else 'does not exist'}{reason}; its lists read whole tables"
    return failed(
        "indexes", found, f"as the owner: DROP INDEX {name}; {create}" if exists else f"as the owner: {create}"
    )


async def check_room(pool: Pool, endpoints: int, connections: int, workers: int) -> Finding:
    """Whether the database accepts the connections of one server. `endpoints`: Regions that are this one database
    server; `connections`: of a process to each."""
    needed = workers * endpoints * (connections + 1)
    each = f"{workers} x {endpoints} x {connections + 1}"
    asked = f"a server opens up to {needed} ({each}: workers, Regions, and one for pings)"
    lower = "lower DROPZERO_CONNECTIONS or DROPZERO_WORKERS"
    if pool.endpoint.dsql is not None:
        if needed > DSQL_CONNECTIONS:
            return failed("connections", f"{asked}; a cluster accepts {DSQL_CONNECTIONS}", lower)
        return ok("connections", f"{asked}; a cluster accepts {DSQL_CONNECTIONS:,}, and 100 new ones per second")
    row = (await pool.fetch(_ROOM))[0]
    most = min(limit for limit in (row["most"], row["of_role"], row["of_database"]) if limit >= 0)
    if needed > most:
        return failed("connections", f"{asked}; the database accepts {most}", f"{lower}, or raise max_connections")
    if needed + row["used"] > most:
        found = f"{asked}; the database accepts {most}, of which {row['used']} are open now"
        return warning("connections", found, f"where another server runs beside this one, {lower}")
    return ok("connections", f"{asked}; the database accepts {most}")


async def check_one_database(pools: Iterable[Pool]) -> list[Finding]:
    """Whether all endpoints show the same migrations, applied at the same moments, and the same products."""
    pools = list(pools)
    if len(pools) < 2:
        return []
    names = ", ".join(pool.region for pool in pools)
    for _ in range(3):  # a product can be created between two reads
        seen = {tuple((await pool.fetch(_IDENTITY))[0].values()) for pool in pools}
        if len(seen) == 1:
            return [ok("Regions", f"{names} are one database")]
    return [
        failed(
            "Regions",
            f"{names} are not one database: they show other migrations or products, and would sell the stock twice",
            "name the endpoints of one cluster in DROPZERO_ENDPOINTS (dropzero cluster status)",
        )
    ]
