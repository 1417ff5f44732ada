"""A database whose transactions are traced: a span for each statement. Made only for a transaction that has a span."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from api.database.database import Database
from api.database.pool import READ_TIMEOUT, TRANSACTION_TIMEOUT, Record, Transaction

if TYPE_CHECKING:
    from api.tracing.span import Span

_SUMMARY = re.compile(r"\s*(?:(SELECT)\b.*\n\s*FROM|(UPDATE)|(INSERT) INTO|(DELETE) FROM)\s+(\w+)", re.DOTALL)

_POSTGRESQL = {"db.system.name": "postgresql"}


class TracedDatabase:
    """Another database, with spans for its transactions within one span."""

    def __init__(self, database: Database, span: "Span") -> None:
        self._database = database
        self._span = span

    @property
    def region(self) -> str:
        return self._database.region

    async def fetch(self, statement: str, *arguments: Any, timeout: float = READ_TIMEOUT) -> list[Record]:
        return await self._database.fetch(statement, *arguments, timeout=timeout)

    async def fetchrow(self, statement: str, *arguments: Any) -> Record | None:
        return await self._database.fetchrow(statement, *arguments)

    def begin_reading(self, timeout: float) -> AbstractAsyncContextManager[Transaction]:
        return self._database.begin_reading(timeout)

    @asynccontextmanager
    async def begin(self, timeout: float = TRANSACTION_TIMEOUT) -> AsyncIterator[Transaction]:
        """See Pool.begin. The span of BEGIN includes the wait for a connection."""
        opening = self._database.begin(timeout)
        with _statement(self._span, "BEGIN"):
            transaction = await opening.__aenter__()
        async with AsyncExitStack() as stack:
            stack.push_async_exit(opening)
            self._span.set("dropzero.region", transaction.region)
            yield _TracedTransaction(transaction, self._span)


class _TracedTransaction(Transaction):
    """Another transaction, with a span for each statement."""

    def __init__(self, transaction: Transaction, span: "Span") -> None:
        self.region = transaction.region
        self._traced = transaction
        self._span = span

    async def begin(self) -> None:
        await self._traced.begin()

    async def fetch(self, statement: str, *arguments: Any) -> list[Record]:
        with _statement(self._span, statement):
            return await self._traced.fetch(statement, *arguments)

    async def fetchrow(self, statement: str, *arguments: Any) -> Record | None:
        with _statement(self._span, statement):
            return await self._traced.fetchrow(statement, *arguments)

    async def execute(self, statement: str, *arguments: Any) -> str:
        with _statement(self._span, statement):
            return await self._traced.execute(statement, *arguments)

    async def commit(self) -> None:
        with _statement(self._span, "COMMIT"):
            await self._traced.commit()

    async def rollback(self) -> None:
        await self._traced.rollback()


@contextmanager
def _statement(within: "Span", statement: str) -> Iterator[None]:
    """A span for one statement. It has no argument of the statement, and not its text, which `api/drops` has."""
    span = within.child(summary_of(statement), _POSTGRESQL, calls=True)
    try:
        yield
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.end()


@lru_cache
def summary_of(statement: str) -> str:
    """What a statement does, and to which table: "UPDATE stock_shards"."""
    found = _SUMMARY.match(statement)
    return statement.split(None, 1)[0] if found is None else " ".join(filter(None, found.groups()))
