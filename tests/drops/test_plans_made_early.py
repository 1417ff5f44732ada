"""Plans that PostgreSQL makes while a table is small, and keeps for its prepared statements."""

from uuid import UUID

import asyncpg
import pytest

from api.drops.purchase import _READ

_INSERT = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region)
SELECT gen_random_uuid(), gen_random_uuid(), 'buyer ' || number, 1, 'CONFIRMED', 'home'
FROM generate_series(1, $1) AS number
"""


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("orders", [0, 500])
async def test_a_transaction_looks_up_orders_by_their_ids_also_at_the_start_of_a_drop(
    database_url: str, mode: str, orders: int
) -> None:
    """Autovacuum learns a minute later that the table has grown. The drop is over by then."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_INSERT, orders)
        await connection.execute(f"SET plan_cache_mode = {mode}")
        await connection.execute(f"PREPARE read (uuid, text[], text[], text[]) AS {_READ}")
        ids = ",".join(str(UUID(int=number)) for number in range(12))
        rows = await connection.fetch(f"EXPLAIN EXECUTE read ('{UUID(int=1)}', '{{{ids}}}', '{{}}', '{{ada,bob}}')")
    finally:
        await connection.close()
    plan = "\n".join(row["QUERY PLAN"] for row in rows)
    assert "Seq Scan on orders" not in plan, plan
