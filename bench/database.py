"""The embedded PostgreSQL of the servers that are measured, over connections of the bench."""

import asyncio
from collections.abc import Awaitable, Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import asyncpg

T = TypeVar("T")


@dataclass(frozen=True)
class Database:
    """The database in the data folder of a running server."""

    data: Path

    @property
    def socket_folder(self) -> Path:
        return self.data / "postgres"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.socket_folder}"

    def run(self, question: "Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[T]]") -> T:
        """Run a coroutine with a connection of its own."""

        async def ask() -> T:
            connection = await asyncpg.connect(self.url)
            try:
                return await question(connection)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def set_commit_delay(self, milliseconds: int) -> None:
        """Make every commit from now on take this much longer.

        A session reads the setting when it begins. So the sessions of the servers are ended, and they open new ones.
        """

        async def change(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
            await connection.execute(f"ALTER DATABASE postgres SET commit_delay = {milliseconds * 1000}")
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )

        self.run(change)

    def order_ids(self, product_id: str) -> set[str]:
        """The ids of a product's orders. Ends the bench if they do not account for every unit that is gone.

        One statement reads both, because they must be of one snapshot: a purchase whose connection wrk has closed may
        be committed meanwhile.
        """

        async def read(connection: "asyncpg.Connection[asyncpg.Record]") -> set[str]:
            sharded = await connection.fetchval("SELECT to_regclass('stock_shards') IS NOT NULL")
            rows = await connection.fetch(
                "SELECT orders.id, quantity, level.gone FROM (SELECT sum(stocked - stock)::bigint AS gone "
                f"FROM {'stock_shards' if sharded else 'inventory'} WHERE product_id = $1) AS level "
                "LEFT JOIN orders ON product_id = $1",
                product_id,
            )
            orders = [row for row in rows if row["id"] is not None]
            if rows[0]["gone"] != sum(row["quantity"] for row in orders):
                raise SystemExit(f"{rows[0]['gone']} units are gone, and {len(orders)} orders do not account for them")
            return {str(row["id"]) for row in orders}

        return self.run(read)

    def check_books(self, product_id: str, told: AbstractSet[str], in_flight: int) -> None:
        """Check that every confirmed answer has its order, and every order its confirmed answer.

        Purchases in flight when wrk closed its connections may have an order without an answer.
        """
        orders = self.order_ids(product_id)
        if not told <= orders or len(orders - told) > in_flight:
            raise SystemExit(f"{len(orders)} orders, but {len(told)} were told confirmed")
