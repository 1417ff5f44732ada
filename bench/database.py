"""The embedded PostgreSQL under the servers that are measured, reached directly."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import asyncpg

STOCK = 100_000_000
"""Units of a product that nothing is to sell out."""

T = TypeVar("T")


@dataclass(frozen=True)
class Database:
    """The database in the data folder of a server that runs."""

    data: Path

    @property
    def socket_folder(self) -> Path:
        return self.data / "postgres"

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.socket_folder}"

    def run(self, question: "Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[T]]") -> T:
        """Ask over a connection of its own."""

        async def ask() -> T:
            connection = await asyncpg.connect(self.url)
            try:
                return await question(connection)
            finally:
                await connection.close()

        return asyncio.run(ask())

    def set_commit_delay(self, milliseconds: int) -> None:
        """Make every commit take that much longer, from the next on.

        Sessions take the setting when they begin, so those of the servers are ended; they open new ones.
        """

        async def change(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
            await connection.execute(f"ALTER DATABASE postgres SET commit_delay = {milliseconds * 1000}")
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )

        self.run(change)

    def new_product(self, stock: int = STOCK) -> str:
        """The id of a new product."""

        async def insert(connection: "asyncpg.Connection[asyncpg.Record]") -> str:
            product_id = await connection.fetchval(
                "INSERT INTO products (id, name, drop_name) VALUES (gen_random_uuid(), 'Tee', 'Bench') RETURNING id"
            )
            await connection.execute(
                "INSERT INTO inventory (id, product_id, stock, stocked) "
                "VALUES (gen_random_uuid(), $1, $2::integer, $2::integer)",
                product_id,
                stock,
            )
            return str(product_id)

        return self.run(insert)

    def order_ids(self, product_id: str) -> set[str]:
        """The ids of a product's orders, which must account for every unit that is gone."""

        async def read(connection: "asyncpg.Connection[asyncpg.Record]") -> set[str]:
            rows = await connection.fetch(
                "SELECT orders.id, quantity, stocked - stock AS gone FROM inventory "
                "LEFT JOIN orders USING (product_id) WHERE product_id = $1",
                product_id,
            )
            orders = [row for row in rows if row["id"] is not None]
            if rows[0]["gone"] != sum(row["quantity"] for row in orders):
                raise SystemExit(f"{rows[0]['gone']} units are gone, and {len(orders)} orders do not account for them")
            return {str(row["id"]) for row in orders}

        return self.run(read)
