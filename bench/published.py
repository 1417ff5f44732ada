"""The published loop's own stock: one row for each product, in a table that the server does not know.

The peer on Node decrements that row and writes its orders to the server's table, as the published loop does.
"""

from collections.abc import Set as AbstractSet

import asyncpg

from bench.database import Database
from bench.products import STOCK


def new_product(database: Database) -> str:
    """Create a row of stock, and its table at the first call. Returns the product's id."""

    async def insert(connection: "asyncpg.Connection[asyncpg.Record]") -> str:
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS published_stock "
            "(product_id uuid PRIMARY KEY, stock integer NOT NULL CHECK (stock >= 0), version bigint NOT NULL)"
        )
        created = await connection.fetchval(
            "INSERT INTO published_stock VALUES (gen_random_uuid(), $1, 1) RETURNING product_id", STOCK
        )
        return str(created)

    return database.run(insert)


def check_books(database: Database, product_id: str, told: AbstractSet[str], in_flight: int) -> None:
    """Check that the orders account for every unit that is gone, that every confirmed answer has its order, and every
    order its confirmed answer. Ends the bench otherwise.

    Purchases in flight when wrk closed its connections may have an order without an answer.
    """

    async def read(connection: "asyncpg.Connection[asyncpg.Record]") -> tuple[int, set[str]]:
        rows = await connection.fetch(
            "SELECT orders.id, stock FROM published_stock LEFT JOIN orders USING (product_id) WHERE product_id = $1",
            product_id,
        )
        return STOCK - rows[0]["stock"], {str(row["id"]) for row in rows if row["id"] is not None}

    gone, orders = database.run(read)
    if gone != len(orders) or not told <= orders or len(orders - told) > in_flight:
        raise SystemExit(f"{gone} units are gone, with {len(orders)} orders, and {len(told)} were told confirmed")
