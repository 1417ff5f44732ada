"""A database as a shop has it after a while, for the tests of plans: small tables would be read from end to end."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.drops.new_product import NewProduct, create_product
from tests.patience import PATIENT_TIMES

DROP, BUYER = "Drop 7", "many 7"

FILL = (
    """
    INSERT INTO products (id, name, drop_name, created_at, opens_at, changed_at)
    SELECT gen_random_uuid(), 'Tee', 'Drop ' || n % 500, now() - n / 3 * interval '1 minute',
        CASE WHEN n % 3 > 0 THEN now() + (n % 400 - 300) * interval '1 hour' END, now() - n / 3 * interval '1 minute'
    FROM generate_series(1, 5000) AS n
    """,
    """
    INSERT INTO drops (id, slug, name, created_at)
    SELECT md5('Drop ' || n)::uuid, 'drop-' || n, 'Drop ' || n, now() - n * interval '1 minute'
    FROM generate_series(1, 2000) AS n ON CONFLICT DO NOTHING
    """,
    """
    INSERT INTO stock_shards (product_id, shard, stock, stocked, version)
    SELECT id, shard, 5, 5, 1 FROM products, generate_series(0, 15) AS shard
    ON CONFLICT (product_id, shard) DO NOTHING
    """,
    """
    INSERT INTO orders (id, product_id, user_ref, quantity, status, region, created_at)
    SELECT gen_random_uuid(), products.id, 'many ' || n % 4000, 1 + n % 2, 'CONFIRMED', 'here',
           now() - n / 3 * interval '1 minute'
    FROM products, generate_series(1, CASE name WHEN 'hot' THEN 12000 WHEN 'cold' THEN 3000 ELSE 1 END) AS n
    """,
    "INSERT INTO holdings (product_id, user_ref, units) "
    "SELECT product_id, user_ref, sum(quantity) FROM orders GROUP BY product_id, user_ref",
    """
    UPDATE orders SET held_until = now() + interval '1 minute'
    WHERE id IN (SELECT id FROM orders ORDER BY created_at LIMIT 200)
    """,
    "INSERT INTO operator_log (id, operator, action, product_id, changes) "
    "SELECT gen_random_uuid(), 'ada', 'PRODUCT_PAUSED', id, '[]' FROM products, generate_series(1, 5)",
    """
    INSERT INTO activity (product_id, at, process, seconds, data)
    SELECT products.id, now() - n * interval '5 minutes', gen_random_uuid(), 2,
        '{"outcomes": {}, "transactions": {}, "attempts": 0, "seconds": []}'
    FROM products, generate_series(1, CASE name WHEN 'hot' THEN 12000 WHEN 'cold' THEN 3000 ELSE 1 END) AS n
    """,
    """
    INSERT INTO processes (id, name, version, started_at, seen_at, data)
    SELECT gen_random_uuid(), 'host:' || n, '1.0', now(), now() - interval '1 minute', '{}'
    FROM generate_series(1, 2000) AS n
    """,
    """
    UPDATE orders SET status = 'CANCELLED', lapsed_at = CASE WHEN quantity % 2 = 0 THEN now() END
    WHERE id IN (SELECT id FROM orders ORDER BY created_at DESC LIMIT 2000)
    """,
    "INSERT INTO restocks (id, product_id, delta) SELECT gen_random_uuid(), id, 1 FROM products",
    "UPDATE products SET archived_at = now() WHERE name = 'Tee' AND created_at < now() - interval '5 hours'",
    "ANALYZE",
)


@dataclass(frozen=True, slots=True)
class Shop:
    """Its `hot` product has a limit and 12,000 orders, `cold` has 3,000, and 5,000 others have one each. The buyers
    are `many 0` to `many 3999`. `order_id` is an order of `hot` and of `buyer`; `held_id` is another, which is held."""

    pool: Pool
    hot: UUID
    cold: UUID
    order_id: UUID
    held_id: UUID
    buyer: str


@asynccontextmanager
async def filled_shop(url: str) -> AsyncIterator[Shop]:
    """The shop in a database with the schema and no rows."""
    async with Pool(Endpoint("here", url), size=5, times=PATIENT_TIMES.pool) as pool:
        new = [
            NewProduct.checked(name=name, drop_name=DROP, stock=100, limit_per_buyer=limit)
            for name, limit in (("hot", 20), ("cold", None))
        ]
        hot, cold = [(await create_product(pool, product)).id for product in new]
        for statement in FILL:
            await pool.execute(statement)
        [order] = await pool.fetch(
            "SELECT id, user_ref FROM orders WHERE product_id = $1 AND held_until IS NULL LIMIT 1", hot
        )
        [held] = await pool.fetch("SELECT id FROM orders WHERE product_id = $1 AND held_until IS NOT NULL LIMIT 1", hot)
        yield Shop(pool, hot, cold, order["id"], held["id"], order["user_ref"])
