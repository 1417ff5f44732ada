"""The decision about a purchase, alone and in a group with others, on the real database."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from api.database.pool import Pool
from api.drops.decisions import Cancelled, Confirmed, LimitReached, NotOpen, Replayed, SoldOut
from api.drops.errors import IdempotencyKeyReused, NotFound
from api.drops.group_policy import GroupPolicy
from api.drops.orders import OrderStatus
from api.drops.products import get_product
from api.drops.purchase import execute_group
from api.drops.ticket import Busy
from tests.drops.purchases import (
    assert_books_balance,
    cancel,
    kinds,
    new_group_commit,
    new_product,
    purchase,
    submit_all,
)


async def test_purchases_of_a_group_are_decided_first_come_first_served(pool: Pool) -> None:
    product_id = await new_product(pool, stock=3, shards=1)
    purchases = [
        purchase(product_id, "ada", 2),
        purchase(product_id, "bob", 2),
        purchase(product_id, "cyd", 1),
    ]

    batch = await execute_group(pool, product_id, purchases, [1])

    ada, bob, cyd = batch.decisions
    assert isinstance(ada, Confirmed)
    assert ada.remaining == 1
    assert bob == SoldOut(remaining=1)
    assert isinstance(cyd, Confirmed)
    assert cyd.remaining == 0
    assert batch.product is not None
    assert (batch.committed, batch.product.stock, batch.product.version) == (True, 0, 2)


async def test_the_same_key_twice_is_one_purchase(pool: Pool) -> None:
    product_id = await new_product(pool, stock=5)
    group_commit = new_group_commit(pool)

    first = (await group_commit.submit(purchase(product_id, key="click-1"))).decision
    again = (await group_commit.submit(purchase(product_id, key="click-1"))).decision

    assert isinstance(first, Confirmed)
    assert again == Replayed(first.order)
    assert (await get_product(pool, product_id)).stock == 4


async def test_a_key_belongs_to_its_buyer_and_product(pool: Pool) -> None:
    product_id, other_id = await new_product(pool, stock=5), await new_product(pool, stock=5)
    group_commit = new_group_commit(pool)

    await submit_all([group_commit], [purchase(product_id, "ada", key="1"), purchase(product_id, "bob", key="1")])
    await group_commit.submit(purchase(other_id, "ada", key="1"))

    assert (await get_product(pool, product_id)).stock == 3
    assert (await get_product(pool, other_id)).stock == 4
    assert purchase(product_id, "ab", key="c").order_id != purchase(product_id, "a", key="bc").order_id


async def test_a_key_reused_for_another_quantity_is_refused(pool: Pool) -> None:
    product_id = await new_product(pool, stock=5)
    group_commit = new_group_commit(pool)
    await group_commit.submit(purchase(product_id, quantity=1, key="click-1"))

    with pytest.raises(IdempotencyKeyReused, match="was used to buy 1, not 2"):
        await group_commit.submit(purchase(product_id, quantity=2, key="click-1"))
    assert (await get_product(pool, product_id)).stock == 4


async def test_a_replay_is_answered_when_the_drop_is_sold_out(pool: Pool) -> None:
    product_id = await new_product(pool, stock=1)
    group_commit = new_group_commit(pool)
    await group_commit.submit(purchase(product_id, key="click-1"))

    decision = (await group_commit.submit(purchase(product_id, key="click-1"))).decision

    assert isinstance(decision, Replayed)


async def test_the_key_of_a_cancelled_order_does_not_buy_again(pool: Pool) -> None:
    product_id = await new_product(pool, stock=2)
    group_commit = new_group_commit(pool)
    bought = (await group_commit.submit(purchase(product_id, key="click-1"))).decision
    assert isinstance(bought, Confirmed)
    await cancel(pool, bought.order.id, "ada")

    outcome = await group_commit.submit(purchase(product_id, key="click-1"))

    assert outcome.decision == Cancelled(replace(bought.order, status=OrderStatus.CANCELLED))
    assert outcome.product is not None
    assert outcome.product.stock == 2
    assert (await get_product(pool, product_id)).stock == 2


async def test_a_limit_counts_stored_units_and_those_of_the_same_group(pool: Pool) -> None:
    product_id = await new_product(pool, stock=10, limit=2)

    result = await execute_group(
        pool,
        product_id,
        [
            purchase(product_id),
            purchase(product_id),
            purchase(product_id),
            purchase(product_id, "bob", 3),
        ],
        [1],
    )
    later = await execute_group(pool, product_id, [purchase(product_id)], [1])

    assert [type(decision) for decision in result.decisions] == [Confirmed, Confirmed, LimitReached, LimitReached]
    assert later.decisions == [LimitReached(limit=2, held=2)]


async def test_cancelled_units_can_be_held_again(pool: Pool) -> None:
    product_id = await new_product(pool, stock=10, limit=1)
    group_commit = new_group_commit(pool)
    bought = (await group_commit.submit(purchase(product_id))).decision
    assert isinstance(bought, Confirmed)

    await cancel(pool, bought.order.id, "ada")

    assert isinstance((await group_commit.submit(purchase(product_id))).decision, Confirmed)


async def test_a_drop_opens_by_the_clock_of_the_database(pool: Pool) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    closed_id = await new_product(pool, stock=1, opens_at=later)
    opened_id = await new_product(pool, stock=1, opens_at=datetime.now(UTC) - timedelta(seconds=1))
    group_commit = new_group_commit(pool)

    assert (await group_commit.submit(purchase(closed_id))).decision == NotOpen(later)
    assert isinstance((await group_commit.submit(purchase(opened_id))).decision, Confirmed)


async def test_an_unknown_product_is_not_found_for_every_purchase_of_it(pool: Pool) -> None:
    missing = uuid4()

    answers = await asyncio.gather(
        *(new_group_commit(pool).submit(purchase(missing, f"buyer-{number}")) for number in range(3)),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers] == [NotFound] * 3


async def test_a_group_commits_together_in_one_transaction(pool: Pool) -> None:
    product_id = await new_product(pool, stock=500, shards=1)

    outcomes = await submit_all(
        [new_group_commit(pool)], [purchase(product_id, f"buyer-{number}") for number in range(400)]
    )

    assert kinds(outcomes) == {"Confirmed": 400}
    # The version counts the transaction that created the product, and those that sold. All purchases had joined the
    # line before the first group was taken.
    assert (await get_product(pool, product_id)).version == 1 + 1


async def test_purchases_past_the_quota_are_busy_at_once_and_sell_nothing(pool: Pool) -> None:
    product_id = await new_product(pool, stock=100)
    group_commit = new_group_commit(pool, GroupPolicy(size=5, max_unanswered=10))

    outcomes = await submit_all([group_commit], [purchase(product_id, f"buyer-{number}") for number in range(30)])

    assert kinds(outcomes) == {"Confirmed": 10, "Busy": 20}
    turned_away = [outcome for outcome in outcomes if isinstance(outcome.decision, Busy)]
    assert {outcome.attempts for outcome in turned_away} == {0}
    assert (await get_product(pool, product_id)).stock == 90


async def test_a_purchase_that_cannot_be_executed_fails_no_other_of_its_group(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=100)
    # Only the database has this rule.
    await behind.execute("ALTER TABLE orders ADD CONSTRAINT unlucky CHECK (user_ref <> 'mallory')")
    group_commit = new_group_commit(pool)
    purchases = [purchase(product_id, "mallory" if number == 37 else f"buyer-{number}") for number in range(80)]

    answers = await asyncio.gather(*(group_commit.submit(each) for each in purchases), return_exceptions=True)

    assert [number for number, answer in enumerate(answers) if isinstance(answer, Exception)] == [37]
    assert (await get_product(pool, product_id)).stock == 100 - 79
    await assert_books_balance(pool)
