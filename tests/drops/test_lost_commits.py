"""Purchases whose connection is lost at COMMIT: they are never answered on a guess, and never sold twice."""

import asyncio
from dataclasses import replace

import pytest

from api.database.endpoint import Endpoint
from api.database.errors import OutcomeUnknown, Unavailable
from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.database.tokens import AuthTokens
from api.drops.audit import audit
from api.drops.decisions import Confirmed, Replayed
from api.drops.group_policy import GroupPolicy
from api.drops.order_search import list_orders
from api.drops.products import get_product
from api.drops.ticket import Busy, Outcome
from tests.drops.purchases import assert_books_balance, cancel, new_group_commit, new_product, purchase, restock
from tests.faults import Faulty
from tests.patience import PATIENCE, PATIENT_BUDGET, PATIENT_TIMES, short, until

ENDLESS = RetryBudget(attempts=1_000_000, seconds=PATIENCE)
"""For purchases that wait for an endpoint to come back, however often they are tried until then."""


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit"])
async def test_a_connection_lost_at_commit_sells_each_buyer_one(
    behind: Pool, fragile: Pool, faulty: Faulty, fault: str
) -> None:
    product_id = await new_product(behind, stock=100)
    setattr(faulty, fault, 5)
    group_commit = new_group_commit(fragile, GroupPolicy(size=10))

    outcomes = await asyncio.gather(
        *(group_commit.submit(purchase(product_id, f"buyer-{number}")) for number in range(60))
    )

    assert getattr(faulty, fault) == 0
    confirmed = [outcome.decision for outcome in outcomes if isinstance(outcome.decision, Confirmed)]
    assert len(confirmed) == 60
    orders = (await list_orders(behind, 100)).items
    assert {order.id for order in orders} == {decision.order.id for decision in confirmed}
    assert len(orders) == 60
    assert (await get_product(behind, product_id)).stock == 40
    assert all(entry.balanced for entry in await audit(behind))


async def test_the_last_unit_belongs_to_the_buyer_whose_commit_got_no_answer(
    behind: Pool, fragile: Pool, faulty: Faulty
) -> None:
    product_id = await new_product(behind, stock=1)
    faulty.cut_after_commit = 1

    outcome = await new_group_commit(fragile).submit(purchase(product_id, "ada"))

    assert isinstance(outcome.decision, Confirmed)
    assert outcome.decision.remaining == 0
    assert outcome.attempts == 2


async def test_a_commit_that_is_never_answered_is_looked_up_after_a_while(
    behind: Pool, tokens: AuthTokens, faulty: Faulty
) -> None:
    product_id = await new_product(behind, stock=1)
    faulty.hang_at_commit = 1

    # A COMMIT that is only slow may miss this timeout too. Its order is then looked up in the same way.
    times = replace(PATIENT_TIMES.pool, commit=short(0.2))
    async with Pool(Endpoint("here", faulty.url), 10, tokens, times) as impatient:
        outcome = await new_group_commit(impatient).submit(purchase(product_id, "ada"))

    assert faulty.hang_at_commit == 0
    assert isinstance(outcome.decision, Confirmed)
    assert (await get_product(behind, product_id)).stock == 0


async def test_an_outcome_that_stays_unknown_is_an_error_and_its_key_finds_the_order(
    behind: Pool, fragile: Pool, faulty: Faulty
) -> None:
    product_id = await new_product(behind, stock=5)
    await fragile.warm_up(1)  # one connection is open, and no other will be
    faulty.cut_after_commit = 1
    group_commit = new_group_commit(fragile, budget=RetryBudget(attempts=4, seconds=PATIENCE))

    buying = asyncio.create_task(group_commit.submit(purchase(product_id, "ada", key="click-1")))
    await faulty.commit_arrived.wait()
    faulty.down()
    with pytest.raises(OutcomeUnknown, match="has not come back yet"):
        await buying

    await faulty.up()
    again = (await group_commit.submit(purchase(product_id, "ada", key="click-1"))).decision
    assert isinstance(again, Replayed)
    assert (await get_product(behind, product_id)).stock == 4


async def test_with_a_spent_quota_a_purchase_of_unknown_outcome_is_not_answered_busy(
    behind: Pool, fragile: Pool, faulty: Faulty
) -> None:
    product_id = await new_product(behind, stock=5)
    await fragile.warm_up(1)  # one connection is open, and no other will be
    faulty.cut_after_commit = 1
    group_commit = new_group_commit(fragile, GroupPolicy(max_unanswered=1), budget=ENDLESS)

    first = asyncio.create_task(group_commit.submit(purchase(product_id, "ada", key="click-1")))
    await faulty.commit_arrived.wait()
    faulty.down()
    await until(lambda: sum(group_commit.transactions.values()) > 0)
    with pytest.raises(OutcomeUnknown, match="has not come back yet"):
        await group_commit.submit(purchase(product_id, "ada", key="click-1"))
    assert isinstance((await group_commit.submit(purchase(product_id, "eve"))).decision, Busy)

    await faulty.up()
    assert isinstance((await first).decision, Confirmed)
    assert group_commit.unanswered == 0


async def test_a_database_that_is_away_is_unavailable_and_sells_nothing(
    behind: Pool, fragile: Pool, faulty: Faulty
) -> None:
    product_id = await new_product(behind, stock=5)
    faulty.down()

    with pytest.raises(Unavailable):
        await new_group_commit(fragile, budget=RetryBudget(attempts=3, seconds=PATIENCE)).submit(
            purchase(product_id, "ada")
        )

    assert (await get_product(behind, product_id)).stock == 5


async def test_a_database_that_returns_within_the_deadline_costs_no_error(
    behind: Pool, fragile: Pool, faulty: Faulty
) -> None:
    product_id = await new_product(behind, stock=5)
    await fragile.warm_up(1)
    faulty.down()
    group_commit = new_group_commit(fragile, budget=ENDLESS)
    buying = asyncio.create_task(group_commit.submit(purchase(product_id, "ada")))
    await until(lambda: group_commit.transactions["here", "Unavailable"] > 0)
    await faulty.up()

    assert isinstance((await buying).decision, Confirmed)


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit"])
async def test_a_cancellation_lost_at_commit_returns_the_units_once(
    behind: Pool, fragile: Pool, faulty: Faulty, fault: str
) -> None:
    product_id = await new_product(behind, stock=5)
    bought = (await new_group_commit(behind).submit(purchase(product_id, "ada"))).decision
    assert isinstance(bought, Confirmed)
    setattr(faulty, fault, 2)

    await cancel(fragile, bought.order.id, "ada", PATIENT_BUDGET)

    assert (await get_product(behind, product_id)).stock == 5
    assert all(entry.balanced for entry in await audit(behind))


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit"])
async def test_a_product_whose_creation_was_lost_at_commit_exists_once(
    behind: Pool, fragile: Pool, faulty: Faulty, fault: str
) -> None:
    setattr(faulty, fault, 2)

    product_id = await new_product(fragile, stock=5)

    assert [entry.product_id for entry in await audit(behind)] == [product_id]


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit"])
async def test_a_restock_lost_at_commit_counts_once(behind: Pool, fragile: Pool, faulty: Faulty, fault: str) -> None:
    product_id = await new_product(behind, stock=5)
    setattr(faulty, fault, 2)

    product = await restock(fragile, product_id, 3)

    assert (product.stock, product.stocked) == (8, 8)
    assert await get_product(behind, product_id) == product
    await assert_books_balance(behind)


async def test_a_lost_commit_does_not_confirm_an_earlier_order_as_a_new_one(
    behind: Pool, fragile: Pool, faulty: Faulty
) -> None:
    product_id = await new_product(behind, stock=10)
    group_commit = new_group_commit(fragile)
    await group_commit.submit(purchase(product_id, "ada", key="bought before"))
    faulty.cut_after_commit = 1

    # One group: an old key, a new buyer, and a new key twice.
    old, new, first, second = await asyncio.gather(
        group_commit.submit(purchase(product_id, "ada", key="bought before")),
        group_commit.submit(purchase(product_id, "bob")),
        group_commit.submit(purchase(product_id, "cyd", key="click-1")),
        group_commit.submit(purchase(product_id, "cyd", key="click-1")),
    )

    assert faulty.cut_after_commit == 0
    decisions = [outcome.decision for outcome in (old, new, first, second)]
    assert [type(decision) for decision in decisions] == [Replayed, Confirmed, Confirmed, Replayed]
    assert (await get_product(behind, product_id)).stock == 7


async def test_a_purchase_that_a_lost_commit_was_not_to_sell_to_is_busy(
    behind: Pool, fragile: Pool, faulty: Faulty
) -> None:
    product_id = await new_product(behind, stock=1)
    faulty.cut_after_commit = 1
    group_commit = new_group_commit(fragile, budget=RetryBudget(attempts=1, seconds=PATIENCE))

    ada, bob = await asyncio.gather(
        group_commit.submit(purchase(product_id, "ada")),
        group_commit.submit(purchase(product_id, "bob")),
        return_exceptions=True,
    )

    assert isinstance(ada, OutcomeUnknown)
    assert isinstance(bob, Outcome)
    assert isinstance(bob.decision, Busy)


async def test_a_connection_that_cannot_be_released_after_a_commit_does_not_undo_it(
    behind: Pool, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    product_id = await new_product(behind, stock=5)

    async def fail(*_: object, **__: object) -> None:
        raise TimeoutError

    times = replace(
        PATIENT_TIMES.pool, close=short(0.05)
    )  # closing waits in vain for the connection that was not released
    async with Pool(Endpoint("here", postgres_url), size=1, times=times) as pool:
        monkeypatch.setattr("asyncpg.pool.PoolConnectionHolder.release", fail)
        product = await restock(pool, product_id, 5)
        monkeypatch.undo()

    assert product.stock == 10
    assert (await get_product(behind, product_id)).stock == 10
