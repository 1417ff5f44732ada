"""The database of the server: the rows that an attack needs, and what must be true afterwards."""

from collections.abc import Set as AbstractSet

import asyncpg

from bench.abuse.attack import ATTACKER, Seeds
from bench.abuse.documents import ORDERS_BUYER
from bench.abuse.purchases import HOLDERS, PURCHASE, variables
from bench.database import Database
from bench.products import execute, new_product, new_products
from bench.servers import Process

OTHER_PRODUCTS = 100
CANCELLED_EACH = 20_000
LIMIT = 1_000_000
"""Units that one buyer can hold of a product with a limit: more than any buyer here buys."""


def seed(server: Process, database: Database, seeds: Seeds) -> tuple[str, str, tuple[str, ...]]:
    """Create the products through the server, and what else an attack needs. Returns the ids of the product on sale, of
    a product that is sold out, and of OTHER_PRODUCTS others."""
    product_id = new_product(server, limit=LIMIT if seeds is Seeds.CANCELLED else None)
    sold_out_id, other_ids = new_product(server, stock=0), tuple(new_products(server, OTHER_PRODUCTS))

    async def cancelled(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
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
            for other_id in other_ids:
                execute(server, PURCHASE, variables(other_id, ORDERS_BUYER))
        case Seeds.CANCELLED:
            database.run(cancelled)  # orders that hold no units, so that no other table knows of them
        case Seeds.NONE:
            pass
    return product_id, sold_out_id, other_ids


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
