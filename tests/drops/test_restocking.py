"""Restocks: units that count once, in the line of the product's purchases."""

import asyncio

import pytest

from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.drops import restocking
from api.drops.decisions import Confirmed
from api.drops.errors import IdempotencyKeyReused, InvalidInput
from api.drops.new_product import NewProduct, create_product
from api.drops.products import get_product
from api.drops.requests import RestockRequest
from tests.drops.purchases import assert_books_balance, new_group_commit, new_product, purchase, restock
from tests.locks import stock_held, until_blocked


async def test_a_restock_under_the_same_key_counts_once(pool: Pool) -> None:
    product_id = await new_product(pool, stock=10)
    request = RestockRequest.checked(product_id=product_id, delta=50, idempotency_key="monday")

    for group_commit in (new_group_commit(pool), new_group_commit(pool)):
        products = await asyncio.gather(*(restocking.restock(group_commit, request) for _ in range(5)))
        assert {(product.stock, product.stocked) for product in products} == {(60, 60)}
    await assert_books_balance(pool)


async def test_a_key_reused_for_another_delta_is_refused(pool: Pool) -> None:
    product_id = await new_product(pool, stock=10)
    group_commit = new_group_commit(pool)
    await restocking.restock(group_commit, RestockRequest.checked(product_id=product_id, delta=5, idempotency_key="k"))

    other = RestockRequest.checked(product_id=product_id, delta=6, idempotency_key="k")
    with pytest.raises(IdempotencyKeyReused, match="was used to restock 5, not 6"):
        await restocking.restock(group_commit, other)
    assert (await get_product(pool, product_id)).stock == 15


async def test_a_key_belongs_to_its_product(pool: Pool) -> None:
    first, second = await new_product(pool, stock=1), await new_product(pool, stock=1)
    for product_id in (first, second):
        request = RestockRequest.checked(product_id=product_id, delta=5, idempotency_key="k")
        assert (await restocking.restock(new_group_commit(pool), request)).stock == 6


async def test_a_restock_waits_in_line_and_sells_to_those_behind_it(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=1)
    group_commit = new_group_commit(pool)
    async with stock_held(behind, product_id):
        first = asyncio.create_task(group_commit.submit(purchase(product_id, "ada")))
        await until_blocked(behind)
        request = RestockRequest.checked(product_id=product_id, delta=1)
        adding = asyncio.create_task(restocking.restock(group_commit, request))
        await asyncio.sleep(0)
        second = asyncio.create_task(group_commit.submit(purchase(product_id, "bob")))
        await asyncio.sleep(0)

    assert isinstance((await first).decision, Confirmed)
    assert isinstance((await second).decision, Confirmed)
    assert ((await adding).stock, (await adding).stocked) == (0, 2)
    assert sum(group_commit.transactions.values()) == 2


async def test_units_that_were_sold_cannot_be_taken_back(pool: Pool) -> None:
    product_id = await new_product(pool, stock=3)
    await new_group_commit(pool).submit(purchase(product_id, "ada", 2))

    with pytest.raises(InvalidInput, match="the stock is 1; 2 units cannot be taken back from it"):
        await restock(pool, product_id, -2)
    assert (await restock(pool, product_id, -1)).stock == 0
    await assert_books_balance(pool)


@pytest.mark.parametrize("delta", [0, 2**31, -(2**31)])
def test_a_delta_out_of_range_is_refused(delta: int) -> None:
    with pytest.raises(InvalidInput, match="delta must be between"):
        RestockRequest.checked(product_id=NewProduct.checked(name="Tee", drop_name="Drop", stock=1).id, delta=delta)


async def test_a_product_under_the_same_key_is_created_once(pool: Pool) -> None:
    def tee(limit: int | None = None) -> NewProduct:
        return NewProduct.checked(
            name="Tee", drop_name="First Light", stock=5, idempotency_key="tee", limit_per_buyer=limit
        )

    created = await create_product(pool, tee())
    await restock(pool, created.id, 2)

    again = await create_product(pool, tee())
    assert (again.id, again.stock) == (created.id, 7)
    with pytest.raises(IdempotencyKeyReused, match="was used to create 'Tee'"):
        await create_product(pool, tee(limit=1), RetryBudget(attempts=1))
