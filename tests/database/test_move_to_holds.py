"""A database of the version that knew no holds, and servers of that version beside this one during the upgrade."""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from api.database.endpoint import Endpoint
from api.database.migrations import load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.drops.decisions import Cancellation, Confirmed, Held, Paid, Replayed
from api.drops.orders import Order, OrderStatus, get_order
from api.drops.products import get_product
from api.drops.requests import Purchase
from tests.drops.holds import cancellation, end_holds, hold, payment, run_out
from tests.drops.purchases import assert_books_balance, new_group_commit, new_product, purchase
from tests.patience import PATIENT_TIMES

MIGRATIONS = load_migrations(migrations_directory())
BEFORE = MIGRATIONS[:19]
"""What the version without holds had."""

PRODUCT = UUID(int=1)

# Its statements, as it sends them: a product, an order, and the cancellation of an order.
CREATE = "INSERT INTO products (id, name, drop_name, limit_per_buyer) VALUES ($1, 'Tee', 'First Light', 3)"
STOCK = "INSERT INTO stock_shards (product_id, shard, stock, stocked, version) VALUES ($1, 0, 10, 10, 1)"
BUY = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region) VALUES ($1, $2, $3, 1, 'CONFIRMED', 'here')
"""
HOLDING = """
INSERT INTO holdings (product_id, user_ref, units) VALUES ($1, $2, $3)
ON CONFLICT (product_id, user_ref) DO UPDATE SET units = excluded.units
"""
TAKE = "UPDATE stock_shards SET stock = stock - $2::integer, version = version + 1 WHERE product_id = $1 AND shard = 0"
CANCEL = "UPDATE orders SET status = 'CANCELLED' WHERE id = $1 AND status = 'CONFIRMED' RETURNING id"


@pytest.fixture
async def pool(empty_database_url: str) -> AsyncIterator[Pool]:
    """A database with the schema of the version before, and a product of ten units."""
    async with Pool(Endpoint("here", empty_database_url), size=5, times=PATIENT_TIMES.pool) as pool:
        await migrate(pool, BEFORE)
        await pool.execute(CREATE, PRODUCT)
        await pool.execute(STOCK, PRODUCT)
        yield pool


async def buy_as_before(pool: Pool, wanted: Purchase) -> None:
    async with pool.begin() as transaction:
        await transaction.execute(TAKE, PRODUCT, 1)
        await transaction.execute(BUY, wanted.order_id, PRODUCT, wanted.user_ref)
        await transaction.execute(HOLDING, PRODUCT, wanted.user_ref, 1)
        await transaction.commit()


async def cancel_as_before(pool: Pool, wanted: Purchase) -> bool:
    """Returns whether it has cancelled the order."""
    async with pool.begin() as transaction:
        if not await transaction.fetch(CANCEL, wanted.order_id):
            return False
        await transaction.execute(TAKE, PRODUCT, -1)
        await transaction.execute(HOLDING, PRODUCT, wanted.user_ref, 0)
        await transaction.commit()
    return True


async def stored(pool: Pool, wanted: Purchase) -> Order:
    order = await get_order(pool, wanted.order_id)
    assert order is not None
    return order


async def test_orders_of_the_version_before_are_confirmed_when_they_were_placed(pool: Pool) -> None:
    kept, dropped = purchase(PRODUCT, "ada", key="click-1"), purchase(PRODUCT, "bob", key="click-1")
    for wanted in (kept, dropped):
        await buy_as_before(pool, wanted)
    await cancel_as_before(pool, dropped)

    await migrate(pool, MIGRATIONS)

    old, cancelled = await stored(pool, kept), await stored(pool, dropped)
    assert (old.status, old.confirmed_at, old.held_until) == (OrderStatus.CONFIRMED, old.created_at, None)
    assert (cancelled.status, cancelled.confirmed_at) == (OrderStatus.CANCELLED, None)
    assert (await get_product(pool, PRODUCT)).hold_seconds is None
    line = new_group_commit(pool)
    assert (await line.submit(kept)).decision == Replayed(old)
    ended = (await line.submit(cancellation(old))).decision
    assert isinstance(ended, Cancellation)
    assert ended.order == await stored(pool, kept)
    assert (await get_product(pool, PRODUCT)).stock == 10
    await assert_books_balance(pool)


async def test_a_server_of_the_version_before_sells_and_cancels_beside_this_one(pool: Pool) -> None:
    await migrate(pool, MIGRATIONS)
    line = new_group_commit(pool)
    ours = (await line.submit(purchase(PRODUCT, "ada"))).decision
    assert isinstance(ours, Confirmed)

    theirs = purchase(PRODUCT, "bob")
    await buy_as_before(pool, theirs)
    order = await stored(pool, theirs)
    assert (order.status, order.confirmed_at) == (OrderStatus.CONFIRMED, order.created_at)
    await assert_books_balance(pool)

    assert await cancel_as_before(pool, purchase_of(ours.order))
    assert (await stored(pool, theirs)).status is OrderStatus.CONFIRMED
    assert (await line.submit(cancellation(order))).decision == Cancellation(await stored(pool, theirs), first=True)
    assert not await cancel_as_before(pool, theirs), "it is cancelled already"
    await assert_books_balance(pool)


async def test_what_holds_have_become_is_final_for_the_version_before(pool: Pool) -> None:
    """It sees HELD and CONFIRMED orders as confirmed, and LAPSED ones as cancelled: their units are counted once."""
    await migrate(pool, MIGRATIONS)
    line = new_group_commit(pool)
    product_id = await new_product(pool, 10, hold_seconds=30)
    held, paid, lapsed = [await hold(line, product_id, buyer) for buyer in ("ada", "bob", "cyd")]
    paying = (await line.submit(payment(paid))).decision
    assert isinstance(paying, Paid)
    await run_out(pool, lapsed)
    assert await end_holds(pool) == 1

    status = {row["id"]: row["status"] for row in await pool.fetch("SELECT id, status FROM orders")}

    assert status == {held.id: "CONFIRMED", paid.id: "CONFIRMED", lapsed.id: "CANCELLED"}
    assert await pool.fetch(CANCEL, lapsed.id) == [], "its units are not returned again"
    again = (await line.submit(purchase(product_id, "dan"))).decision
    assert isinstance(again, Held)
    await assert_books_balance(pool)


def purchase_of(order: Order) -> Purchase:
    return Purchase(order.id, order.product_id, order.user_ref, order.quantity)
