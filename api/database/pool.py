"""A pool of connections to one regional endpoint, with a deadline on everything that can wait."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Self, TypeAlias, cast

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from api.database.connect import Connection, Connector, ConnectTimes
from api.database.endpoint import Endpoint
from api.database.errors import Conflict, DatabaseError, OutcomeUnknown, Unavailable, translate
from api.database.tokens import AuthTokens

Record: TypeAlias = asyncpg.Record
Lent: TypeAlias = "PoolConnectionProxy[Record]"

READ_TIMEOUT = 5.0
"""Seconds for a read outside of a transaction, connecting and trying again included."""

TRANSACTION_TIMEOUT = 10.0
"""Seconds for a transaction up to its COMMIT, connecting included. Aurora DSQL has no statement_timeout and no cancel
request, so the deadline is ours, and a connection that missed it is dropped rather than cancelled."""

READ_ATTEMPTS = 3
"""A pooled connection can have died since its last use, and a schema change answers reads with 40001 once."""


@dataclass(frozen=True, slots=True)
class PoolTimes:
    """Deadlines of a pool, in seconds.

    `connect`: for the connections that it opens.
    `acquire`: for a free connection, one that has to be opened included.
    `commit`: for the answer to a COMMIT, before its outcome counts as unknown.
    `close`: for connections to end properly. Nothing depends on that; those that take longer are dropped.
    """

    connect: ConnectTimes = ConnectTimes()
    acquire: float = 6.0
    commit: float = 5.0
    close: float = 1.0


def reserved_connections(size: int) -> int:
    """Connections of a pool that are kept for transactions: purchases do not wait for anybody's reads."""
    return min(2, (size - 1) // 2)


class Transaction:
    """One open transaction at snapshot isolation. Leaving its block without `commit` rolls it back."""

    def __init__(self, connection: Lent, region: str, deadline: asyncio.Timeout, commit_timeout: float) -> None:
        """`commit_timeout` in seconds; see PoolTimes."""
        self.region = region
        self._commit_timeout = commit_timeout
        self._connection = connection
        self._deadline = deadline
        # Sends BEGIN ISOLATION LEVEL REPEATABLE READ, the one level that Aurora DSQL has.
        self._transaction = connection.transaction(isolation="repeatable_read")
        self._open = False

    async def begin(self) -> None:
        with _errors_named(self._connection):
            await self._transaction.start()
        self._open = True

    async def fetch(self, statement: str, *arguments: Any) -> list[Record]:
        with _errors_named(self._connection):
            return await self._connection.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Record | None:
        with _errors_named(self._connection):
            return await self._connection.fetchrow(statement, *arguments)

    async def execute(self, statement: str, *arguments: Any) -> str:
        with _errors_named(self._connection):
            return await self._connection.execute(statement, *arguments)

    async def commit(self) -> None:
        """Commit. Raises Conflict, and OutcomeUnknown unless the database said whether it was done."""
        self._open = False
        self._deadline.reschedule(None)  # from here on a timeout means something else
        with _commit_named(self._connection, "COMMIT"):
            async with asyncio.timeout(self._commit_timeout):
                await self._transaction.commit()

    async def rollback(self) -> None:
        """Give the transaction up; nothing is left of it. Does nothing once it has been committed."""
        if self._open:
            self._open = False
            with _errors_named(self._connection):
                await self._transaction.rollback()


class Pool:
    """Connections to one regional endpoint, opened when first needed, at most `size` at a time."""

    def __init__(
        self, endpoint: Endpoint, size: int, tokens: AuthTokens | None = None, times: PoolTimes = PoolTimes()
    ) -> None:
        """`tokens` are shared by the pools of all Regions. Raises ValueError for a URL that cannot be used."""
        self.endpoint = endpoint
        self._size = size
        self._times = times
        self._connector = Connector(endpoint, tokens or AuthTokens(), times.connect)
        self._lent: set[Lent] = set()
        self._dropped_at = float("-inf")
        self._readers = asyncio.Semaphore(size - reserved_connections(size))
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

        async def connect(*_: object, **__: object) -> Connection:
            return await self._connector.connect()

        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=self._size,
            # By default asyncpg closes a connection after 50,000 statements, and whoever releases it then waits for
            # the server to hang up.
            max_queries=2**31,
            connect=connect,
            connection_class=Connection,
            reset=_keep_session,
        )

    async def warm_up(self, connections: int) -> None:
        """Open so many connections now, so that those who come first do not wait for them. Raises Unavailable."""
        async with AsyncExitStack() as lent:
            for _ in range(min(connections, self._size)):
                await lent.enter_async_context(self._connection())

    def drop_connections(self) -> None:
        """Let go of all connections, in whose midst the endpoint went silent. What waits on one fails at once:
        with Unavailable, or at its COMMIT with OutcomeUnknown. Connections that open from now on are not affected."""
        self._dropped_at = asyncio.get_running_loop().time()
        for connection in list(self._lent):
            _drop(connection)

    async def close(self) -> None:
        """Close every connection; those that do not end in time are dropped."""
        try:
            async with asyncio.timeout(self._times.close):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def fetch(self, statement: str, *arguments: Any, timeout: float = READ_TIMEOUT) -> list[Record]:
        """Run one read outside a transaction. Raises Unavailable when there is no answer in `timeout` seconds."""
        return await read_again([self] * READ_ATTEMPTS, statement, arguments, timeout)

    async def fetch_once(self, statement: str, arguments: tuple[Any, ...]) -> list[Record]:
        """Run one read, and leave trying again and deadlines to the caller. Raises Conflict, Unavailable."""
        async with self._readers, self._connection() as connection:
            with _errors_named(connection):
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
                transaction = Transaction(connection, self.region, deadline, self._times.commit)
                try:
                    await transaction.begin()
                    yield transaction
                except Exception:
                    with suppress(Exception):  # a broken connection cannot roll back, and need not
                        await transaction.rollback()
                    raise
                with suppress(DatabaseError):  # as little: what was read in the transaction is true all the same
                    await transaction.rollback()
        except TimeoutError:
            raise Unavailable(f"no answer within {timeout:g} seconds") from None

    async def execute(self, statement: str, *arguments: Any, timeout: float = TRANSACTION_TIMEOUT) -> None:
        """Run one statement in a transaction of its own, once, in `timeout` seconds.

        Raises Conflict; Unavailable when it was never sent; and OutcomeUnknown, as it commits by itself.
        """
        async with self._connection() as connection:
            with _commit_named(connection, "a statement"):
                async with asyncio.timeout(timeout):
                    await connection.execute(statement, *arguments)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Lent]:
        """Lend a connection."""
        connection = await self._acquire()
        self._lent.add(connection)
        try:
            yield connection
        except (TimeoutError, asyncio.CancelledError):
            _drop(connection)  # it may still be at work; nobody waits for it
            raise
        finally:
            self._lent.discard(connection)
            await self._release(connection)

    async def _acquire(self) -> Lent:
        """A connection that is neither too old nor from before the endpoint was lost. Raises Unavailable."""
        try:
            async with asyncio.timeout(self._times.acquire) as deadline:
                while True:
                    connection = await self._pool.acquire()
                    age = cast(Connection, connection)  # the pool's proxy passes on what it does not know
                    if age.retire_at > asyncio.get_running_loop().time() and age.opened_at > self._dropped_at:
                        return connection
                    _drop(connection)
                    await self._release(connection)
        except (asyncpg.InterfaceError, TimeoutError) as error:
            if isinstance(error, TimeoutError) and not deadline.expired():
                raise
            reason = str(error) or f"none within {self._times.acquire:g} seconds"
            raise Unavailable(f"no connection: {reason}") from error

    async def _release(self, connection: Lent) -> None:
        # The work is done, or its error is on the way out: neither is to be replaced by this one's. A connection
        # that cannot be given back has been dropped by asyncpg.
        with suppress(Exception):
            await self._pool.release(connection)


async def read_again(
    pools: "Sequence[Pool]", statement: str, arguments: tuple[Any, ...], timeout: float
) -> list[Record]:
    """Run one read through each of the pools in turn until it goes through. Raises the last one's Conflict or
    Unavailable, and Unavailable when there is no answer in `timeout` seconds."""
    try:
        async with asyncio.timeout(timeout):
            for pool in pools[:-1]:
                with suppress(Conflict, Unavailable):
                    return await pool.fetch_once(statement, arguments)
            return await pools[-1].fetch_once(statement, arguments)
    except TimeoutError:
        raise Unavailable(f"no answer within {timeout:g} seconds") from None


@contextmanager
def _errors_named(connection: Lent) -> Iterator[None]:
    """Raise the driver's errors as Conflict or Unavailable, and what is neither as it is.

    A connection that is Unavailable is dropped, so that the next attempt has another.
    """
    try:
        yield
    except Exception as error:
        named = translate(error)
        if named is None and _is_gone(connection):
            # asyncpg stumbles, with an AttributeError, over a connection that ends between two of its own steps.
            named = Unavailable(f"the connection is gone: {error or type(error).__name__}")
        if named is None:
            raise
        if isinstance(named, Unavailable):
            _drop(connection)
        raise named from error


@contextmanager
def _commit_named(connection: Lent, what: str) -> Iterator[None]:
    """Raise as OutcomeUnknown whatever does not say that nothing was committed: no answer, an answer that is not known
    to be a refusal, and the driver's own errors."""
    try:
        yield
    except Exception as error:
        named = translate(error)
        if isinstance(named, Conflict):
            raise named from error
        if named is None and isinstance(error, asyncpg.PostgresError):
            raise  # a refusal
        _drop(connection)
        raise OutcomeUnknown(f"no answer to {what}: {error or type(error).__name__}") from error


def _is_gone(connection: Lent) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # asyncpg's pool has parted with it
        return True


def _drop(connection: Lent) -> None:
    # A connection that was lost has left the pool by itself, and asyncpg then objects to our ending it.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _keep_session(connection: "asyncpg.Connection[Record]") -> None:
    """Stand in for asyncpg's reset on release: Aurora DSQL refuses its UNLISTEN, and we set no session state."""
