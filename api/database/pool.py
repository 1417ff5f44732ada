"""A pool of connections to one regional endpoint, with a deadline on everything that can wait."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from api.database.endpoint import Endpoint
from api.database.errors import Conflict, OutcomeUnknown, Unavailable, translate

Record: TypeAlias = asyncpg.Record
Connection: TypeAlias = "PoolConnectionProxy[Record]"

CONNECT_TIMEOUT = 5.0
"""Seconds to wait for a free connection, and for a new one to open."""

READ_TIMEOUT = 5.0
"""Seconds for a read outside of a transaction, connecting and trying again included."""

TRANSACTION_TIMEOUT = 10.0
"""Seconds for a transaction up to its COMMIT, connecting included. Aurora DSQL has no statement_timeout and no cancel
request, so the deadline is ours, and a connection that missed it is dropped rather than cancelled."""

COMMIT_TIMEOUT = 5.0
"""Seconds to wait for the answer to a COMMIT before its outcome counts as unknown."""

READ_ATTEMPTS = 3
"""A pooled connection can have died since its last use, and a schema change answers reads with 40001 once."""


class Transaction:
    """One open transaction at snapshot isolation. Leaving its block without `commit` rolls it back."""

    def __init__(self, connection: Connection, deadline: asyncio.Timeout) -> None:
        self._connection = connection
        self._deadline = deadline
        # Sends BEGIN ISOLATION LEVEL REPEATABLE READ, the one level that Aurora DSQL has.
        self._transaction = connection.transaction(isolation="repeatable_read")
        self._open = False

    async def begin(self) -> None:
        await self._transaction.start()
        self._open = True

    async def fetch(self, statement: str, *arguments: Any) -> list[Record]:
        return await self._connection.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Record | None:
        return await self._connection.fetchrow(statement, *arguments)

    async def execute(self, statement: str, *arguments: Any) -> str:
        return await self._connection.execute(statement, *arguments)

    async def commit(self) -> None:
        """Commit. Raises OutcomeUnknown when the connection, or the time, ran out before the answer came."""
        self._open = False
        self._deadline.reschedule(None)  # from here on a timeout means something else
        try:
            async with asyncio.timeout(COMMIT_TIMEOUT):
                await self._transaction.commit()
        except Exception as error:
            if isinstance(translate(error), Unavailable):
                _drop(self._connection)
                raise OutcomeUnknown(f"no answer to COMMIT: {error or type(error).__name__}") from error
            raise

    async def rollback(self) -> None:
        """Give the transaction up; nothing is left of it. Does nothing once it has been committed."""
        if self._open:
            self._open = False
            await self._transaction.rollback()


class Pool:
    """Connections to one regional endpoint, opened when first needed, at most `size` at a time."""

    def __init__(self, endpoint: Endpoint, size: int) -> None:
        self.endpoint = endpoint
        self._size = size
        self._pool: asyncpg.Pool[Record]

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def region(self) -> str:
        return self.endpoint.region

    async def open(self) -> None:
        """Make the pool usable. Connects to nothing yet, so it succeeds while the database is away."""
        self._pool = await asyncpg.create_pool(
            self.endpoint.url,
            min_size=0,
            max_size=self._size,
            # By default asyncpg closes a connection after 50,000 statements, and whoever releases it then waits for
            # the server to hang up.
            max_queries=2**31,
            timeout=CONNECT_TIMEOUT,
            reset=_keep_session,
            server_settings={"application_name": "dropzero"},
        )

    async def close(self) -> None:
        """Close every connection; those that do not end in time are dropped."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def fetch(self, statement: str, *arguments: Any, timeout: float = READ_TIMEOUT) -> list[Record]:
        """Run one read outside a transaction. Raises Unavailable when there is no answer in `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                for _ in range(READ_ATTEMPTS - 1):
                    with suppress(Conflict, Unavailable):
                        return await self._fetch(statement, arguments)
                return await self._fetch(statement, arguments)
        except TimeoutError:
            raise Unavailable(f"no answer within {timeout:g} seconds") from None

    async def _fetch(self, statement: str, arguments: tuple[Any, ...]) -> list[Record]:
        async with self._connection() as connection:
            return await connection.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Record | None:
        """Run one read and return its first row, if any. Raises Unavailable."""
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    @asynccontextmanager
    async def begin(self, timeout: float = TRANSACTION_TIMEOUT) -> AsyncIterator[Transaction]:
        """Open a transaction, which has `timeout` seconds from here to its COMMIT.

        Raises Conflict, Unavailable or OutcomeUnknown; whatever leaves its block without `commit`, an error or not,
        is rolled back.
        """
        try:
            async with asyncio.timeout(timeout) as deadline, self._connection() as connection:
                transaction = Transaction(connection, deadline)
                try:
                    await transaction.begin()
                    yield transaction
                except Exception:
                    with suppress(Exception):  # a broken connection cannot roll back, and need not
                        await transaction.rollback()
                    raise
                await transaction.rollback()
        except TimeoutError:
            raise Unavailable(f"no answer within {timeout:g} seconds") from None

    async def execute(self, statement: str, *arguments: Any, timeout: float = TRANSACTION_TIMEOUT) -> None:
        """Run one statement in a transaction of its own, once, in `timeout` seconds.

        Raises Conflict; Unavailable when it was never sent; and OutcomeUnknown, as it commits by itself.
        """
        async with self._connection() as connection:
            try:
                async with asyncio.timeout(timeout):
                    await connection.execute(statement, *arguments)
            except Exception as error:
                if isinstance(translate(error), Unavailable):
                    _drop(connection)
                    raise OutcomeUnknown(f"no answer to a statement: {error or type(error).__name__}") from error
                raise

    async def ping(self) -> float:
        """Ask the database for nothing and return how long that took, in milliseconds. Raises Unavailable."""
        started = time.perf_counter()
        await self.fetch("SELECT 1")
        return (time.perf_counter() - started) * 1000

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Lend a connection, and give the driver's errors our names on the way out."""
        connection = await self._acquire()
        try:
            yield connection
        except BaseException as error:
            if isinstance(error, (TimeoutError, asyncio.CancelledError)):
                _drop(connection)  # it may still be at work; nobody waits for it
            named = translate(error)
            if named is None:
                raise
            raise named from error
        finally:
            # The work is done, or its error is on the way out: neither is to be replaced by this one's. A connection
            # that cannot be given back has been dropped by asyncpg.
            with suppress(Exception):
                await self._pool.release(connection)

    async def _acquire(self) -> Connection:
        try:
            return await self._pool.acquire(timeout=CONNECT_TIMEOUT)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            # Whatever the reason, a refused login, a database that takes no connections, one too many of them.
            raise Unavailable(f"no connection: {str(error) or type(error).__name__}") from error


def _drop(connection: Connection) -> None:
    # A connection that was lost has left the pool by itself, and asyncpg then objects to our ending it.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _keep_session(connection: "asyncpg.Connection[Record]") -> None:
    """Stand in for asyncpg's reset on release: Aurora DSQL refuses its UNLISTEN, and we set no session state."""
