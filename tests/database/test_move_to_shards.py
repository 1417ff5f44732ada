"""A database of the version that kept the stock of a product in one row of `inventory`, brought over to shards."""

import contextlib
import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID

import asyncpg
import pytest

from api.database.endpoint import Endpoint
from api.database.migrations import (
    EARLIER_TEXTS,
    MigrationChanged,
    Schema,
    load_migrations,
    migrate,
    migrations_directory,
    read_schema,
)
from api.database.pool import Pool
from api.drops.audit import audit
from api.drops.decisions import Confirmed, LimitReached
from api.drops.products import get_products
from tests.database.mortal import Killed, Mortal
from tests.drops.purchases import new_group_commit, purchase
from tests.patience import PATIENT_TIMES

MIGRATIONS = load_migrations(migrations_directory())
BEFORE = MIGRATIONS[:10]
"""What the version with one row had."""

ITS_INVENTORY = replace(MIGRATIONS[1], name="inventory", checksum=EARLIER_TEXTS[2])
ITS_MIGRATIONS = [BEFORE[0], ITS_INVENTORY, *BEFORE[2:]]
"""The same as that version's files said it."""

LIMITED = UUID(int=1)
"""Every third product has a limit. The first has most of the orders."""

# The rows that its statements left: products, their inventory, and orders of many buyers, some of them cancelled.
SELL = (
    """
    INSERT INTO products (id, name, drop_name, limit_per_buyer)
    SELECT lpad(to_hex(number), 32, '0')::uuid, 'Tee', 'First Light', CASE WHEN number % 3 = 1 THEN 3 END
    FROM generate_series(1, {products}) AS number
    """,
    """
    INSERT INTO inventory (id, product_id, stock, stocked, version)
    SELECT gen_random_uuid(), id, 0, 0, 5 FROM products
    """,
    """
    INSERT INTO orders (id, product_id, user_ref, quantity, status, region)
    SELECT gen_random_uuid(), lpad(to_hex(1 + number % 7 * (number % 2)), 32, '0')::uuid, 'buyer-' || number % {buyers},
           1 + number % 2, CASE WHEN number % 5 = 0 THEN 'CANCELLED' ELSE 'CONFIRMED' END, 'here'
    FROM generate_series(1, {orders}) AS number
    """,
    """
    UPDATE inventory SET stock = left_over.units, stocked = left_over.units + coalesce((
        SELECT sum(quantity) FROM orders WHERE orders.product_id = inventory.product_id AND status = 'CONFIRMED'
    ), 0)
    FROM (SELECT id, (row_number() OVER (ORDER BY id))::integer % 40 AS units FROM products) AS left_over
    WHERE left_over.id = inventory.product_id
    """,
)
ITS_PURCHASE = "UPDATE inventory SET stock = stock - 1, version = version + 1 WHERE stock >= 1"


@pytest.fixture
async def before(empty_database_url: str) -> AsyncIterator[Pool]:
    async with Pool(Endpoint("here", empty_database_url), size=4, times=PATIENT_TIMES.pool) as pool:
        await begin(pool)
        yield pool


async def begin(pool: Pool) -> None:
    """Make the tables of that version, and its record of them."""
    await migrate(pool, BEFORE)
    await pool.execute(
        "UPDATE schema_migrations SET name = $1, checksum = $2 WHERE version = 2",
        ITS_INVENTORY.name,
        ITS_INVENTORY.checksum,
    )
    assert await read_schema(pool, ITS_MIGRATIONS) == Schema(pending=[], ahead=[])


async def sell(pool: Pool, products: int, buyers: int, orders: int) -> None:
    for statement in SELL:
        await pool.execute(statement.format(products=products, buyers=buyers, orders=orders))


async def stocks(pool: Pool) -> dict[UUID, tuple[int, int, int]]:
    rows = await pool.fetch("SELECT product_id, stock, stocked, version FROM inventory")
    return {row["product_id"]: (row["stock"], row["stocked"], row["version"]) for row in rows}


async def assert_brought_over(pool: Pool, stood: dict[UUID, tuple[int, int, int]], orders: int) -> None:
    products = await get_products(pool, stood)
    assert {each.id: (each.stock, each.stocked, each.version) for each in products.values()} == stood
    assert {product.shards for product in products.values()} == {16}
    books = await audit(pool)
    assert [line for line in books if not line.balanced] == []
    assert sum(line.orders for line in books) == orders


async def test_no_unit_and_no_order_is_lost(before: Pool) -> None:
    """250 products are moved in three steps, and 4,700 holdings in three."""
    await sell(before, products=250, buyers=9_001, orders=20_000)
    stood = await stocks(before)

    applied = await migrate(before, MIGRATIONS)

    assert applied == MIGRATIONS[len(BEFORE) :]
    await assert_brought_over(before, stood, orders=16_000)
    [held] = await before.fetch("SELECT count(*) AS buyers FROM holdings")
    assert held["buyers"] > 4_000


async def test_a_run_that_is_killed_at_any_statement_is_finished_by_the_next(before: Pool) -> None:
    for at in itertools.count(1):
        await sell(before, products=8, buyers=7, orders=40)
        stood = await stocks(before)
        async with Mortal(before.endpoint, at, Killed, before=True) as mortal:
            with contextlib.suppress(Killed):
                await migrate(mortal, MIGRATIONS)
        await migrate(before, MIGRATIONS)
        await assert_brought_over(before, stood, orders=32)
        await before.execute("DROP SCHEMA public CASCADE")
        await before.execute("CREATE SCHEMA public")
        await begin(before)
        if not mortal.ended:
            break
    assert at > 2 * (len(MIGRATIONS) - len(BEFORE))


async def test_a_buyer_keeps_what_was_bought_before_within_the_limit(before: Pool) -> None:
    await sell(before, products=1, buyers=1_000, orders=0)
    await before.execute("UPDATE inventory SET stock = 3, stocked = 5")
    await before.execute(
        "INSERT INTO orders (id, product_id, user_ref, quantity, status, region) "
        "VALUES (gen_random_uuid(), $1, 'ada', 2, 'CONFIRMED', 'here')",
        LIMITED,
    )
    await migrate(before, MIGRATIONS)

    group_commit = new_group_commit(before)
    too_many = await group_commit.submit(purchase(LIMITED, "ada", 2))
    one_more = await group_commit.submit(purchase(LIMITED, "ada", 1))

    assert too_many.decision == LimitReached(limit=3, held=2)
    assert isinstance(one_more.decision, Confirmed)


async def test_a_server_of_the_version_before_can_sell_nothing_any_more(before: Pool) -> None:
    """From the moment before the first row is moved it is told why. After the last it cannot even read a stock."""
    await sell(before, products=8, buyers=7, orders=40)
    freeze = next(migration for migration in MIGRATIONS if migration.name == "freeze_inventory")
    for migration in MIGRATIONS[: freeze.version]:
        await migrate(before, MIGRATIONS[: migration.version])

    with pytest.raises(asyncpg.CheckViolationError, match="stop_this_server_its_stock_moved_to_stock_shards"):
        await before.execute(ITS_PURCHASE)
    await migrate(before, MIGRATIONS)
    with pytest.raises(asyncpg.UndefinedTableError):
        await before.execute(ITS_PURCHASE)


async def test_a_server_of_the_version_before_does_not_start_any_more(before: Pool) -> None:
    """Not even while the stock is being moved: the record is changed before the first row is frozen."""
    names = [migration.name for migration in MIGRATIONS]
    assert names.index("refuse_older_versions") < names.index("freeze_inventory")
    for last in range(names.index("refuse_older_versions") + 1, len(MIGRATIONS) + 1):
        await migrate(before, MIGRATIONS[:last])
        with pytest.raises(MigrationChanged) as refusal:
            await read_schema(before, ITS_MIGRATIONS)
    assert str(refusal.value) == (
        "this database has applied 0002_inventory_moved_to_stock_shards and knows no 0002_inventory; "
        "run the version of dropzero that it belongs to, or give the new migration the next number"
    )


def test_the_record_is_brought_to_the_name_and_text_of_the_file() -> None:
    refusal = next(migration for migration in MIGRATIONS if migration.name == "refuse_older_versions")
    assert f"name = '{MIGRATIONS[1].name}', checksum = '{MIGRATIONS[1].checksum}'" in refusal.statement
