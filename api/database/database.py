"""What the rest of the project asks of a database, through one endpoint or through whichever Region answers."""

from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from api.database.pool import READ_TIMEOUT, TRANSACTION_TIMEOUT, Record, Transaction


class Database(Protocol):
    """Reads, and transactions at snapshot isolation. `Pool` is one endpoint's, `Regions` that of all of them.

    Arrays are passed as text[] and cast in the statement, as in `$1::text[]::uuid[]`: any other array's type asyncpg
    looks up on each new connection, and for that it changes settings, which Aurora DSQL does not allow.
    """

    @property
    def region(self) -> str:
        """The Region that the next statement would go through."""

    async def fetch(self, statement: str, *arguments: Any, timeout: float = READ_TIMEOUT) -> list[Record]:
        """Run one read outside a transaction. Raises Unavailable when there is no answer in `timeout` seconds."""

    async def fetchrow(self, statement: str, *arguments: Any) -> Record | None:
        """Run one read and return its first row, if any. Raises Unavailable."""

    def begin(self, timeout: float = TRANSACTION_TIMEOUT) -> AbstractAsyncContextManager[Transaction]:
        """Open a transaction, which has `timeout` seconds from here to its COMMIT; see Pool.begin."""
