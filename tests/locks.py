"""Locks in the test's database, for which a server's reads and transactions wait."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from api.database.pool import Pool
from tests.patience import PATIENCE, until


@asynccontextmanager
async def table_locked(behind: Pool, table: str) -> AsyncIterator[None]:
    """Lock the table until the block is left: no other transaction can read it."""
    async with behind.begin(PATIENCE) as transaction:
        await transaction.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
        yield


@asynccontextmanager
async def stock_held(behind: Pool, product_id: UUID | str) -> AsyncIterator[None]:
    """Lock the product's shards until the block is left: no purchase can commit, but the stock can be read."""
    async with behind.begin(PATIENCE) as transaction:
        await transaction.fetch("SELECT 1 FROM stock_shards WHERE product_id = $1 FOR UPDATE", product_id)
        yield


async def blocked(behind: Pool) -> int:
    """The number of statements that wait for a lock, each on a connection of its own."""
    query = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    return len(await behind.fetch(query))


async def until_blocked(behind: Pool, number: int = 1) -> None:
    """Wait until `number` statements wait for a lock."""

    async def are_blocked() -> bool:
        return await blocked(behind) == number

    await until(are_blocked)


async def connections(behind: Pool) -> set[int]:
    """The process ids of all connections to the test's database."""
    rows = await behind.fetch("SELECT pid FROM pg_stat_activity WHERE datname = current_database()")
    return {row["pid"] for row in rows}
