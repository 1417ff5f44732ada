"""The database of the server: the rows that an attack needs, and what must be true afterwards."""

from collections.abc import Set as AbstractSet

import asyncpg

from bench.abuse.attack import ATTACKER, Seeds
from bench.abuse.documents import ORDERS_BUYER
from bench.abuse.purchases import HOLDERS
from bench.database import Database

CANCELLED_EACH = 20_000
LIMIT = 1_000_000
"""Units that one buyer can hold of a product with a limit: more than any buyer here buys."""


def seed(database: Database, seeds: Seeds, product_id: str, other_ids: tuple[str, ...]) -> None:
    """Write the rows that an attack needs."""

    async def orders(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO orders (id, product_id, user_ref, quantity, status, region) "
                "SELECT gen_random_uuid(), id, $1, 1, 'CONFIRMED', 'bench' FROM unnest($2::text[]::uuid[]) AS id",
                ORDERS_BUYER,
                other_ids,
            )
            await connection.execute(
                "UPDATE inventory SET stock = stock - 1 WHERE product_id = ANY($1::text[]::uuid[])", other_ids
            )

    async def cancelled(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await connection.execute("UPDATE products SET limit_per_buyer = $1 WHERE id = $2", LIMIT, product_id)
        await connection.execute(
            "INSERT INTO orders (id, product_id, user_ref, quantity, status, region) "
            "SELECT gen_random_uuid(), $1, buyer, 1, 'CANCELLED', 'bench' "
            "FROM unnest($2::text[]) AS buyer, generate_series(1, $3)",
            product_id,
            HOLDERS,
            CANCELLED_EACH,
        )
        await connection.execute("ANALYZE orders")

    match seeds:
        case Seeds.ORDERS:
            database.run(orders)
        case Seeds.CANCELLED:
            database.run(cancelled)
        case Seeds.NONE:
            pass


def objection(database: Database, product_id: str, confirmed: AbstractSet[str], lost: int) -> str:
    """What is wrong with the books of the honest buyers.

    It is empty if each confirmed answer has its order, and each of their orders its answer. `lost` purchases had no
    answer, and may have an order.
    """

    async def read(connection: "asyncpg.Connection[asyncpg.Record]") -> set[str]:
        rows = await connection.fetch(
            "SELECT id FROM orders WHERE product_id = $1 AND status = 'CONFIRMED' AND NOT starts_with(user_ref, $2)",
            product_id,
            ATTACKER,
        )
        return {str(row["id"]) for row in rows}

    orders = database.run(read)
    missing, unheard = len(confirmed - orders), len(orders - confirmed)
    if missing or unheard > lost:
        return f"{missing} confirmed orders are missing, and {unheard} orders have no answer; {lost} answers were lost"
    return ""
