"""A pool whose work ends in the middle, as that of a process that is killed."""

import contextlib
from collections.abc import AsyncIterator, Iterator

from api.database.endpoint import Endpoint
from api.database.pool import Pool, Record, Transaction
from api.database.tokens import AuthTokens
from tests.patience import PATIENT_TIMES


class Killed(Exception):
    """Stands for the end of the process."""


class Mortal(Pool):
    """Raises `end` at its statement number `at`: `before` the statement is sent, or after it was done."""

    def __init__(
        self, endpoint: Endpoint, at: int, end: type[Exception], *, before: bool, tokens: AuthTokens | None = None
    ) -> None:
        super().__init__(endpoint, 1, tokens, PATIENT_TIMES.pool)
        self._left = at
        self._end = end
        self._before = before

    @property
    def ended(self) -> bool:
        """Whether the work had enough statements to be ended."""
        return self._left <= 0

    async def execute(self, statement: str, *arguments: object, timeout: float = 10.0) -> str:
        with self._counted():
            return await super().execute(statement, *arguments, timeout=timeout)

    async def fetch(self, statement: str, *arguments: object, timeout: float = 5.0) -> list[Record]:
        with self._counted():
            return await super().fetch(statement, *arguments, timeout=timeout)

    @contextlib.asynccontextmanager
    async def begin(self, timeout: float = 10.0) -> AsyncIterator[Transaction]:
        with self._counted():
            async with super().begin(timeout) as transaction:
                yield transaction

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        self._left -= 1
        if self._left == 0 and self._before:
            raise self._end
        yield
        if self._left == 0:
            raise self._end
