"""Limits per buyer that are set, changed and removed while buyers buy: holdings are true, and no limit is passed."""

import asyncio
import random
from collections import Counter
from datetime import datetime
from uuid import UUID

import pytest

from api.database.pool import Pool
from api.drops.decisions import Confirmed, LimitReached
from api.drops.operator_log import Action, list_log
from api.drops.orders import Order
from api.drops.product_changes import ProductUpdate, change_product
from api.drops.products import Product, get_product
from api.drops.purchase import MANY_ORDERS
from tests.drops.holds import cancellation
from tests.drops.purchases import assert_books_balance, new_group_commit, new_product, purchase
from tests.drops.weather import seeded
from tests.faults import Faulty
from tests.patience import PATIENT_BUDGET

BUYERS = ("ada", "bob", "eve")


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


async def set_limit(pool: Pool, product_id: UUID, limit: int | None) -> Product:
    revision = (await get_product(pool, product_id)).revision
    update = ProductUpdate.checked(product_id, revision, {"limit_per_buyer": limit})
    changed = await change_product(pool, product_id, update.apply, "olga", Action.PRODUCT_UPDATED, PATIENT_BUDGET)
    return changed.product


async def test_orders_from_before_the_limit_count(pool: Pool) -> None:
    product_id = await new_product(pool, stock=20)
    line = new_group_commit(pool)
    bought = (await line.submit(purchase(product_id, "ada", 3))).decision
    assert isinstance(bought, Confirmed)
    await line.submit(purchase(await new_product(pool), "ada", 5))  # of another product
    await set_limit(pool, product_id, 4)

    assert (await line.submit(purchase(product_id, "ada", 2))).decision == LimitReached(4, 3)
    assert isinstance((await line.submit(purchase(product_id, "ada", 1))).decision, Confirmed)
    assert isinstance((await line.submit(purchase(product_id, "bob", 4))).decision, Confirmed)
    await line.submit(cancellation(bought.order))
    assert (await line.submit(purchase(product_id, "ada", 4))).decision == LimitReached(4, 1)
    await assert_books_balance(pool)


async def test_the_orders_of_a_buyer_who_has_many_are_read_once(pool: Pool) -> None:
    """A buyer of thousands of orders could slow each transaction of a product otherwise, with purchases that are
    refused."""
    product_id, line = await new_product(pool, stock=20), new_group_commit(pool)
    await line.submit(purchase(product_id, "ada", 3))
    await pool.execute(
        "INSERT INTO orders (id, product_id, user_ref, quantity, status, region) SELECT "
        "gen_random_uuid(), gen_random_uuid(), 'ada', 1, 'CANCELLED', 'here' FROM generate_series(1, $1::integer)",
        MANY_ORDERS,
    )
    await set_limit(pool, product_id, 2)
    stored = "SELECT user_ref, units FROM holdings WHERE product_id = $1"

    for _ in range(2):
        assert (await line.submit(purchase(product_id, "ada"))).decision == LimitReached(2, 3)
        assert (await line.submit(purchase(product_id, "bob", 3))).decision == LimitReached(2, 0)
        assert [tuple(row) for row in await pool.fetch(stored, product_id)] == [("ada", 3)]
    await assert_books_balance(pool)


async def test_a_limit_that_was_removed_and_set_again_knows_what_was_bought_meanwhile(pool: Pool) -> None:
    product_id = await new_product(pool, stock=20, limit=1)
    line = new_group_commit(pool)
    assert isinstance((await line.submit(purchase(product_id, "ada"))).decision, Confirmed)
    await set_limit(pool, product_id, None)
    assert isinstance((await line.submit(purchase(product_id, "ada", 5))).decision, Confirmed)
    await assert_books_balance(pool)
    await set_limit(pool, product_id, 6)

    assert (await line.submit(purchase(product_id, "ada"))).decision == LimitReached(6, 6)
    await assert_books_balance(pool)


async def test_a_random_history_agrees_with_a_plain_model(pool: Pool) -> None:
    chance = seeded()
    product_id = await new_product(pool, stock=1000, limit=chance.choice([None, 3]))
    limit = (await get_product(pool, product_id)).limit_per_buyer
    lines = [new_group_commit(pool) for _ in range(2)]
    orders: list[Order] = []
    held = Counter[str]()
    for _ in range(40):
        what = chance.random()
        if what < 0.2:
            limit = chance.choice([None, 2, 5])
            await set_limit(pool, product_id, limit)
        elif what < 0.4 and orders:
            order = orders.pop(chance.randrange(len(orders)))
            await chance.choice(lines).submit(cancellation(order))
            held[order.user_ref] -= order.quantity
        else:
            buyer, units = chance.choice(BUYERS), chance.randint(1, 2)
            decision = (await chance.choice(lines).submit(purchase(product_id, buyer, units))).decision
            if limit is not None and held[buyer] + units > limit:
                assert decision == LimitReached(limit, held[buyer])
            else:
                assert isinstance(decision, Confirmed)
                orders.append(decision.order)
                held[buyer] += units
    await assert_books_balance(pool)


async def test_a_limit_that_is_set_while_buyers_buy_is_kept_from_the_answer_on(pool: Pool) -> None:
    """Buyers purchase through three lines, as of three processes, while the limit comes, rises, goes and comes."""
    product_id = await new_product(pool, stock=100_000)
    lines = [new_group_commit(pool) for _ in range(3)]
    chance = random.Random(7)  # noqa: S311
    running = True
    bought = 0

    async def buy(number: int) -> None:
        nonlocal bought
        while running:
            decision = (await lines[number % 3].submit(purchase(product_id, BUYERS[number % 3]))).decision
            bought += isinstance(decision, Confirmed)
            if isinstance(decision, Confirmed) and chance.random() < 0.5:
                await lines[(number + 1) % 3].submit(cancellation(decision.order))

    buyers = [asyncio.create_task(buy(number)) for number in range(9)]
    try:
        for limit in (5, 20, None, 40):
            enough = bought + 5
            while bought < enough:
                await asyncio.sleep(0)
            await set_limit(pool, product_id, limit)
            if limit is None:
                await assert_books_balance(pool)
    finally:
        running = False
        await asyncio.gather(*buyers)
    await assert_books_balance(pool)

    rows = await pool.fetch(
        "SELECT user_ref, sum(quantity) AS units FROM orders WHERE product_id = $1 "
        "AND status = 'CONFIRMED' GROUP BY user_ref",
        product_id,
    )
    for row in rows:
        decision = (await lines[0].submit(purchase(product_id, row["user_ref"], 41))).decision
        assert decision == LimitReached(40, row["units"])


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit"])
@pytest.mark.parametrize("lost", [1, 2], ids=["COMMIT that stops the line", "COMMIT that changes the product"])
async def test_a_change_whose_commit_was_lost_is_made_once(
    behind: Pool, fragile: Pool, faulty: Faulty, fault: str, lost: int
) -> None:
    product_id = await new_product(behind)
    update = ProductUpdate.checked(product_id, 0, {"limit_per_buyer": 2})
    calls = 0

    def apply(product: Product, now: datetime) -> Product:
        nonlocal calls
        calls += 1
        if calls == lost:
            setattr(faulty, fault, 1)
        return update.apply(product, now)

    changed = await change_product(fragile, product_id, apply, "olga", Action.PRODUCT_UPDATED, PATIENT_BUDGET)

    assert getattr(faulty, fault) == 0
    assert (changed.product.limit_per_buyer, changed.product.revision) == (2, 1)
    assert len((await list_log(behind, 10)).items) == 1
