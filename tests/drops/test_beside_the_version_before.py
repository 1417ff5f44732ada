"""Servers of the version before, which know no holds, on the same database during an upgrade."""

from uuid import UUID

from api.database.pool import Pool
from api.drops.decisions import Gone, Held, Lapsed
from api.drops.holds import held_units
from api.drops.new_product import NewProduct, create_product
from api.drops.orders import OrderStatus, get_order
from api.drops.products import get_product
from api.drops.purchase import execute_group
from api.drops.requests import ConfirmRequest, LapseRequest, Purchase
from tests.drops.purchases import assert_books_balance, purchase
from tests.patience import PATIENCE, PATIENT_BUDGET

CANCELLATION_OF_THE_VERSION_BEFORE = "UPDATE orders SET status = 'CANCELLED' WHERE id = $1 AND status = 'CONFIRMED'"
"""It knows no `held_until`, and returns the units to a shard in the same transaction."""


async def held(pool: Pool) -> Purchase:
    """A purchase of one unit of two, which is held."""
    product = NewProduct.checked(name="Tee", drop_name="First Light", stock=2, limit_per_buyer=2, hold_seconds=30)
    request = purchase((await create_product(pool, product, PATIENT_BUDGET)).id)
    batch = await execute_group(pool, request.product_id, [request], [1], PATIENCE)
    assert isinstance(batch.decisions[0], Held)
    return request


async def cancel_as_the_version_before(pool: Pool, order_id: UUID, product_id: UUID) -> None:
    async with pool.begin() as transaction:
        await transaction.execute(CANCELLATION_OF_THE_VERSION_BEFORE, order_id)
        await transaction.execute(
            "UPDATE stock_shards SET stock = stock + 1, version = version + 1 WHERE product_id = $1 AND shard = 1",
            product_id,
        )
        await transaction.execute("UPDATE holdings SET units = units - 1 WHERE product_id = $1", product_id)
        await transaction.commit()


async def test_a_hold_that_the_version_before_has_cancelled_returns_its_units_once(pool: Pool, behind: Pool) -> None:
    hold = await held(pool)
    await cancel_as_the_version_before(pool, hold.order_id, hold.product_id)
    await assert_books_balance(pool)
    order = await get_order(pool, hold.order_id)
    assert order is not None
    assert order.status is OrderStatus.CANCELLED
    assert await held_units(pool, [hold.product_id]) == {}

    await behind.execute("UPDATE orders SET held_until = now() - interval '1 second' WHERE id = $1", hold.order_id)
    lapse = LapseRequest(hold.product_id, ((hold.order_id, hold.user_ref),))
    batch = await execute_group(pool, hold.product_id, [lapse], [1], PATIENCE)

    assert batch.decisions == [Lapsed(0)]
    assert (await get_product(pool, hold.product_id)).stock == 2
    await assert_books_balance(pool)
    assert await pool.fetch("SELECT FROM orders WHERE held_until IS NOT NULL") == [], "it is not looked at again"


async def test_a_payment_of_a_hold_that_the_version_before_has_cancelled_is_refunded(pool: Pool) -> None:
    hold = await held(pool)
    await cancel_as_the_version_before(pool, hold.order_id, hold.product_id)

    confirm = ConfirmRequest(hold.order_id, hold.product_id, hold.user_ref, "payment-1")
    batch = await execute_group(pool, hold.product_id, [confirm], [1], PATIENCE)

    assert isinstance(batch.decisions[0], Gone)
    await assert_books_balance(pool)
