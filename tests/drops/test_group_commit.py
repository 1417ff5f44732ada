"""Group commit: which purchases share a transaction, how long they wait, and how hanging up or a shutdown ends them.

A line does the same on either engine. So only the tests of a conflict and of the number of transactions or connections
run on both.
"""

import asyncio

import pytest
from asyncpg import CheckViolationError

from api.database.errors import OutcomeUnknown, Unavailable
from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.database.tokens import AuthTokens
from api.drops.decisions import Confirmed, Replayed
from api.drops.group_policy import GroupPolicy
from api.drops.order_search import list_orders
from api.drops.products import get_product
from api.drops.ticket import Outcome
from tests.drops.purchases import Unhurried, assert_books_balance, kinds, new_group_commit, new_product, purchase
from tests.engines import on_both_engines
from tests.locks import stock_held, until_blocked
from tests.patience import PATIENCE, PATIENT_TIMES, short


@on_both_engines
async def test_purchases_that_wait_are_committed_together(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=100, shards=1)
    group_commit = new_group_commit(pool)
    async with stock_held(behind, product_id):
        first = asyncio.create_task(group_commit.submit(purchase(product_id, "first")))
        await until_blocked(behind)
        waiting = [
            asyncio.create_task(group_commit.submit(purchase(product_id, f"buyer-{number}"))) for number in range(50)
        ]
        await asyncio.sleep(0)

    outcomes = await asyncio.gather(first, *waiting)

    assert kinds(outcomes) == {"Confirmed": 51}
    assert group_commit.transactions == {("here", "sold"): 2}
    assert (await get_product(pool, product_id)).version == 1 + 2


async def test_a_group_has_at_most_the_size_of_the_policy(pool: Pool) -> None:
    product_id = await new_product(pool, stock=2_000)
    group_commit = new_group_commit(pool, GroupPolicy(size=20))

    await asyncio.gather(*(group_commit.submit(purchase(product_id, f"buyer-{number}")) for number in range(100)))

    assert group_commit.transactions == {("here", "sold"): 5}


@on_both_engines
async def test_attempts_count_the_transactions_of_each_purchase_by_itself(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=100, shards=1)
    group_commit = new_group_commit(pool)
    async with behind.begin(PATIENCE) as rival:
        await rival.execute("UPDATE stock_shards SET version = version + 1 WHERE product_id = $1", product_id)
        early = asyncio.create_task(group_commit.submit(purchase(product_id, "early")))
        await until_blocked(behind)
        late = asyncio.create_task(group_commit.submit(purchase(product_id, "late")))
        await asyncio.sleep(0)
        await rival.commit()

    # The transaction of the early purchase conflicts. The next attempt has the late purchase in it.
    outcomes = await asyncio.gather(early, late)

    assert kinds(outcomes) == {"Confirmed": 2}
    assert [outcome.attempts for outcome in outcomes] == [2, 1]
    assert group_commit.transactions == {("here", "Conflict"): 1, ("here", "sold"): 1}


async def test_products_do_not_wait_for_each_other(pool: Pool, behind: Pool) -> None:
    held_id, free_id = await new_product(pool, stock=1), await new_product(pool, stock=1)
    group_commit = new_group_commit(pool)
    async with stock_held(behind, held_id):
        held = asyncio.create_task(group_commit.submit(purchase(held_id)))
        await until_blocked(behind)
        assert isinstance((await group_commit.submit(purchase(free_id))).decision, Confirmed)
        assert not held.done()
    assert isinstance((await held).decision, Confirmed)


@on_both_engines
async def test_few_connections_serve_a_product_at_full_load(pool: Pool, tokens: AuthTokens, behind: Pool) -> None:
    product_id = await new_product(pool, stock=1000)
    async with Pool(pool.endpoint, 20, tokens, PATIENT_TIMES.pool) as busy:
        group_commit = new_group_commit(busy, GroupPolicy(size=10))
        await asyncio.gather(*(group_commit.submit(purchase(product_id, f"buyer-{number}")) for number in range(300)))
        ours = "datname = current_database() AND application_name = 'dropzero'"
        [row] = await behind.fetch(f"SELECT count(*) AS open FROM pg_stat_activity WHERE {ours}")

    assert row["open"] <= 4 + 3, "four of the line, one of `pool`, two of `behind`"


async def test_a_buyer_who_hangs_up_does_not_stop_a_transaction_in_flight(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=5)
    group_commit = new_group_commit(pool)
    async with stock_held(behind, product_id):
        leaving = asyncio.create_task(group_commit.submit(purchase(product_id, "ada", key="click-1")))
        await until_blocked(behind)
        leaving.cancel()
        await asyncio.wait([leaving])

    again = (await group_commit.submit(purchase(product_id, "ada", key="click-1"))).decision

    assert isinstance(again, Replayed)
    assert len((await list_orders(pool, 10)).items) == 1


async def test_a_buyer_who_hangs_up_in_the_line_is_sold_nothing(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=5)
    group_commit = new_group_commit(pool)
    async with stock_held(behind, product_id):
        staying = asyncio.create_task(group_commit.submit(purchase(product_id, "ada")))
        await until_blocked(behind)
        leaving = asyncio.create_task(group_commit.submit(purchase(product_id, "bob")))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])

    await staying
    await group_commit.close(grace=PATIENCE)

    assert [order.user_ref for order in (await list_orders(pool, 10)).items] == ["ada"]
    assert group_commit.unanswered == 0


async def test_a_purchase_in_flight_at_its_deadline_is_unavailable_and_sold_nothing(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=5)
    group_commit = new_group_commit(pool, budget=RetryBudget(seconds=short(1.0)))
    async with stock_held(behind, product_id):
        group = (group_commit.submit(purchase(product_id, f"buyer-{number}")) for number in range(3))
        answers = await asyncio.gather(*group, return_exceptions=True)

    assert [type(answer) for answer in answers] == [Unavailable] * 3
    assert (await get_product(pool, product_id)).stock == 5


async def test_purchases_in_the_line_are_busy_at_their_deadline(pool: Pool, behind: Pool) -> None:
    """They do not wait for the transaction in flight, however long it takes."""
    product_id = await new_product(pool, stock=5)
    async with Unhurried(pool.endpoint, size=1, times=PATIENT_TIMES.pool) as unhurried:
        group_commit = new_group_commit(unhurried, budget=RetryBudget(seconds=short(0.2)))
        async with stock_held(behind, product_id):
            in_flight = asyncio.create_task(group_commit.submit(purchase(product_id, "ada")))
            await until_blocked(behind)
            outcomes = await asyncio.gather(
                *(group_commit.submit(purchase(product_id, f"late-{number}")) for number in range(3))
            )
            assert not in_flight.done()
        assert isinstance((await in_flight).decision, Confirmed)

    assert kinds(outcomes) == {"Busy": 3}
    assert {outcome.attempts for outcome in outcomes} == {0}
    assert (await get_product(pool, product_id)).stock == 4


async def test_a_shutdown_answers_every_purchase_in_the_line(pool: Pool) -> None:
    product_id = await new_product(pool, stock=60)
    group_commit = new_group_commit(pool, GroupPolicy(size=10))
    buyers = [asyncio.create_task(group_commit.submit(purchase(product_id, f"buyer-{number}"))) for number in range(80)]
    await asyncio.sleep(0)

    await group_commit.close(grace=PATIENCE)

    outcomes = await asyncio.gather(*buyers)
    assert kinds(outcomes) == {"Confirmed": 60, "SoldOut": 20}
    await assert_books_balance(pool)


async def test_a_shutdown_answers_every_purchase_after_its_grace_period(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=60)
    group_commit = new_group_commit(pool)
    async with stock_held(behind, product_id):
        in_flight = asyncio.create_task(group_commit.submit(purchase(product_id, "ada")))
        await until_blocked(behind)
        waiting = asyncio.create_task(group_commit.submit(purchase(product_id, "bob")))
        await asyncio.sleep(0)

        await group_commit.close(grace=short(0.05))

        with pytest.raises(OutcomeUnknown):
            await in_flight
        with pytest.raises(Unavailable):
            await waiting
    assert (await get_product(pool, product_id)).stock == 60


async def test_unanswered_purchases_are_bounded_over_all_products(pool: Pool) -> None:
    product_ids = [await new_product(pool, stock=1) for _ in range(6)]
    group_commit = new_group_commit(pool, GroupPolicy(max_unanswered=4))

    outcomes = await asyncio.gather(*(group_commit.submit(purchase(product_id)) for product_id in product_ids))

    assert kinds(outcomes) == {"Confirmed": 4, "Busy": 2}


async def test_a_purchase_whose_buyer_has_hung_up_counts_until_it_leaves_the_line(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=50)
    group_commit = new_group_commit(pool, GroupPolicy(max_unanswered=10))
    async with stock_held(behind, product_id):
        first = asyncio.create_task(group_commit.submit(purchase(product_id, "ada")))
        await until_blocked(behind)
        for number in range(100):
            leaving = asyncio.create_task(group_commit.submit(purchase(product_id, f"fickle-{number}")))
            await asyncio.sleep(0)
            leaving.cancel()
            await asyncio.wait([leaving])
        assert group_commit.unanswered == 10

    await first
    await group_commit.close(grace=PATIENCE)
    assert group_commit.unanswered == 0
    assert len((await list_orders(pool, 100)).items) == 1


async def test_halving_a_group_fails_only_the_bad_purchases_within_the_budget_of_each(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=1000)
    await behind.execute("ALTER TABLE orders ADD CONSTRAINT unlucky CHECK (user_ref NOT LIKE 'bad-%')")
    group_commit = new_group_commit(pool, budget=RetryBudget(attempts=12, seconds=PATIENCE))
    names = [f"bad-{number}" if number % 10 == 0 else f"good-{number}" for number in range(300)]

    answers = await asyncio.gather(
        *(group_commit.submit(purchase(product_id, name)) for name in names), return_exceptions=True
    )

    failed = {name for name, answer in zip(names, answers, strict=True) if isinstance(answer, CheckViolationError)}
    outcomes = [answer for answer in answers if isinstance(answer, Outcome)]
    assert failed == {name for name in names if name.startswith("bad-")}
    assert kinds(outcomes) == {"Confirmed": 270}
    assert max(outcome.attempts for outcome in outcomes) <= 12
    assert (await get_product(pool, product_id)).stock == 1000 - 270
    await assert_books_balance(pool)


async def test_a_group_that_is_halved_too_often_answers_the_others_busy(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=1000)
    await behind.execute("ALTER TABLE orders ADD CONSTRAINT unlucky CHECK (user_ref NOT LIKE 'bad-%')")
    group_commit = new_group_commit(pool, budget=RetryBudget(attempts=3, seconds=PATIENCE))
    names = [f"bad-{number}" if number % 10 == 0 else f"good-{number}" for number in range(60)]

    answers = await asyncio.gather(
        *(group_commit.submit(purchase(product_id, name)) for name in names), return_exceptions=True
    )

    outcomes = [answer for answer in answers if isinstance(answer, Outcome)]
    assert {type(answer) for answer in answers} <= {Outcome, CheckViolationError}
    assert max(outcome.attempts for outcome in outcomes) == 3
    assert kinds(outcomes)["Busy"] >= 15, "the first fifteen were in groups of 60, 30 and 15"
    assert (await get_product(pool, product_id)).stock == 1000 - kinds(outcomes)["Confirmed"]


async def test_a_read_only_database_is_unavailable_and_halves_no_group(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=10)
    await behind.execute(f"ALTER DATABASE {await database_name(behind)} SET default_transaction_read_only = on")
    async with Pool(pool.endpoint, size=5, times=PATIENT_TIMES.pool) as replica:
        group_commit = new_group_commit(replica, budget=RetryBudget(attempts=2, seconds=PATIENCE))
        answers = await asyncio.gather(
            *(group_commit.submit(purchase(product_id)) for _ in range(50)), return_exceptions=True
        )

    assert {type(answer) for answer in answers} == {Unavailable}
    assert group_commit.transactions == {("here", "Unavailable"): 2}


async def database_name(pool: Pool) -> str:
    [row] = await pool.fetch("SELECT current_database() AS name")
    name: str = row["name"]
    return name
