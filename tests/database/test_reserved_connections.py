"""Some of a pool's connections are kept for transactions, however many reads there are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Unavailable
from api.database.pool import Pool, Record, reserved_connections
from tests.locks import blocked, table_locked, until_blocked
from tests.patience import PATIENCE, PATIENT_TIMES, short

SIZE = 5
READ = "SELECT count(*) FROM orders"


@pytest.fixture
async def pool(postgres_url: str) -> AsyncIterator[Pool]:
    """A small pool."""
    async with Pool(Endpoint("here", postgres_url), SIZE, times=PATIENT_TIMES.pool) as pool:
        yield pool


def reading(pool: Pool, number: int, timeout: float = PATIENCE) -> list[asyncio.Task[list[Record]]]:
    return [asyncio.create_task(pool.fetch(READ, timeout=timeout)) for _ in range(number)]


@pytest.mark.parametrize(
    ("size", "reserved"), [(1, 0), (2, 0), (3, 1), (4, 1), (5, 2), (6, 2), (10, 2), (100, 2), (1000, 2)]
)
def test_two_connections_are_kept_if_reads_have_as_many(size: int, reserved: int) -> None:
    assert reserved_connections(size) == reserved


async def test_reads_leave_transactions_their_connections(pool: Pool, behind: Pool) -> None:
    async with table_locked(behind, "orders"):
        reads = reading(pool, 10 * SIZE)
        await until_blocked(behind, SIZE - 2)

        async with asyncio.timeout(PATIENCE), pool.begin(PATIENCE) as first, pool.begin(PATIENCE) as second:
            assert [tuple(row) for row in await first.fetch("SELECT 1")] == [(1,)]
            assert await second.fetchrow("SELECT 2")
            await first.commit()
        async with asyncio.timeout(PATIENCE):
            await pool.execute("SELECT 3")
        assert await blocked(behind) == SIZE - 2, "reads have all that they may have, and no more"
        assert not any(read.done() for read in reads)

    answers = await asyncio.gather(*reads)
    assert {rows[0]["count"] for rows in answers} == {0}


async def test_a_read_that_waits_in_vain_is_unavailable_and_keeps_no_connection(pool: Pool, behind: Pool) -> None:
    async with table_locked(behind, "orders"):
        reads = reading(pool, SIZE - 2)
        await until_blocked(behind, SIZE - 2)
        late = reading(pool, 20, short(0.1))
        answers = await asyncio.gather(*late, return_exceptions=True)
        assert {type(answer) for answer in answers} == {Unavailable}
        leaving = reading(pool, 5)
        await asyncio.sleep(0)
        for read in leaving:
            read.cancel()
        await asyncio.wait(leaving)
    await asyncio.gather(*reads)

    async with table_locked(behind, "orders"):
        again = reading(pool, 2 * SIZE)
        await until_blocked(behind, SIZE - 2)
    await asyncio.gather(*again)


async def test_transactions_may_have_all_connections_while_there_are_no_reads(pool: Pool) -> None:
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as open_ones:
        transactions = [await open_ones.enter_async_context(pool.begin(PATIENCE)) for _ in range(SIZE)]
        for transaction in transactions:
            assert await transaction.fetch("SELECT 1")


@pytest.mark.parametrize("size", [1, 2])
async def test_the_smallest_pools_can_read(postgres_url: str, size: int) -> None:
    async with Pool(Endpoint("here", postgres_url), size, times=PATIENT_TIMES.pool) as pool:
        assert len(await asyncio.gather(*reading(pool, 10))) == 10
