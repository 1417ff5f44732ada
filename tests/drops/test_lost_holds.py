"""Holds, payments, releases and lapses whose connection is lost at COMMIT: no answer is a guess, and nothing is done
twice."""

import asyncio
from collections.abc import Callable

import pytest

from api.database.errors import OutcomeUnknown
from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.drops.decisions import Cancellation, Cancelled, Confirmed, Gone, Held, Paid
from api.drops.group_commit import GroupCommit
from api.drops.group_policy import GroupPolicy
from api.drops.lapsing import Lapsing
from api.drops.order_search import list_orders
from api.drops.orders import Order, OrderStatus
from api.drops.products import get_product
from api.drops.requests import CancelRequest
from tests.drops.holds import cancellation, end_holds, hold, new_held_product, now, payment, release, run_out
from tests.drops.outbox import read_outbox, times
from tests.drops.purchases import assert_books_balance, new_group_commit, purchase, restock, submit_all
from tests.faults import Faulty
from tests.patience import PATIENCE

ENDLESS = RetryBudget(attempts=1_000_000, seconds=PATIENCE)
"""For requests that wait for an endpoint to come back, however often they are tried until then."""

lost = pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit"])
"""COMMITs that the database never gets, and COMMITs that are done and not answered."""


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


@pytest.fixture
def line(fragile: Pool) -> GroupCommit:
    return new_group_commit(fragile, GroupPolicy(size=10), ENDLESS, keep_events=True)


@lost
async def test_each_buyer_whose_hold_was_lost_at_commit_holds_one(
    behind: Pool, line: GroupCommit, faulty: Faulty, fault: str
) -> None:
    product_id = await new_held_product(behind, stock=100, limit=1)
    setattr(faulty, fault, 5)

    outcomes = await submit_all([line], [purchase(product_id, f"buyer-{number}") for number in range(60)])

    assert getattr(faulty, fault) == 0
    held = [outcome.decision.order for outcome in outcomes if isinstance(outcome.decision, Held)]
    assert len(held) == 60
    assert sorted(order.id for order in held) == sorted(order.id for order in (await list_orders(behind, 100)).items)
    assert times(await read_outbox(behind, product_id)) == {("order.held", order.id): 1 for order in held}
    assert (await get_product(behind, product_id)).stock == 40
    await assert_books_balance(behind)


@lost
@pytest.mark.parametrize("late", [False, True], ids=["in time", "after the hold has lapsed"])
async def test_a_payment_lost_at_commit_confirms_once_and_is_answered_as_the_first(
    behind: Pool, line: GroupCommit, faulty: Faulty, fault: str, late: bool
) -> None:
    product_id = await new_held_product(behind, limit=5)
    order = await hold(new_group_commit(behind), product_id)
    if late:
        await run_out(behind, order)
        await end_holds(behind)
    setattr(faulty, fault, 2)

    first = (await line.submit(payment(order))).decision
    again = (await line.submit(payment(order))).decision

    stored = await now(behind, order)
    assert first == Paid(stored, first=True)
    assert again == Paid(stored, first=False)
    assert times(await read_outbox(behind, product_id)) == {("order.confirmed", order.id): 1}
    assert (await get_product(behind, product_id)).stock == 9
    await assert_books_balance(behind)


@lost
async def test_of_the_same_payment_twice_in_a_lost_commit_one_is_the_first(
    behind: Pool, line: GroupCommit, faulty: Faulty, fault: str
) -> None:
    product_id = await new_held_product(behind)
    order = await hold(new_group_commit(behind), product_id)
    setattr(faulty, fault, 1)

    outcomes = await asyncio.gather(*(line.submit(payment(order)) for _ in range(3)))

    decisions = [outcome.decision for outcome in outcomes]
    assert sorted(decision.first for decision in decisions if isinstance(decision, Paid)) == [False, False, True]
    await assert_books_balance(behind)


@lost
@pytest.mark.parametrize("send", [release, cancellation], ids=["release", "cancellation"])
async def test_an_end_of_a_hold_lost_at_commit_returns_the_units_once(
    behind: Pool, line: GroupCommit, faulty: Faulty, fault: str, send: Callable[[Order], CancelRequest]
) -> None:
    product_id = await new_held_product(behind, limit=5)
    order = await hold(new_group_commit(behind), product_id, quantity=3)
    setattr(faulty, fault, 2)

    decision = (await line.submit(send(order))).decision

    assert isinstance(decision, Cancellation)
    assert decision.order == await now(behind, order)
    assert decision.order.status is OrderStatus.CANCELLED
    assert times(await read_outbox(behind, product_id)) == {("order.cancelled", order.id): 1}
    assert (await get_product(behind, product_id)).stock == 10
    await assert_books_balance(behind)


@lost
async def test_a_lapse_lost_at_commit_returns_the_units_once(
    behind: Pool, fragile: Pool, line: GroupCommit, faulty: Faulty, fault: str
) -> None:
    product_id = await new_held_product(behind, stock=160, limit=5)
    orders = [await hold(new_group_commit(behind), product_id, f"buyer-{number}") for number in range(5)]
    await run_out(behind, *orders)
    setattr(faulty, fault, 2)

    await Lapsing(fragile, line).end_holds()

    assert {(await now(behind, order)).status for order in orders} == {OrderStatus.LAPSED}
    assert times(await read_outbox(behind, product_id)) == {("order.lapsed", order.id): 1 for order in orders}
    assert (await get_product(behind, product_id)).stock == 160
    await assert_books_balance(behind)


@lost
async def test_a_payment_that_was_refused_in_a_lost_commit_is_never_kept(
    behind: Pool, line: GroupCommit, faulty: Faulty, fault: str
) -> None:
    product_id = await new_held_product(behind, stock=1)
    order = await hold(new_group_commit(behind), product_id)
    await run_out(behind, order)
    await end_holds(behind)
    other = await hold(new_group_commit(behind), product_id, "eve")
    setattr(faulty, fault, 1)

    decision = (await line.submit(payment(order))).decision
    await new_group_commit(behind).submit(release(other))
    await restock(behind, product_id, 5)
    again = (await line.submit(payment(order))).decision

    assert decision == again == Gone(await now(behind, order))
    assert decision.order.payment_ref == "pi_1"
    assert (await get_product(behind, product_id)).stock == 6
    await assert_books_balance(behind)


async def test_an_unknown_payment_is_an_error_and_is_found_when_it_is_sent_again(
    behind: Pool, fragile: Pool, faulty: Faulty
) -> None:
    product_id = await new_held_product(behind)
    order = await hold(new_group_commit(behind), product_id)
    await fragile.warm_up(1)  # one connection is open, and no other will be
    faulty.cut_after_commit = 1
    line = new_group_commit(fragile, budget=RetryBudget(attempts=4, seconds=PATIENCE))

    paying = asyncio.create_task(line.submit(payment(order)))
    await faulty.commit_arrived.wait()
    faulty.down()
    with pytest.raises(OutcomeUnknown, match="has not come back yet"):
        await paying

    await faulty.up()
    again = (await line.submit(payment(order))).decision
    assert again == Paid(await now(behind, order), first=False)
    await assert_books_balance(behind)


@pytest.mark.parametrize("then", ["paid", "released", "lapsed"])
async def test_a_lost_hold_is_answered_as_it_is_when_it_is_found(
    behind: Pool, fragile: Pool, faulty: Faulty, then: str
) -> None:
    """Another process changes the order before the one that lost its COMMIT can read it."""
    product_id = await new_held_product(behind)
    wanted = purchase(product_id, "ada", key="click-1")
    await fragile.warm_up(1)  # one connection is open, and no other will be
    faulty.cut_after_commit = 1
    faulty.commit_arrived.clear()

    buying = asyncio.create_task(new_group_commit(fragile, budget=ENDLESS).submit(wanted))
    await faulty.commit_arrived.wait()
    faulty.down()
    order = await _placed(behind)
    if then == "lapsed":
        await run_out(behind, order)
        assert await end_holds(behind) == 1
    else:
        await new_group_commit(behind).submit(payment(order) if then == "paid" else release(order))
    await faulty.up()

    decision = (await buying).decision
    assert isinstance(decision, Confirmed if then == "paid" else Cancelled)
    assert decision.order == await now(behind, order)
    await assert_books_balance(behind)


async def _placed(behind: Pool) -> Order:
    """The one order, as soon as it is stored."""
    async with asyncio.timeout(PATIENCE):
        while not (orders := (await list_orders(behind, 1)).items):
            await asyncio.sleep(0.01)
    return orders[0]
