"""Finds a pooler before the database that loses prepared statements, as PgBouncer does in transaction mode.

dropzero keeps the statements that it has prepared on each connection. A pooler that shares a database's sessions among
its clients has to keep these statements, too. Most of the time a statement runs in a session that has it. So the loss
shows only under load, as an error that names no pooler.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import asyncpg

from api.database.connect import Connection, Connector
from api.database.endpoint import Endpoint
from api.database.errors import Unavailable, translate
from api.database.tokens import AuthTokens

logger = logging.getLogger("dropzero.database")

TIMEOUT = 5.0
"""Seconds for a statement of the check."""

ROUNDS = 3
"""Attempts to move a statement. A pooler with other clients can give a connection the same session twice by chance."""

_LOST = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
_STATEMENT_MODE = "statement pooling mode"  # PgBouncer's words: it refuses BEGIN in that mode without a code of its own


class StatementsLost(Exception):
    """A pooler loses prepared statements; the message says so and what to do."""


async def require_kept_statements(endpoint: Endpoint) -> None:
    """Make sure that a prepared statement lasts as long as its connection. Raises StatementsLost, Unavailable.

    Aurora DSQL has no pooler before it and is not tested. Elsewhere a connection knows the process of its session from
    its start. If statements run in another process, a pooler has answered, and it is tested.
    """
    if endpoint.dsql is not None:
        return
    connector = Connector(endpoint, AuthTokens())
    with _explained(endpoint.region):
        async with _connected(connector) as connection:
            async with _in_time(endpoint.region):
                process = await connection.prepare("SELECT pg_backend_pid()")
                if await process.fetchval() == connection.get_server_pid():
                    return
            async with _connected(connector) as other:
                if await _is_moved(process, other):
                    logger.info("%s is behind a pooler that keeps prepared statements", endpoint.region)


async def _is_moved(process: "asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]", other: Connection) -> bool:
    """Whether the statement runs in several sessions. Raises the driver's error if one of them does not know it.

    While `other` is in a transaction, a pooler that shares sessions has lent it the session that was used last. So the
    statement runs in another one.
    """
    async with asyncio.timeout(TIMEOUT):
        home = await process.fetchval()
        for _ in range(ROUNDS):
            transaction = other.transaction()
            await transaction.start()
            if await process.fetchval() != home:
                return True
            with suppress(Exception):  # an error of the rollback says no more than that of the statement
                await transaction.rollback()
    return False


@asynccontextmanager
async def _in_time(region: str) -> AsyncIterator[None]:
    """Raises Unavailable when the block takes longer than TIMEOUT."""
    try:
        async with asyncio.timeout(TIMEOUT):
            yield
    except TimeoutError:
        raise Unavailable(f"no answer from {region} within {TIMEOUT:g} seconds") from None


@contextmanager
def _explained(region: str) -> Iterator[None]:
    """Raise the driver's errors as StatementsLost or as `translate` names them."""
    try:
        yield
    except asyncpg.UndefinedFunctionError:
        return  # not PostgreSQL: the check cannot be made
    except TimeoutError:
        return  # the pooler has one session, which the other connection holds
    except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
        if isinstance(error, _LOST) or _STATEMENT_MODE in str(error):
            raise StatementsLost(
                f"{region} is behind a pooler that loses prepared statements, as PgBouncer does with "
                "pool_mode=transaction, and dropzero keeps its own on each connection; connect to the database itself, "
                "or to a pooler in session mode, or set max_prepared_statements=200 in PgBouncer 1.21 or later"
            ) from error
        named = translate(error)
        if named is None:
            raise
        raise named from error


@asynccontextmanager
async def _connected(connector: Connector) -> AsyncIterator[Connection]:
    connection = await connector.connect()
    try:
        yield connection
    finally:
        connection.terminate()
