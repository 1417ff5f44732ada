"""Purchases, restocks and cancellations that compete for one product's stock, and conflicts at COMMIT.

Each conflict needs the commit of a rival. So with fewer rivals than attempts in the budget, no attempts are used up.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TypeAlias

import pytest

from api.database.errors import Conflict
from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.database.tokens import AuthTokens
from api.drops.decisions import Confirmed
from api.drops.group_policy import GroupPolicy
from api.drops.order_search import list_orders
from api.drops.orders import OrderStatus
from api.drops.products import get_product
from api.drops.purchase import GroupFailed, execute_group
from api.drops.ticket import Busy
from tests.drops.purchases import (
    ONE_BY_ONE,
    Unhurried,
    assert_books_balance,
    cancel,
    kinds,
    new_group_commit,
    new_product,
    purchase,
    restock,
    submit_all,
)
from tests.dsql.stand_in import StandIn
from tests.engines import DSQL
from tests.patience import PATIENT_BUDGET, PATIENT_TIMES, short

MakeConflict: TypeAlias = Callable[[int], Coroutine[None, None, None]]


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


@pytest.mark.parametrize("policy", [GroupPolicy(), GroupPolicy(size=7), ONE_BY_ONE])
async def test_two_hundred_concurrent_buyers_of_ten_units_leave_ten_orders(pool: Pool, policy: GroupPolicy) -> None:
    product_id = await new_product(pool, stock=10)
    buyers = [purchase(product_id, f"buyer-{number}") for number in range(200)]

    outcomes = await submit_all([new_group_commit(pool, policy)], buyers)

    assert kinds(outcomes) == {"Confirmed": 10, "SoldOut": 190}
    assert (await get_product(pool, product_id)).stock == 0
    confirmed = {outcome.decision.order.id for outcome in outcomes if isinstance(outcome.decision, Confirmed)}
    assert confirmed == {order.id for order in (await list_orders(pool, 100)).items}
    await assert_books_balance(pool)


async def test_the_last_unit_goes_to_exactly_one_of_two(pool: Pool) -> None:
    for _ in range(10):
        product_id = await new_product(pool, stock=1)
        rivals = [purchase(product_id, "ada"), purchase(product_id, "bob")]

        outcomes = await submit_all([new_group_commit(pool), new_group_commit(pool)], rivals)

        assert kinds(outcomes) == {"Confirmed": 1, "SoldOut": 1}
        assert (await get_product(pool, product_id)).stock == 0


@pytest.mark.parametrize("policy", [GroupPolicy(), ONE_BY_ONE])
async def test_fifty_purchases_under_one_key_through_two_processes_are_one_order(
    pool: Pool, policy: GroupPolicy
) -> None:
    product_id = await new_product(pool, stock=5)
    purchases = [purchase(product_id, key="click-1") for _ in range(50)]

    outcomes = await submit_all([new_group_commit(pool, policy), new_group_commit(pool, policy)], purchases)

    assert kinds(outcomes) == {"Confirmed": 1, "Replayed": 49}
    assert (await get_product(pool, product_id)).stock == 4
    await assert_books_balance(pool)


async def test_fifty_concurrent_purchases_of_one_buyer_stay_within_the_limit(pool: Pool) -> None:
    product_id = await new_product(pool, stock=100, limit=3)
    group_commits = [new_group_commit(pool, ONE_BY_ONE), new_group_commit(pool, ONE_BY_ONE)]

    outcomes = await submit_all(group_commits, [purchase(product_id) for _ in range(50)])

    assert kinds(outcomes) == {"Confirmed": 3, "LimitReached": 47}
    await assert_books_balance(pool)


async def test_buyers_of_a_sold_out_drop_cause_no_conflict(pool: Pool) -> None:
    product_id = await new_product(pool, stock=0)

    outcomes = await submit_all([new_group_commit(pool, ONE_BY_ONE)], [purchase(product_id) for _ in range(100)])

    assert {outcome.attempts for outcome in outcomes} == {1}


async def test_the_books_balance_after_restocks_and_cancellations_between_purchases(pool: Pool) -> None:
    early, late, restocks = 6, 20, 3
    assert early + late + restocks <= PATIENT_BUDGET.attempts
    product_id = await new_product(pool, stock=15)
    group_commits = [new_group_commit(pool, ONE_BY_ONE), new_group_commit(pool)]
    bought = [
        outcome.decision.order.id
        for outcome in await submit_all(
            group_commits, [purchase(product_id, f"early-{number}") for number in range(early)]
        )
        if isinstance(outcome.decision, Confirmed)
    ]

    selling = asyncio.create_task(
        submit_all(group_commits, [purchase(product_id, f"late-{number}") for number in range(late)])
    )
    await asyncio.gather(
        *(cancel(pool, order_id, None, PATIENT_BUDGET) for order_id in bought),
        *(restock(pool, product_id, 1, PATIENT_BUDGET) for _ in range(restocks)),
    )
    sold = kinds(await selling)["Confirmed"]

    assert len(bought) == early
    assert sold >= 15 - early
    await assert_books_balance(pool)
    assert (await get_product(pool, product_id)).stock == 15 + restocks - sold


async def test_a_cancelled_order_returns_its_units_once(pool: Pool) -> None:
    product_id = await new_product(pool, stock=5)
    bought = (await new_group_commit(pool).submit(purchase(product_id, quantity=2))).decision
    assert isinstance(bought, Confirmed)

    cancelled = await asyncio.gather(*(cancel(pool, bought.order.id, "ada") for _ in range(10)))

    assert {cancellation.order.status for cancellation in cancelled} == {OrderStatus.CANCELLED}
    assert sum(cancellation.first for cancellation in cancelled) == 1
    assert (await get_product(pool, product_id)).stock == 5
    await assert_books_balance(pool)


@pytest.fixture
def make_commits_conflict(engine: str, behind: Pool, stand_in: StandIn) -> MakeConflict:
    """Returns a function that lets the next `times` COMMITs that change the stock fail with 40001."""

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
            CREATE CONSTRAINT TRIGGER conflict_at_commit AFTER UPDATE ON stock_shards DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION conflict()
        """)

    return make_commits_conflict


async def test_a_conflict_at_commit_is_retried_and_counted(pool: Pool, make_commits_conflict: MakeConflict) -> None:
    product_id = await new_product(pool, stock=5)
    await make_commits_conflict(3)

    outcome = await new_group_commit(pool).submit(purchase(product_id))

    assert isinstance(outcome.decision, Confirmed)
    assert outcome.attempts == 4
    assert (await get_product(pool, product_id)).stock == 4


async def test_a_conflict_at_commit_is_raised_and_changes_nothing(
    pool: Pool, make_commits_conflict: MakeConflict
) -> None:
    product_id = await new_product(pool, stock=5)
    await make_commits_conflict(1)

    with pytest.raises(GroupFailed, match="OC000") as failed:
        await execute_group(pool, product_id, [purchase(product_id)], [1])

    assert isinstance(failed.value.error, Conflict)
    assert failed.value.sale is not None
    assert (failed.value.sale.settled, failed.value.unknown) == ({}, None)
    assert (await get_product(pool, product_id)).stock == 5
    assert (await list_orders(pool, 10)).items == []


@pytest.mark.slow
async def test_a_purchase_without_attempts_left_is_busy_with_nothing_sold(
    pool: Pool, make_commits_conflict: MakeConflict
) -> None:
    product_id = await new_product(pool, stock=5)
    await make_commits_conflict(1000)

    outcome = await new_group_commit(pool, budget=RetryBudget(attempts=3)).submit(purchase(product_id))

    assert isinstance(outcome.decision, Busy)
    assert outcome.decision.retry_after_ms > 0
    assert outcome.attempts == 3
    assert (await get_product(pool, product_id)).stock == 5


@pytest.mark.slow
async def test_a_purchase_past_its_deadline_is_busy_with_nothing_sold(
    pool: Pool, tokens: AuthTokens, make_commits_conflict: MakeConflict
) -> None:
    product_id = await new_product(pool, stock=5)
    await make_commits_conflict(1_000_000)
    budget = RetryBudget(attempts=1_000_000, seconds=short(0.3))

    # Every transaction ends with a conflict, also the transaction in flight at the deadline.
    async with Unhurried(pool.endpoint, 1, tokens, PATIENT_TIMES.pool) as unhurried:
        outcomes = await submit_all([new_group_commit(unhurried, budget=budget)], [purchase(product_id)] * 3)

    assert kinds(outcomes) == {"Busy": 3}
    assert (await get_product(pool, product_id)).stock == 5
