"""The interface of a database, for the rest of the project: one endpoint, or the Regions that answer."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from api.database.pool import READ_TIMEOUT, TRANSACTION_TIMEOUT, Record, Transaction


class Database(Protocol):
    """Reads, and transactions at snapshot isolation. A `Pool` is the database of one endpoint, `Regions` that of all.

    Pass arrays as text[] and cast them in the statement, as in `$1::text[]::uuid[]`. asyncpg looks up the type of any
    other array on each new connection, and changes settings for that, which Aurora DSQL does not allow.
    """

    @property
    def region(self) -> str:
        """The Region that the next statement goes through."""

    async def fetch(self, statement: str, *arguments: Any, timeout: float = READ_TIMEOUT) -> list[Record]:
        """Run one read outside a transaction. Raises Conflict, and Unavailable, as when there is no answer in `timeout`
        seconds."""

    async def fetchrow(self, statement: str, *arguments: Any) -> Record | None:
        """Run one read and return its first row, if any. Raises as `fetch` does."""

    def begin(self, timeout: float = TRANSACTION_TIMEOUT) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction, which has `timeout` seconds until its COMMIT; see Pool.begin."""

    def begin_reading(self, timeout: float) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction that only reads, for `timeout` seconds at most; see Pool.begin_reading."""
