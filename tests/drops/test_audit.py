"""The audit of stock and holdings: it finds every row that does not fit the orders, and nothing else."""

from uuid import UUID, uuid4

import pytest

from api.database.pool import Pool
from api.drops.audit import AuditLine, audit
from api.drops.decisions import Confirmed
from tests.drops.purchases import assert_books_balance, cancel, kinds, new_group_commit, new_product, purchase, restock
from tests.engines import on_both_engines


async def books(pool: Pool, product_id: UUID) -> AuditLine:
    [line] = [line for line in await audit(pool) if line.product_id == product_id]
    return line


async def sold_to_two_buyers(pool: Pool, limit: int | None = 5) -> UUID:
    """A product of which Ada has bought two units, and Bob has bought one and cancelled it."""
    product_id = await new_product(pool, stock=270, limit=limit)
    line = new_group_commit(pool)
    outcomes = [await line.submit(purchase(product_id, "ada", 2)), await line.submit(purchase(product_id, "bob"))]
    assert kinds(outcomes) == {"Confirmed": 2}
    assert isinstance(outcomes[1].decision, Confirmed)
    await cancel(pool, outcomes[1].decision.order.id, "bob")
    return product_id


@on_both_engines
async def test_the_books_are_the_sums_over_the_shards(pool: Pool) -> None:
    product_id = await sold_to_two_buyers(pool)
    await restock(pool, product_id, 7)

    line = await books(pool, product_id)

    assert line.balanced
    assert (line.shards, line.stocked, line.stock, line.sold, line.orders) == (16, 277, 275, 2, 1)
    assert line.wrong_holdings == 0


@pytest.mark.parametrize("shard", [0, 9])
async def test_a_unit_that_is_missing_in_any_shard_is_found(pool: Pool, behind: Pool, shard: int) -> None:
    product_id = await sold_to_two_buyers(pool)
    await assert_books_balance(pool)

    take = "UPDATE stock_shards SET stock = stock - 1 WHERE product_id = $1 AND shard = $2"
    await behind.execute(take, product_id, shard)

    assert not (await books(pool, product_id)).balanced


async def test_units_that_move_between_shards_leave_the_books_balanced(pool: Pool, behind: Pool) -> None:
    product_id = await sold_to_two_buyers(pool)

    move = "UPDATE stock_shards SET stock = stock + CASE shard WHEN 3 THEN -1 ELSE 1 END WHERE shard IN (3, 12)"
    await behind.execute(move)

    assert (await books(pool, product_id)).balanced


@on_both_engines
@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        ("UPDATE holdings SET units = units + 1 WHERE user_ref = 'ada'", 1),
        ("UPDATE holdings SET units = units - 1 WHERE user_ref = 'ada'", 1),
        ("UPDATE holdings SET units = 1 WHERE user_ref = 'bob'", 1),
        ("UPDATE holdings SET units = units + 1", 2),
        ("DELETE FROM holdings WHERE user_ref = 'ada'", 1),
        ("INSERT INTO holdings SELECT product_id, 'eve', 1 FROM holdings WHERE user_ref = 'ada'", 1),
        ("UPDATE orders SET user_ref = 'eve' WHERE user_ref = 'ada'", 2),
    ],
)
async def test_a_holding_that_is_not_the_sum_of_its_orders_is_found(
    pool: Pool, behind: Pool, fault: str, wrong: int
) -> None:
    product_id = await sold_to_two_buyers(pool)
    other_id = await sold_to_two_buyers(pool)

    await behind.execute(f"{fault} {'AND' if 'WHERE' in fault else 'WHERE'} product_id = '{product_id}'")

    line = await books(pool, product_id)
    assert (line.wrong_holdings, line.balanced) == (wrong, False)
    assert (line.stocked, line.stock, line.sold) == (270, 268, 2), "only the holdings are wrong"
    assert (await books(pool, other_id)).balanced


async def test_a_holding_of_0_may_be_missing(pool: Pool, behind: Pool) -> None:
    product_id = await sold_to_two_buyers(pool)

    await behind.execute("DELETE FROM holdings WHERE user_ref = 'bob'")

    assert (await books(pool, product_id)).balanced


async def test_a_product_without_a_limit_has_no_holdings(pool: Pool, behind: Pool) -> None:
    product_id = await sold_to_two_buyers(pool, limit=None)
    assert await pool.fetch("SELECT 1 FROM holdings") == []
    assert (await books(pool, product_id)).balanced


async def test_a_holding_of_no_product_is_found(pool: Pool, behind: Pool) -> None:
    nothing = uuid4()
    await behind.execute("INSERT INTO holdings (product_id, user_ref, units) VALUES ($1, 'eve', 1)", nothing)

    line = await books(pool, nothing)

    assert (line.name, line.stock, line.wrong_holdings, line.balanced) == (None, None, 1, False)
