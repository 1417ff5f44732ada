"""Holdings: what keeps a buyer within the limit, when several lines sell to the buyer at the same time."""

import asyncio

import pytest

from api.database.pool import Pool
from api.drops.decisions import Confirmed, LimitReached
from api.drops.order_search import list_orders
from tests.drops.lines import bought, commits_held, line_drawing_from
from tests.drops.purchases import assert_books_balance, cancel, kinds, new_product, purchase, submit_all
from tests.engines import on_both_engines
from tests.locks import stock_held, until_blocked
from tests.patience import PATIENCE

MIDDLE = 99
"""The lock that the holdings of a buyer in the middle of a group wait for."""


async def let_holdings_of_the_middle_wait(behind: Pool) -> None:
    """From now on a new holding of a buyer `middle...` waits while MIDDLE is held."""
    await behind.execute(f"""
        CREATE FUNCTION wait_in_the_middle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM pg_advisory_xact_lock_shared({MIDDLE});
            RETURN NEW;
        END $$
    """)
    await behind.execute("""
        CREATE TRIGGER wait_in_the_middle BEFORE INSERT ON holdings
        FOR EACH ROW WHEN (NEW.user_ref LIKE 'middle%') EXECUTE FUNCTION wait_in_the_middle()
    """)


@on_both_engines
@pytest.mark.parametrize("known", [False, True], ids=["a new buyer", "a buyer with a holding of 0"])
async def test_one_buyer_through_two_lines_at_once_stays_within_the_limit(
    pool: Pool, behind: Pool, known: bool
) -> None:
    """The two transactions take their units from different shards, so only the holding keeps them apart."""
    product_id = await new_product(pool, stock=160, limit=1)
    lines = [line_drawing_from(pool, product_id, 3), line_drawing_from(pool, product_id, 7)]
    if known:
        await cancel(pool, await bought(lines[0], product_id), "ada")
    async with stock_held(behind, product_id), asyncio.timeout(PATIENCE):
        selling = asyncio.create_task(submit_all(lines, [purchase(product_id), purchase(product_id)]))
        await until_blocked(behind, 2)

    outcomes = await selling

    assert {type(outcome.decision): outcome.attempts for outcome in outcomes} == {Confirmed: 1, LimitReached: 2}
    assert [row["units"] for row in await pool.fetch("SELECT units FROM holdings")] == [1]
    assert len((await list_orders(pool, 10)).items) == 1 + known
    await assert_books_balance(pool)


async def test_two_groups_of_the_same_buyers_in_opposite_order_are_both_decided(pool: Pool, behind: Pool) -> None:
    """Each would wait for a holding that the other has written."""
    product_id = await new_product(pool, stock=160, limit=5)
    lines = [line_drawing_from(pool, product_id, 3), line_drawing_from(pool, product_id, 7)]
    await let_holdings_of_the_middle_wait(behind)
    async with commits_held(behind, MIDDLE), asyncio.timeout(PATIENCE):
        selling = [
            submit_all([line], [purchase(product_id, buyer) for buyer in buyers])
            for line, buyers in zip(lines, [("ada", "middle-1", "bob"), ("bob", "middle-2", "ada")], strict=True)
        ]
        both = asyncio.gather(*selling)
        await until_blocked(behind, 2)

    outcomes = [outcome for group in await both for outcome in group]

    assert kinds(outcomes) == {"Confirmed": 6}
    assert sorted(outcome.attempts for outcome in outcomes) == [1, 1, 1, 2, 2, 2]
    held = {row["user_ref"]: row["units"] for row in await pool.fetch("SELECT user_ref, units FROM holdings")}
    assert held == {"ada": 2, "bob": 2, "middle-1": 1, "middle-2": 1}
    await assert_books_balance(pool)


@on_both_engines
async def test_a_cancellation_gives_the_limit_back_through_every_line(pool: Pool) -> None:
    product_id = await new_product(pool, stock=160, limit=1)
    lines = [line_drawing_from(pool, product_id, 3), line_drawing_from(pool, product_id, 7)]

    order_id = await bought(lines[0], product_id)
    assert isinstance((await lines[1].submit(purchase(product_id))).decision, LimitReached)
    await cancel(pool, order_id, "ada")
    await bought(lines[1], product_id)

    assert isinstance((await lines[0].submit(purchase(product_id))).decision, LimitReached)
    await assert_books_balance(pool)
