"""A schema of lists whose rows are slow, fail, or wait."""

import asyncio
from time import thread_time
from typing import cast

import strawberry

from api.graphql.reference import PIECE
from api.identity.turns import LENGTH
from tests.patience import short

READ = short(0.5)
"""Seconds that `read` waits, without any CPU time."""


def work(seconds: float) -> None:
    """Keep the CPU busy for that long."""
    end = thread_time() + seconds
    while thread_time() < end:
        pass


def fails(number: int) -> bool:
    return number % 7 == 3


@strawberry.type
class Row:
    """A row whose fields are slow, fail, or wait, as their names say."""

    number: int

    @strawberry.field
    def slow(self) -> int:
        work(LENGTH)
        return self.number

    @strawberry.field
    def perhaps(self) -> int | None:
        if fails(self.number):
            raise ValueError(f"no {self.number}")
        return self.number

    @strawberry.field
    def surely(self) -> int:
        if fails(self.number):
            raise ValueError(f"no {self.number}")
        return self.number

    @strawberry.field
    async def later(self) -> int:
        await asyncio.sleep(0)
        return self.number

    @strawberry.field
    async def perhaps_later(self) -> int | None:
        await asyncio.sleep(0)
        return self.perhaps_now()

    @strawberry.field
    async def surely_later(self) -> int:
        await asyncio.sleep(0)
        return self.perhaps_now()

    @strawberry.field
    async def waits(self) -> int:
        """Wait for ever, in one row."""
        if self.number == 5:
            await asyncio.Event().wait()
        return self.number

    @strawberry.field
    def rows(self, count: int) -> "list[Row]":
        return rows(count)

    def perhaps_now(self) -> int:
        if fails(self.number):
            raise ValueError(f"no {self.number}")
        return self.number


def rows(count: int) -> list[Row]:
    return [Row(number=number) for number in range(count)]


@strawberry.type
class Query:
    @strawberry.field
    def rows(self, count: int) -> list[Row]:
        return rows(count)

    @strawberry.field
    def perhaps_rows(self, count: int) -> list[Row | None]:
        return [None if row.number % 5 == 1 else row for row in rows(count)]

    @strawberry.field
    def perhaps_all(self, count: int) -> list[Row] | None:
        return rows(count)

    @strawberry.field
    def a_generator(self, count: int) -> list[Row]:
        return cast("list[Row]", iter(rows(count)))

    @strawberry.field
    def perhaps_holed(self, count: int) -> list[Row] | None:
        return [*rows(count), cast("Row", None), *rows(count)]

    @strawberry.field
    def numbers(self, count: int) -> list[int]:
        return list(range(count))

    @strawberry.field
    def no_numbers(self) -> list[int]:
        return [*range(20), cast("int", None), 21]

    @strawberry.field
    def tables(self, count: int) -> list[list[int]]:
        return [list(range(number)) for number in range(count)]

    @strawberry.field
    async def read(self) -> list[Row]:
        await asyncio.sleep(READ)
        return rows(2 * PIECE)

    @strawberry.field
    async def later_rows(self, count: int) -> list[Row]:
        await asyncio.sleep(0)
        return rows(count)
