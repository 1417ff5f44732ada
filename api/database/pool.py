"""A pool of connections to one regional endpoint, with a deadline for every wait."""

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

# PoolConnectionProxy is what asyncpg.Pool.acquire returns. asyncpg does not document it, nor does its `__init__` export
# it; import it from there as soon as it does.
Lent: TypeAlias = "PoolConnectionProxy[Record]"

READ_TIMEOUT = 5.0
"""Seconds for a read outside a transaction, connecting and retries included."""

TRANSACTION_TIMEOUT = 10.0
"""Seconds for a transaction up to its COMMIT, connecting included. Aurora DSQL has no statement_timeout and no cancel
request, so this process keeps the deadline, and drops a connection that missed it."""

READ_ATTEMPTS = 3
"""Attempts of a read. A pooled connection can have died since its last use, and after a schema change a read is
answered with 40001 once."""


@dataclass(frozen=True, slots=True)
class PoolTimes:
    """Deadlines of a pool, in seconds.

    `connect`: for the connections that it opens.
    `acquire`: for a free connection, including the time to open one.
    `commit`: for the answer to a COMMIT, before its outcome counts as unknown.
    `close`: for connections to end properly. Nothing depends on that; a connection that takes longer is dropped.
    """

    connect: ConnectTimes = ConnectTimes()
    acquire: float = 6.0
    commit: float = 5.0
    close: float = 1.0


def reserved_connections(size: int) -> int:
    """How many connections of a pool are kept for transactions, so that purchases do not wait for reads."""
    return min(2, (size - 1) // 2)


def long_reads(size: int) -> int:
    """How many reads of a pool may take long, so that they leave one connection to all other reads."""
    return size - reserved_connections(size) - 1


class Transaction:
    """One open transaction at snapshot isolation. It is rolled back when its block ends without `commit`."""

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
        """Commit. Raises Conflict, PostgresError for a COMMIT that the database refuses, and OutcomeUnknown when its
        answer does not say whether the transaction was committed."""
        self._open = False
        self._deadline.reschedule(None)  # a COMMIT has a timeout of its own
        with _commit_named(self._connection, "COMMIT"):
            async with asyncio.timeout(self._commit_timeout):
                await self._transaction.commit()

    async def rollback(self) -> None:
        """Roll back. Does nothing after `commit`, whatever its outcome."""
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
        """Make the pool usable. Opens no connection yet, so it succeeds while the database is away."""

        async def connect(*_: object, **__: object) -> Connection:
            return await self._connector.connect()

        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=self._size,
            # By default asyncpg closes a connection after 50,000 statements, and its release then waits until the
            # server has closed it, too.
            max_queries=2**31,
            connect=connect,
            connection_class=Connection,
            reset=_keep_session,
        )

    async def warm_up(self, connections: int) -> None:
        """Open so many connections now, so that the first requests do not wait for them. Raises Unavailable."""
        async with AsyncExitStack() as lent:
            for _ in range(min(connections, self._size)):
                await lent.enter_async_context(self._connection())

    def drop_connections(self) -> None:
        """Drop all connections, because the endpoint does not answer. Work that waits for one fails at once, with
        Unavailable, or at its COMMIT with OutcomeUnknown. Connections that open from now on are not affected."""
        self._dropped_at = asyncio.get_running_loop().time()
        for connection in list(self._lent):
            _drop(connection)

    async def close(self) -> None:
        """Close every connection, and drop those that do not end in time."""
        try:
            async with asyncio.timeout(self._times.close):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def fetch(self, statement: str, *arguments: Any, timeout: float = READ_TIMEOUT) -> list[Record]:
        """Run one read outside a transaction, with retries. Raises Conflict, and Unavailable, as when no answer comes
        in `timeout` seconds."""
        return await read_again([self] * READ_ATTEMPTS, statement, arguments, timeout)

    async def fetch_once(self, statement: str, arguments: tuple[Any, ...]) -> list[Record]:
        """Run one read, without retries or a deadline. Raises Conflict, Unavailable."""
        async with self._readers, self._connection() as connection:
            with _errors_named(connection):
                return await connection.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Record | None:
        """Run one read and return its first row, if any. Raises as `fetch` does."""
        rows = await self.fetch(statement, *arguments)
        return rows[0] if rows else None

    @asynccontextmanager
    async def begin(self, timeout: float = TRANSACTION_TIMEOUT) -> AsyncIterator[Transaction]:
        """Open a transaction, which has `timeout` seconds until its COMMIT.

        Raises Conflict, Unavailable or OutcomeUnknown. The transaction is rolled back when its block ends without
        `commit`, with an error or without.
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
                with suppress(DatabaseError):  # a failed rollback does no harm: what the transaction read is true
                    await transaction.rollback()
        except TimeoutError:
            raise Unavailable(f"no answer within {timeout:g} seconds") from None

    @asynccontextmanager
    async def begin_reading(self, timeout: float) -> AsyncIterator[Transaction]:
        """Open a transaction that only reads, for `timeout` seconds at most. It counts as a read: however many there
        are, the reserved connections stay free for purchases. Raises as `begin` does."""
        try:
            async with asyncio.timeout(self._times.acquire):
                await self._readers.acquire()
        except TimeoutError:
            raise Unavailable(f"no connection for a read within {self._times.acquire:g} seconds") from None
        try:
            async with self.begin(timeout) as transaction:
                yield transaction
        finally:
            self._readers.release()

    async def execute(self, statement: str, *arguments: Any, timeout: float = TRANSACTION_TIMEOUT) -> str:
        """Run one statement in a transaction of its own, once, in `timeout` seconds. Returns its command tag, such as
        "INSERT 0 3".

        Raises Conflict; Unavailable when it was never sent; and OutcomeUnknown when it got no answer, since the
        statement commits by itself.
        """
        async with self._connection() as connection:
            with _commit_named(connection, "a statement"):
                async with asyncio.timeout(timeout):
                    return await connection.execute(statement, *arguments)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Lent]:
        """Lend a connection."""
        connection = await self._acquire()
        self._lent.add(connection)
        try:
            yield connection
        except (TimeoutError, asyncio.CancelledError):
            _drop(connection)  # its statement may still run, and nobody waits for the answer
            raise
        finally:
            self._lent.discard(connection)
            await self._release(connection)

    async def _acquire(self) -> Lent:
        """Acquire a connection that is not too old, and was opened after the last `drop_connections`. Raises
        Unavailable."""
        try:
            async with asyncio.timeout(self._times.acquire) as deadline:
                while True:
                    connection = await self._pool.acquire()
                    # The proxy's __getattr__ returns attributes of the connection behind it, which is ours.
                    age = cast(Connection, connection)
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
        # The work is done or has raised: an error of the release must not replace its outcome. asyncpg itself drops a
        # connection that it cannot release.
        with suppress(Exception):
            await self._pool.release(connection)


async def read_again(
    pools: "Sequence[Pool]", statement: str, arguments: tuple[Any, ...], timeout: float
) -> list[Record]:
    """Run one read through each of the pools in turn, until it succeeds. Raises the last attempt's Conflict or
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
    """Raise the driver's errors as Conflict or Unavailable, and any other error as it is.

    The connection is dropped on Unavailable, so that the next attempt gets another.
    """
    try:
        yield
    except Exception as error:
        named = translate(error)
        if named is None and _is_gone(connection):
            # asyncpg raises AttributeError when a connection ends between two of its own steps.
            named = Unavailable(f"the connection is gone: {error or type(error).__name__}")
        if named is None:
            raise
        if isinstance(named, Unavailable):
            _drop(connection)
        raise named from error


@contextmanager
def _commit_named(connection: Lent, what: str) -> Iterator[None]:
    """Raise every error as OutcomeUnknown, unless it proves that nothing was committed: Conflict, or a refusal by the
    database. A missing answer, an unknown answer and the driver's own errors prove nothing."""
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
    except asyncpg.InterfaceError:  # asyncpg's pool has already released it
        return True


def _drop(connection: Lent) -> None:
    # asyncpg's pool has already released a connection that broke, and raises when it is terminated.
    with suppress(asyncpg.InterfaceError):
        connection.terminate()


async def _keep_session(connection: "asyncpg.Connection[Record]") -> None:
    """Stand in for asyncpg's reset on release: Aurora DSQL refuses its UNLISTEN, and we set no session state."""
