"""The price of an order is that of the product at its purchase, also when operators change it beside a sale."""

import asyncio
from uuid import UUID

import pytest

from api.database.pool import Pool
from api.drops.decisions import Confirmed
from api.drops.details import Price
from api.drops.operator_log import Action
from api.drops.product_changes import ProductUpdate, change_product
from tests.drops.purchases import assert_books_balance, new_group_commit, new_product, purchase
from tests.patience import PATIENT_BUDGET, until

OLD, NEW = Price("48.00", "EUR"), Price("52.00", "EUR")
SOLD = "SELECT price, count(*) AS orders FROM orders WHERE product_id = $1 GROUP BY price"


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


async def set_price(pool: Pool, product_id: UUID, revision: int, price: Price | None) -> None:
    update = ProductUpdate.checked(product_id, revision, {"price": price}).apply
    await change_product(pool, product_id, update, "olga", Action.PRODUCT_UPDATED, PATIENT_BUDGET)


async def sold(pool: Pool, product_id: UUID) -> dict[str | None, int]:
    """The number of orders by their price, as it is stored."""
    return {row["price"]: row["orders"] for row in await pool.fetch(SOLD, product_id)}


async def test_no_order_has_the_old_price_after_the_answer_to_its_change(pool: Pool) -> None:
    """Also beside lines that commit without a pause, and that had read the product before."""
    product_id = await new_product(pool, stock=100_000)
    await set_price(pool, product_id, 0, OLD)
    lines = [new_group_commit(pool) for _ in range(3)]
    answered: list[Price | None] = []
    running = True

    async def buy(number: int) -> None:
        bought = 0
        while running:
            decision = (await lines[number % 3].submit(purchase(product_id, f"buyer-{number}-{bought}"))).decision
            assert isinstance(decision, Confirmed)
            answered.append(decision.order.price)
            bought += 1

    async with asyncio.TaskGroup() as buyers:
        for number in range(12):
            buyers.create_task(buy(number))
        try:
            await until(lambda: answered.count(OLD) >= 30)
            await set_price(pool, product_id, 1, NEW)
            at_the_answer = await sold(pool, product_id)
            await until(lambda: answered.count(NEW) >= 30)
        finally:
            running = False

    stored = await sold(pool, product_id)
    assert stored[str(OLD)] == at_the_answer[str(OLD)]
    assert stored == {str(price): answered.count(price) for price in (OLD, NEW)}
    await assert_books_balance(pool)


async def test_a_purchase_that_is_sent_again_has_the_price_of_the_first_time(pool: Pool) -> None:
    product_id = await new_product(pool)
    await set_price(pool, product_id, 0, OLD)
    line = new_group_commit(pool)
    first = (await line.submit(purchase(product_id, key="k"))).decision
    await set_price(pool, product_id, 1, None)
    again = (await line.submit(purchase(product_id, key="k"))).decision
    assert isinstance(first, Confirmed)
    assert getattr(again, "order", None) == first.order
    assert first.order.price == OLD
