"""What a start requires of the database: a schema of this version, rights, and answers."""

import logging
from functools import partial

from api.database.backoff import Backoff
from api.database.migrations import Schema, how_to_migrate, load_migrations, migrate, migrations_directory, read_schema
from api.database.pool import Pool
from api.database.pooler import require_kept_statements
from api.database.regions import Regions
from api.database.retry import RetryBudget, run_again
from api.database.tokens import AuthTokens
from api.database.web_identity import WebIdentity
from api.drops.rights import require_rights
from api.drops.sample import create_sample_drop
from api.settings import Settings

logger = logging.getLogger("dropzero.server")

WARM_CONNECTIONS = 3
"""Connections to each Region that are open before the first request: for a read, a purchase, and one to spare."""

START_BUDGET = RetryBudget(attempts=5, seconds=10.0)
"""For a start's work on the database. A start survives a connection that is cut, and fails when the database stays
away."""

START_BACKOFF = Backoff(base=0.1, cap=1.0)


class SchemaBehind(Exception):
    """The database lacks migrations that this version needs."""


async def prepare(settings: Settings, *, embedded: bool) -> None:
    """Bring the embedded database up to date and create the sample drop in it; only check any other database.

    Work that a cut connection interrupts is done again within START_BUDGET. Raises StatementsLost, SchemaBehind,
    MigrationError, RightsMissing, Conflict, Unavailable, OutcomeUnknown.
    """
    again = partial(run_again, budget=START_BUDGET, safe_after_lost_commit=True, backoff=START_BACKOFF)
    tokens = AuthTokens(web_identity(settings))
    async with Regions(settings.endpoints, connections=1, tokens=tokens, times=settings.region_times) as regions:
        if embedded:
            await again(partial(migrate, regions.home, load_migrations(migrations_directory())))
        schema = await require_ready_database(regions)
        if schema.ahead:
            logger.warning(
                "serving a database that is ahead: it has %s of a newer version; that works, and nothing has to be "
                "done",
                ", ".join(schema.ahead),
            )
        if not embedded:
            return
        sizes = await again(partial(create_sample_drop, regions))
        if sizes:
            units = ", ".join(f"{size.stock} x {size.option}" for size in sizes)
            logger.info("created the sample drop %s: %s, %s", sizes[0].drop_name, sizes[0].name, units)


async def require_ready_database(regions: Regions) -> Schema:
    """Check the schema and our rights, through home or else a peer, and open the first connections. Starts over within
    START_BUDGET when a connection was lost or a transaction conflicted.

    Raises StatementsLost, SchemaBehind, MigrationError, RightsMissing, Conflict, and Unavailable when no Region
    answers.
    """

    async def attempt() -> Schema:
        pool = await regions.warm_up(WARM_CONNECTIONS)
        await require_kept_statements(pool.endpoint)
        schema = await require_current_schema(pool)
        await require_rights(pool)
        return schema

    return await run_again(attempt, START_BUDGET, safe_after_lost_commit=True, backoff=START_BACKOFF)


async def require_current_schema(pool: Pool) -> Schema:
    """Return how the database's schema compares with this version. Raises SchemaBehind, MigrationError, Conflict,
    Unavailable."""
    schema = await read_schema(pool, load_migrations(migrations_directory()))
    if schema.pending:
        raise SchemaBehind(
            f"the database lacks {len(schema.pending)} migrations, from {schema.pending[0]} on; "
            f"run: {how_to_migrate(pool.endpoint)}"
        )
    return schema


def web_identity(settings: Settings) -> WebIdentity | None:
    """The source of AWS credentials that the settings name; None for botocore's own chain."""
    federation = settings.federation
    if federation is None:
        return None
    return WebIdentity(federation.role_arn, federation.token, from_requests=federation.from_requests)
