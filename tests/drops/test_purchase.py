"""The purchase transaction and the line before it, on the real database."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias
from uuid import uuid4

import pytest

from api.database.errors import Conflict
from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.drops.errors import IdempotencyKeyReused, NotFound
from api.drops.group_commit import Busy, GroupCommit, GroupPolicy, Outcome
from api.drops.orders import OrderStatus, cancel_order, list_orders
from api.drops.products import get_product, restock
from api.drops.purchase import Confirmed, LimitReached, NotOpen, Purchase, SoldOut, execute_purchases
from tests.drops.purchases import ONE_BY_ONE, assert_books_balance, kinds, line, new_product, wish
from tests.dsql.stand_in import StandIn
from tests.engines import DSQL

MakeConflict: TypeAlias = Callable[[int], Coroutine[None, None, None]]


async def submit_all(lines: Sequence[GroupCommit], purchases: Sequence[Purchase]) -> list[Outcome]:
    """Send all purchases at once, to the lines in turn."""
    tasks = [lines[number % len(lines)].submit(purchase) for number, purchase in enumerate(purchases)]
    return await asyncio.gather(*tasks)


@pytest.mark.parametrize("policy", [GroupPolicy(), GroupPolicy(size=7), ONE_BY_ONE])
async def test_two_hundred_concurrent_buyers_of_ten_units_leave_ten_orders(pool: Pool, policy: GroupPolicy) -> None:
    product_id = await new_product(pool, stock=10)
    buyers = [wish(product_id, f"buyer-{number}") for number in range(200)]

    outcomes = await submit_all([line(pool, policy)], buyers)

    assert kinds(outcomes) == {"Confirmed": 10, "SoldOut": 190}
    assert (await get_product(pool, product_id)).stock == 0
    told = {outcome.decision.order.id for outcome in outcomes if isinstance(outcome.decision, Confirmed)}
    assert told == {order.id for order in (await list_orders(pool, 100)).items}
    await assert_books_balance(pool)


async def test_the_last_unit_goes_to_exactly_one_of_two(pool: Pool) -> None:
    for _ in range(20):
        product_id = await new_product(pool, stock=1)
        rivals = [wish(product_id, "ada"), wish(product_id, "bob")]

        outcomes = await submit_all([line(pool), line(pool)], rivals)

        assert kinds(outcomes) == {"Confirmed": 1, "SoldOut": 1}
        assert (await get_product(pool, product_id)).stock == 0


async def test_first_come_first_served_within_a_group(pool: Pool) -> None:
    product_id = await new_product(pool, stock=3)
    wishes = [wish(product_id, "ada", 2), wish(product_id, "bob", 2), wish(product_id, "cyd", 1)]

    result = await execute_purchases(pool, product_id, wishes)

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


@pytest.mark.parametrize("policy", [GroupPolicy(), ONE_BY_ONE])
async def test_the_same_key_fifty_times_at_once_through_two_lines_is_one_purchase(
    pool: Pool, policy: GroupPolicy
) -> None:
    product_id = await new_product(pool, stock=5)
    wishes = [wish(product_id, key="click-1") for _ in range(50)]

    outcomes = await submit_all([line(pool, policy), line(pool, policy)], wishes)

    decisions = [outcome.decision for outcome in outcomes]
    assert all(isinstance(decision, Confirmed) for decision in decisions)
    fresh = [decision for decision in decisions if isinstance(decision, Confirmed) and not decision.replayed]
    assert len(fresh) == 1
    assert (await get_product(pool, product_id)).stock == 4
    await assert_books_balance(pool)


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
    await cancel_order(pool, bought.order.id, "ada")

    decision = (await desk.submit(wish(product_id, key="click-1"))).decision

    assert isinstance(decision, Confirmed)
    assert decision.order.status is OrderStatus.CANCELLED
    assert (await get_product(pool, product_id)).stock == 2


async def test_a_limit_counts_what_the_buyer_holds_and_what_stands_in_the_same_group(pool: Pool) -> None:
    product_id = await new_product(pool, stock=10, limit=2)

    result = await execute_purchases(
        pool, product_id, [wish(product_id), wish(product_id), wish(product_id), wish(product_id, "bob", 3)]
    )
    later = await execute_purchases(pool, product_id, [wish(product_id)])

    assert [type(decision) for decision in result.decisions] == [Confirmed, Confirmed, LimitReached, LimitReached]
    assert later.decisions == [LimitReached(limit=2, held=2)]


async def test_fifty_concurrent_purchases_of_one_buyer_stay_within_the_limit(pool: Pool) -> None:
    product_id = await new_product(pool, stock=100, limit=3)
    lines = [line(pool, ONE_BY_ONE), line(pool, ONE_BY_ONE)]

    outcomes = await submit_all(lines, [wish(product_id) for _ in range(50)])

    assert kinds(outcomes) == {"Confirmed": 3, "LimitReached": 47}
    await assert_books_balance(pool)


async def test_cancelled_units_can_be_held_again(pool: Pool) -> None:
    product_id = await new_product(pool, stock=10, limit=1)
    desk = line(pool)
    bought = (await desk.submit(wish(product_id))).decision
    assert isinstance(bought, Confirmed)

    await cancel_order(pool, bought.order.id, "ada")

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


async def test_late_buyers_of_a_sold_out_drop_conflict_with_nobody(pool: Pool) -> None:
    product_id = await new_product(pool, stock=0)

    outcomes = await submit_all([line(pool, ONE_BY_ONE)], [wish(product_id) for _ in range(100)])

    assert {outcome.attempts for outcome in outcomes} == {1}


async def test_a_group_commits_together_in_one_transaction(pool: Pool) -> None:
    product_id = await new_product(pool, stock=500)

    outcomes = await submit_all([line(pool)], [wish(product_id, f"buyer-{number}") for number in range(400)])

    assert kinds(outcomes) == {"Confirmed": 400}
    # The version counts the transactions that sold: one for the first buyer, one for those who waited.
    assert (await get_product(pool, product_id)).version - 1 <= 3


async def test_restock_and_cancel_compete_with_purchases(pool: Pool) -> None:
    product_id = await new_product(pool, stock=50)
    lines = [line(pool, ONE_BY_ONE), line(pool)]
    bought = [
        outcome.decision.order.id
        for outcome in await submit_all(lines, [wish(product_id, f"early-{number}") for number in range(20)])
        if isinstance(outcome.decision, Confirmed)
    ]

    late = asyncio.create_task(submit_all(lines, [wish(product_id, f"late-{number}") for number in range(100)]))
    await asyncio.gather(
        *(cancel_order(pool, order_id, None) for order_id in bought),
        *(restock(pool, product_id, 3) for _ in range(5)),
    )
    sold = kinds(await late)["Confirmed"]

    await assert_books_balance(pool)
    assert (await get_product(pool, product_id)).stock == 50 + 5 * 3 - sold


async def test_a_cancelled_order_returns_its_units_once(pool: Pool) -> None:
    product_id = await new_product(pool, stock=5)
    bought = (await line(pool).submit(wish(product_id, quantity=2))).decision
    assert isinstance(bought, Confirmed)

    cancelled = await asyncio.gather(*(cancel_order(pool, bought.order.id, "ada") for _ in range(10)))

    assert {cancellation.order.status for cancellation in cancelled} == {OrderStatus.CANCELLED}
    assert sum(cancellation.first for cancellation in cancelled) == 1
    assert (await get_product(pool, product_id)).stock == 5
    await assert_books_balance(pool)


async def test_a_full_line_answers_busy_at_once_and_sells_nothing(pool: Pool) -> None:
    product_id = await new_product(pool, stock=100)
    desk = line(pool, GroupPolicy(size=5, waiting=10))

    outcomes = await submit_all([desk], [wish(product_id, f"buyer-{number}") for number in range(30)])

    assert kinds(outcomes) == {"Confirmed": 10, "Busy": 20}
    turned_away = [outcome for outcome in outcomes if isinstance(outcome.decision, Busy)]
    assert {outcome.attempts for outcome in turned_away} == {0}
    assert (await get_product(pool, product_id)).stock == 90


@pytest.fixture
def make_commits_conflict(engine: str, behind: Pool, stand_in: StandIn) -> MakeConflict:
    """Let the next so many commits that change the stock end with 40001, raised while COMMIT runs."""

    async def make_commits_conflict(times: int) -> None:
        if engine == DSQL:
            stand_in.conflicts = times
            return
        await behind.execute("CREATE SEQUENCE commits")
        await behind.execute(f"""
            CREATE FUNCTION conflict() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                IF nextval('commits') <= {times} THEN
                    RAISE EXCEPTION 'change conflicts with another transaction (OC000)' USING ERRCODE = '40001';
                END IF;
                RETURN NULL;
            END $$
        """)
        await behind.execute("""
            CREATE CONSTRAINT TRIGGER conflict_at_commit AFTER UPDATE ON inventory DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION conflict()
        """)

    return make_commits_conflict


async def test_a_conflict_at_commit_is_retried_and_counted(pool: Pool, make_commits_conflict: MakeConflict) -> None:
    product_id = await new_product(pool, stock=5)
    await make_commits_conflict(3)

    outcome = await line(pool).submit(wish(product_id))

    assert isinstance(outcome.decision, Confirmed)
    assert not outcome.decision.replayed
    assert outcome.attempts == 4
    assert (await get_product(pool, product_id)).stock == 4


async def test_a_conflict_at_commit_is_named_and_leaves_nothing(
    pool: Pool, make_commits_conflict: MakeConflict
) -> None:
    product_id = await new_product(pool, stock=5)
    await make_commits_conflict(1)

    with pytest.raises(Conflict, match="OC000"):
        await execute_purchases(pool, product_id, [wish(product_id)])

    assert (await get_product(pool, product_id)).stock == 5
    assert (await list_orders(pool, 10)).items == []


async def test_spent_attempts_are_busy_with_nothing_sold(pool: Pool, make_commits_conflict: MakeConflict) -> None:
    product_id = await new_product(pool, stock=5)
    await make_commits_conflict(1000)

    outcome = await line(pool, budget=RetryBudget(attempts=3)).submit(wish(product_id))

    assert isinstance(outcome.decision, Busy)
    assert outcome.decision.retry_after_ms > 0
    assert outcome.attempts == 3
    assert (await get_product(pool, product_id)).stock == 5


async def test_a_spent_deadline_is_busy_with_nothing_sold(pool: Pool, make_commits_conflict: MakeConflict) -> None:
    product_id = await new_product(pool, stock=5)
    await make_commits_conflict(100_000)

    outcomes = await submit_all([line(pool, budget=RetryBudget(attempts=100_000, seconds=0.3))], [wish(product_id)] * 3)

    assert kinds(outcomes) == {"Busy": 3}
    assert (await get_product(pool, product_id)).stock == 5


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
