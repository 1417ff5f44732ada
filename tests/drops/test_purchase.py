"""What a purchase comes to, alone and in a group with others, on the real database."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from api.database.pool import Pool
from api.drops.errors import IdempotencyKeyReused, NotFound
from api.drops.group_commit import GroupPolicy
from api.drops.line import Busy
from api.drops.orders import OrderStatus
from api.drops.products import get_product
from api.drops.purchase import Cancelled, Confirmed, LimitReached, NotOpen, SoldOut, execute_requests
from tests.drops.purchases import assert_books_balance, cancel, kinds, line, new_product, submit_all, wish


async def test_first_come_first_served_within_a_group(pool: Pool) -> None:
    product_id = await new_product(pool, stock=3)
    wishes = [wish(product_id, "ada", 2), wish(product_id, "bob", 2), wish(product_id, "cyd", 1)]

    result = await execute_requests(pool, product_id, wishes)

    ada, bob, cyd = result.decisions
    assert isinstance(ada, Confirmed)
    assert ada.remaining == 1
    assert bob == SoldOut(remaining=1)
    assert isinstance(cyd, Confirmed)
    assert cyd.remaining == 0
    assert result.level is not None
    assert (result.level.stock, result.level.version) == (0, 2)
    assert [(each.product.stock, each.product.version) for each in (ada, cyd)] == [(0, 2), (0, 2)]


async def test_the_same_key_twice_is_one_purchase(pool: Pool) -> None:
    product_id = await new_product(pool, stock=5)
    desk = line(pool)

    first = (await desk.submit(wish(product_id, key="click-1"))).decision
    again = (await desk.submit(wish(product_id, key="click-1"))).decision

    assert isinstance(first, Confirmed)
    assert isinstance(again, Confirmed)
    assert (first.replayed, again.replayed) == (False, True)
    assert first.order == again.order
    assert (await get_product(pool, product_id)).stock == 4


async def test_a_key_belongs_to_its_buyer_and_product(pool: Pool) -> None:
    product_id, other_id = await new_product(pool, stock=5), await new_product(pool, stock=5)
    desk = line(pool)

    await submit_all([desk], [wish(product_id, "ada", key="1"), wish(product_id, "bob", key="1")])
    await desk.submit(wish(other_id, "ada", key="1"))

    assert (await get_product(pool, product_id)).stock == 3
    assert (await get_product(pool, other_id)).stock == 4
    assert wish(product_id, "ab", key="c").order_id != wish(product_id, "a", key="bc").order_id


async def test_a_key_reused_for_another_quantity_is_refused(pool: Pool) -> None:
    product_id = await new_product(pool, stock=5)
    desk = line(pool)
    await desk.submit(wish(product_id, quantity=1, key="click-1"))

    with pytest.raises(IdempotencyKeyReused, match="was used to buy 1, not 2"):
        await desk.submit(wish(product_id, quantity=2, key="click-1"))
    assert (await get_product(pool, product_id)).stock == 4


async def test_a_replay_is_answered_when_the_drop_is_sold_out(pool: Pool) -> None:
    product_id = await new_product(pool, stock=1)
    desk = line(pool)
    await desk.submit(wish(product_id, key="click-1"))

    decision = (await desk.submit(wish(product_id, key="click-1"))).decision

    assert isinstance(decision, Confirmed)
    assert decision.replayed


async def test_the_key_of_a_cancelled_order_does_not_buy_again(pool: Pool) -> None:
    product_id = await new_product(pool, stock=2)
    desk = line(pool)
    bought = (await desk.submit(wish(product_id, key="click-1"))).decision
    assert isinstance(bought, Confirmed)
    await cancel(pool, bought.order.id, "ada")

    decision = (await desk.submit(wish(product_id, key="click-1"))).decision

    assert isinstance(decision, Cancelled)
    assert decision.order == replace(bought.order, status=OrderStatus.CANCELLED)
    assert decision.product.stock == 2
    assert (await get_product(pool, product_id)).stock == 2


async def test_a_limit_counts_what_the_buyer_holds_and_what_stands_in_the_same_group(pool: Pool) -> None:
    product_id = await new_product(pool, stock=10, limit=2)

    result = await execute_requests(
        pool, product_id, [wish(product_id), wish(product_id), wish(product_id), wish(product_id, "bob", 3)]
    )
    later = await execute_requests(pool, product_id, [wish(product_id)])

    assert [type(decision) for decision in result.decisions] == [Confirmed, Confirmed, LimitReached, LimitReached]
    assert later.decisions == [LimitReached(limit=2, held=2)]


async def test_cancelled_units_can_be_held_again(pool: Pool) -> None:
    product_id = await new_product(pool, stock=10, limit=1)
    desk = line(pool)
    bought = (await desk.submit(wish(product_id))).decision
    assert isinstance(bought, Confirmed)

    await cancel(pool, bought.order.id, "ada")

    assert isinstance((await desk.submit(wish(product_id))).decision, Confirmed)


async def test_a_drop_opens_by_the_clock_of_the_database(pool: Pool) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    closed_id = await new_product(pool, stock=1, opens_at=later)
    opened_id = await new_product(pool, stock=1, opens_at=datetime.now(UTC) - timedelta(seconds=1))
    desk = line(pool)

    assert (await desk.submit(wish(closed_id))).decision == NotOpen(later)
    assert isinstance((await desk.submit(wish(opened_id))).decision, Confirmed)


async def test_an_unknown_product_is_not_found_for_everyone_in_line(pool: Pool) -> None:
    missing = uuid4()

    answers = await asyncio.gather(
        *(line(pool).submit(wish(missing, f"buyer-{number}")) for number in range(3)), return_exceptions=True
    )

    assert [type(answer) for answer in answers] == [NotFound] * 3


async def test_a_group_commits_together_in_one_transaction(pool: Pool) -> None:
    product_id = await new_product(pool, stock=500)

    outcomes = await submit_all([line(pool)], [wish(product_id, f"buyer-{number}") for number in range(400)])

    assert kinds(outcomes) == {"Confirmed": 400}
    # The version counts the transactions that sold, and the one that made the product. All stood in line before the
    # first group was taken.
    assert (await get_product(pool, product_id)).version == 1 + 1


async def test_a_full_line_answers_busy_at_once_and_sells_nothing(pool: Pool) -> None:
    product_id = await new_product(pool, stock=100)
    desk = line(pool, GroupPolicy(size=5, max_unanswered=10))

    outcomes = await submit_all([desk], [wish(product_id, f"buyer-{number}") for number in range(30)])

    assert kinds(outcomes) == {"Confirmed": 10, "Busy": 20}
    turned_away = [outcome for outcome in outcomes if isinstance(outcome.decision, Busy)]
    assert {outcome.attempts for outcome in turned_away} == {0}
    assert (await get_product(pool, product_id)).stock == 90


async def test_one_that_cannot_be_executed_fails_none_of_its_neighbours(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=100)
    # Only the database can know this one: a rule that the application does not have.
    await behind.execute("ALTER TABLE orders ADD CONSTRAINT unlucky CHECK (user_ref <> 'mallory')")
    desk = line(pool)
    wishes = [wish(product_id, "mallory" if number == 37 else f"buyer-{number}") for number in range(80)]

    answers = await asyncio.gather(*(desk.submit(each) for each in wishes), return_exceptions=True)

    assert [number for number, answer in enumerate(answers) if isinstance(answer, Exception)] == [37]
    assert (await get_product(pool, product_id)).stock == 100 - 79
    await assert_books_balance(pool)
