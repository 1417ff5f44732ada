"""Several lines, as of several processes, that sell one product beside each other, each from shards of its own."""

import asyncio
from uuid import UUID

import pytest

from api.database.pool import Pool
from api.drops.decisions import Confirmed, SoldOut
from api.drops.group_commit import GroupCommit
from api.drops.group_policy import GroupPolicy
from api.drops.products import get_product
from api.drops.requests import CancelRequest, RestockRequest
from tests.drops.lines import (
    bought,
    changed_shards,
    commits_held,
    conflicts,
    let_commits_wait,
    line_drawing_from,
    move_all_units,
    shard_held,
)
from tests.drops.purchases import (
    assert_books_balance,
    kinds,
    new_group_commit,
    new_product,
    purchase,
    submit_all,
)
from tests.engines import on_both_engines
from tests.locks import stock_held, until_blocked
from tests.patience import PATIENCE


@on_both_engines
async def test_a_line_sells_while_the_shard_of_another_is_locked(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=160)
    held, free = line_drawing_from(pool, product_id, 3), line_drawing_from(pool, product_id, 7)

    async with shard_held(behind, product_id, 3), asyncio.timeout(PATIENCE):
        waiting = asyncio.create_task(held.submit(purchase(product_id, "ada")))
        await until_blocked(behind)
        sold = [await free.submit(purchase(product_id, f"buyer-{number}")) for number in range(5)]
        assert not waiting.done()

    assert kinds([*sold, await waiting]) == {"Confirmed": 6}
    assert {outcome.attempts for outcome in [*sold, await waiting]} == {1}
    assert await changed_shards(pool, product_id) == {3, 7}


async def test_two_lines_commit_at_the_same_time_without_a_conflict(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=160)
    lines = [line_drawing_from(pool, product_id, 3), line_drawing_from(pool, product_id, 7)]
    await let_commits_wait(behind)

    async with commits_held(behind, 3), commits_held(behind, 7), asyncio.timeout(PATIENCE):
        selling = asyncio.create_task(submit_all(lines, [purchase(product_id, "ada"), purchase(product_id, "bob")]))
        await until_blocked(behind, 2)

    outcomes = await selling
    assert kinds(outcomes) == {"Confirmed": 2}
    # Neither transaction has seen the other: in the snapshot of each, one unit of 160 was sold.
    assert [outcome.decision.remaining for outcome in outcomes if isinstance(outcome.decision, Confirmed)] == [159, 159]
    assert conflicts(*lines) == 0
    assert (await get_product(pool, product_id)).stock == 158
    await assert_books_balance(pool)


async def sell_at_the_same_time(behind: Pool, product_id: UUID, lines: list[GroupCommit]) -> list[int]:
    """Let each line execute a purchase before the first of them commits. Returns the attempts of each."""
    async with asyncio.timeout(PATIENCE):
        async with stock_held(behind, product_id):
            buyers = [purchase(product_id, f"buyer-{number}") for number in range(len(lines))]
            selling = asyncio.create_task(submit_all(lines, buyers))
            await until_blocked(behind, len(lines))
        outcomes = await selling
    assert kinds(outcomes) == {"Confirmed": len(lines)}
    return [outcome.attempts for outcome in outcomes]


@on_both_engines
async def test_two_lines_of_one_shard_part_after_one_conflict(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=160)
    lines = [line_drawing_from(pool, product_id, 3), line_drawing_from(pool, product_id, 3)]

    assert sorted(await sell_at_the_same_time(behind, product_id, lines)) == [1, 2]
    for _ in range(3):
        assert await sell_at_the_same_time(behind, product_id, lines) == [1, 1]
    assert len(await changed_shards(pool, product_id)) == 2


async def test_the_next_group_of_a_line_sells_while_a_commit_is_under_way(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=160)
    line = line_drawing_from(pool, product_id, 3, 7)
    await let_commits_wait(behind)

    async with commits_held(behind, 3), asyncio.timeout(PATIENCE):
        first = asyncio.create_task(line.submit(purchase(product_id, "ada")))
        await until_blocked(behind)
        second = await line.submit(purchase(product_id, "bob"))
        third = await line.submit(purchase(product_id, "cem"))
        assert not first.done()

    assert kinds([await first, second, third]) == {"Confirmed": 3}
    assert {outcome.attempts for outcome in [await first, second, third]} == {1}
    assert await changed_shards(pool, product_id) == {3, 7}


async def test_purchases_that_wait_in_line_are_executed_once_a_commit_is_under_way(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=160)
    line = line_drawing_from(pool, product_id, 3, 7)
    await let_commits_wait(behind)

    async with commits_held(behind, 3), asyncio.timeout(PATIENCE):
        async with shard_held(behind, product_id, 3):
            first = asyncio.create_task(line.submit(purchase(product_id, "ada")))
            await until_blocked(behind)
            second = asyncio.create_task(line.submit(purchase(product_id, "bob")))
            await until_blocked(behind)
            assert not second.done(), "the first group is still executed"
        assert kinds([await second]) == {"Confirmed": 1}
        assert not first.done()

    assert kinds([await first]) == {"Confirmed": 1}
    assert line.transactions == {("here", "sold"): 2}


AT_ONCE = GroupPolicy(in_flight=2, short_commit=0)
"""The next group is executed as soon as a COMMIT is under way."""


class BeginningPool(Pool):
    """The real pool, which also counts the transactions that have begun."""

    begun = 0

    def begin(self, timeout: float = PATIENCE):  # type: ignore[no-untyped-def]
        self.begun += 1
        return super().begin(PATIENCE)


async def test_a_third_group_waits_until_one_of_two_commits_is_answered(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=160)
    await let_commits_wait(behind)
    async with BeginningPool(pool.endpoint, 5) as beginning, asyncio.timeout(PATIENCE):
        line = line_drawing_from(beginning, product_id, 3, 7, policy=AT_ONCE)
        async with commits_held(behind, 3):
            first = asyncio.create_task(line.submit(purchase(product_id, "ada")))
            await until_blocked(behind)
            async with commits_held(behind, 7):
                second = asyncio.create_task(line.submit(purchase(product_id, "bob")))
                await until_blocked(behind, 2)
                third = asyncio.create_task(line.submit(purchase(product_id, "cem")))
                await until_blocked(behind, 2)
                assert beginning.begun == 2
            assert kinds(await asyncio.gather(second, third)) == {"Confirmed": 2}
            assert not first.done()
        assert kinds([await first]) == {"Confirmed": 1}
    assert conflicts(line) == 0


@pytest.mark.parametrize("shards", [1, 2])
async def test_a_line_without_a_second_shard_waits_for_each_commit(pool: Pool, behind: Pool, shards: int) -> None:
    """A product of two shards has one for restocks."""
    product_id, own = await new_product(pool, stock=160, shards=shards), shards - 1
    await let_commits_wait(behind)
    async with BeginningPool(pool.endpoint, 5) as beginning, asyncio.timeout(PATIENCE):
        line = line_drawing_from(beginning, product_id, own, count=shards, policy=AT_ONCE)
        async with commits_held(behind, own):
            first = asyncio.create_task(line.submit(purchase(product_id, "ada")))
            await until_blocked(behind)
            second = asyncio.create_task(line.submit(purchase(product_id, "bob")))
            await until_blocked(behind)
            assert beginning.begun == 1
        assert kinds(await asyncio.gather(first, second)) == {"Confirmed": 2}
    assert conflicts(line) == 0


async def test_a_new_line_learns_before_its_first_commit_that_there_is_one_shard(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=160, shards=1)
    await let_commits_wait(behind)
    async with BeginningPool(pool.endpoint, 5) as beginning, asyncio.timeout(PATIENCE):
        line = new_group_commit(beginning, AT_ONCE)
        async with commits_held(behind, 0):
            first = asyncio.create_task(line.submit(purchase(product_id, "ada")))
            await until_blocked(behind)
            second = asyncio.create_task(line.submit(purchase(product_id, "bob")))
            await until_blocked(behind)
            assert beginning.begun == 1
        assert kinds(await asyncio.gather(first, second)) == {"Confirmed": 2}
    assert conflicts(line) == 0


@on_both_engines
@pytest.mark.parametrize("stock", [10, 40], ids=["fewer units than shards", "more units than shards"])
async def test_a_line_whose_own_shard_is_empty_sells_what_the_others_have(pool: Pool, behind: Pool, stock: int) -> None:
    product_id = await new_product(pool, stock=stock)
    await move_all_units(behind, product_id, 12)
    lines = [line_drawing_from(pool, product_id, shard) for shard in (3, 7, 9)]

    one_by_one = [await line.submit(purchase(product_id, "early")) for line in lines]
    outcomes = await submit_all(lines, [purchase(product_id, f"buyer-{number}") for number in range(stock)])

    assert kinds(one_by_one) == {"Confirmed": 3}
    assert kinds(outcomes) == {"Confirmed": stock - 3, "SoldOut": 3}
    assert {outcome.decision.remaining for outcome in outcomes if isinstance(outcome.decision, SoldOut)} == {0}
    await assert_books_balance(pool)


@on_both_engines
async def test_two_lines_that_both_found_the_last_unit_sell_it_once(pool: Pool, behind: Pool) -> None:
    product_id = await new_product(pool, stock=1)
    await move_all_units(behind, product_id, 12)
    lines = [line_drawing_from(pool, product_id, 3), line_drawing_from(pool, product_id, 7)]
    async with stock_held(behind, product_id), asyncio.timeout(PATIENCE):
        selling = asyncio.create_task(submit_all(lines, [purchase(product_id, "ada"), purchase(product_id, "bob")]))
        await until_blocked(behind, 2)

    outcomes = await selling

    assert {type(outcome.decision): outcome.attempts for outcome in outcomes} == {Confirmed: 1, SoldOut: 2}
    assert (await get_product(pool, product_id)).stock == 0
    await assert_books_balance(pool)


@on_both_engines
async def test_restocks_and_cancellations_get_through_beside_lines_that_never_pause(pool: Pool) -> None:
    product_id = await new_product(pool, stock=1_000_000)
    lines = [line_drawing_from(pool, product_id, 1, 2), line_drawing_from(pool, product_id, 3, 4)]
    operator = line_drawing_from(pool, product_id, 5)
    orders = [await bought(operator, product_id, f"leaving-{number}") for number in range(5)]
    done = asyncio.Event()

    async def sell(line: GroupCommit, buyer: str) -> int:
        sold = 0
        while not done.is_set():
            sold += isinstance((await line.submit(purchase(product_id, buyer))).decision, Confirmed)
        return sold

    selling = [asyncio.create_task(sell(line, f"buyer-{number}")) for number in range(8) for line in lines]
    outcomes = []
    for order_id in orders:
        number = orders.index(order_id)
        outcomes.append(await operator.submit(RestockRequest.checked(product_id=product_id, delta=10)))
        outcomes.append(await operator.submit(CancelRequest(order_id, product_id, f"leaving-{number}", None)))
    done.set()

    assert kinds(outcomes) == {"Restocked": 5, "Cancellation": 5}
    assert {outcome.attempts for outcome in outcomes} == {1}
    assert min(await asyncio.gather(*selling)) > 0
    assert conflicts(operator, *lines) == 0
    await assert_books_balance(pool)
