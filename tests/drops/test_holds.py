"""Holds through the lines of several processes: what is sent about an order at once is decided one after the other."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from api.database.pool import Pool
from api.drops.decisions import Cancellation, Confirmed, Gone, Held, Lapsed, LimitReached, Paid, SoldOut
from api.drops.errors import AlreadyConfirmed, DropError
from api.drops.group_commit import GroupCommit
from api.drops.orders import Order, OrderStatus
from api.drops.products import get_product
from api.drops.requests import ConfirmRequest, Request
from api.drops.ticket import Outcome
from tests.drops.holds import cancellation, end_holds, hold, lapse, new_held_product, now, payment, release, run_out
from tests.drops.lines import line_drawing_from
from tests.drops.outbox import Happened, read_outbox, times
from tests.drops.purchases import assert_books_balance, new_group_commit, new_product, purchase
from tests.locks import stock_held, until_blocked
from tests.patience import PATIENCE

Answer = Outcome | BaseException

TO_ONE_ORDER: dict[str, Callable[[Order], Request]] = {
    "payment": payment,
    "another payment": lambda order: payment(order, "pi_2"),
    "release": release,
    "cancellation": cancellation,
    "lapse": lapse,
}
"""What can be sent about an order that is held."""


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


async def answers_to(lines: Sequence[GroupCommit], requests: Sequence[Request]) -> list[Answer]:
    """Submit all requests at once, to the lines in turn. Returns the outcomes, and the errors that refuse."""
    tasks = [line.submit(request) for line, request in zip(itertools.cycle(lines), requests)]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(answer, Outcome | DropError) for answer in answers), answers
    return answers


@asynccontextmanager
async def order_locked(behind: Pool, order: Order) -> AsyncIterator[None]:
    """Lock the row of an order until the block is left: no transaction that changes it can commit."""
    async with behind.begin(PATIENCE) as transaction:
        await transaction.fetch("SELECT 1 FROM orders WHERE id = $1 FOR UPDATE", order.id)
        yield


def assert_answers_are_true(order: Order, sent: Sequence[tuple[Request, Answer]], happened: Counter[str]) -> None:
    """Hold the answers about one order against the order as it is at the end, and what has happened to it."""
    payments = [(request.payment_ref, answer) for request, answer in sent if isinstance(request, ConfirmRequest)]
    decisions = [answer.decision for _, answer in sent if isinstance(answer, Outcome)]
    kept = [decision.order.payment_ref for decision in decisions if isinstance(decision, Paid)]
    refused = {payment_ref for payment_ref, answer in payments if isinstance(answer, AlreadyConfirmed)}
    gone = [decision for decision in decisions if isinstance(decision, Gone)]
    ended = [decision for decision in decisions if isinstance(decision, Cancellation)]
    first_paid = sum(decision.first for decision in decisions if isinstance(decision, Paid))
    first_ended = sum(decision.first for decision in ended)
    assert (first_paid, first_ended) == (happened["order.confirmed"], happened["order.cancelled"])
    assert max(happened.values()) == 1, "something happened twice"
    assert set(kept) <= {order.payment_ref}, "the order has the payment that was kept"
    assert order.payment_ref not in refused, "a payment was refused and kept"
    assert not gone or not order.status.has_units, "a payment was refused, and the buyer has the units"
    assert (first_ended == 1) == (order.status is OrderStatus.CANCELLED)
    assert (order.status is OrderStatus.CONFIRMED) == (first_paid == 1 and first_ended == 0)
    ends = {decision.order.status for decision in ended}
    assert OrderStatus.CANCELLED not in ends or order.status is OrderStatus.CANCELLED, "it is final"


def happened_to(order: Order, happened: list[Happened]) -> Counter[str]:
    return Counter(each.type for each in happened if each.order_id == order.id)


def conflict_of(line: GroupCommit) -> int:
    return line.transactions["here", "Conflict"]


def assert_both_know(order: Order, sent: list[tuple[Request, Answer]]) -> None:
    lapsed = sum(
        answer.decision.orders
        for _, answer in sent
        if isinstance(answer, Outcome) and isinstance(answer.decision, Lapsed)
    )
    happened = Counter[str]()
    for _, answer in sent:
        decision = answer.decision if isinstance(answer, Outcome) else None
        happened["order.confirmed"] += isinstance(decision, Paid) and decision.first
        happened["order.cancelled"] += isinstance(decision, Cancellation) and decision.first
    happened["order.lapsed"] = lapsed
    assert_answers_are_true(order, sent, happened)
    assert order.status is not OrderStatus.HELD
    assert order.status is not OrderStatus.LAPSED or lapsed == 1


async def test_a_payment_that_is_sent_through_many_lines_confirms_once(pool: Pool) -> None:
    product_id = await new_held_product(pool, limit=5)
    lines = [new_group_commit(pool, keep_events=True) for _ in range(4)]
    order = await hold(lines[0], product_id)

    answers = await answers_to(lines, [payment(order)] * 20)

    paid = [answer.decision for answer in answers if isinstance(answer, Outcome)]
    assert all(isinstance(decision, Paid) for decision in paid)
    assert sum(decision.first for decision in paid if isinstance(decision, Paid)) == 1
    stored = await now(pool, order)
    assert {decision.order for decision in paid if isinstance(decision, Paid)} == {stored}
    assert times(await read_outbox(pool, product_id)) == {("order.held", order.id): 1, ("order.confirmed", order.id): 1}
    await assert_books_balance(pool)


@pytest.mark.parametrize("send", [release, cancellation], ids=["release", "cancellation"])
async def test_a_hold_that_is_ended_through_many_lines_returns_its_units_once(
    pool: Pool, send: Callable[[Order], Request]
) -> None:
    product_id = await new_held_product(pool, limit=5)
    lines = [new_group_commit(pool) for _ in range(4)]
    order = await hold(lines[0], product_id, quantity=3)

    answers = await answers_to(lines, [send(order)] * 20)

    ended = [answer.decision for answer in answers if isinstance(answer, Outcome)]
    assert [type(decision) for decision in ended] == [Cancellation] * 20
    assert sum(decision.first for decision in ended if isinstance(decision, Cancellation)) == 1
    assert (await get_product(pool, product_id)).stock == 10
    await assert_books_balance(pool)


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(TO_ONE_ORDER, 2)))
async def test_of_two_transactions_about_a_hold_one_wins_and_both_know(
    pool: Pool, behind: Pool, one: str, other: str
) -> None:
    """Both have read the hold, and neither has written it, when the first may go on."""
    product_id = await new_held_product(pool, stock=160, limit=3)
    lines = [line_drawing_from(pool, product_id, 3), line_drawing_from(pool, product_id, 7)]
    order = await hold(lines[0], product_id)
    await run_out(behind, order)
    requests = [TO_ONE_ORDER[one](order), TO_ONE_ORDER[other](order)]
    async with order_locked(behind, order), asyncio.timeout(PATIENCE):
        sending = asyncio.create_task(answers_to(lines, requests))
        await until_blocked(behind, 2)

    answers = await sending

    stored = await now(pool, order)
    assert sum(conflict_of(line) for line in lines) == 1, "only one of the two was tried again"
    assert_both_know(stored, list(zip(requests, answers, strict=True)))
    assert (await get_product(pool, product_id)).stock == 160 - stored.status.has_units
    await assert_books_balance(pool)


async def test_everything_about_many_holds_at_once_is_answered_with_the_truth(pool: Pool, behind: Pool) -> None:
    chance = random.Random(7)  # noqa: S311
    product_id = await new_held_product(pool, stock=100, limit=100, shards=4)
    lines = [new_group_commit(pool, keep_events=True) for _ in range(3)]
    orders = [await hold(lines[0], product_id, f"buyer-{number % 5}", 1 + number % 3) for number in range(40)]
    await run_out(behind, *orders[::2])
    sent = [TO_ONE_ORDER[chance.choice(list(TO_ONE_ORDER))](order) for order in orders for _ in range(6)]
    sent += [lapse(*orders), lapse(*reversed(orders))]
    chance.shuffle(sent)

    answers = await answers_to(lines, sent)

    happened = await read_outbox(pool, product_id)
    answered = list(zip(sent, answers, strict=True))
    for order in orders:
        about = [(request, answer) for request, answer in answered if request.row_ids == (order.id,)]
        assert_answers_are_true(await now(pool, order), about, happened_to(order, happened))
    lapsed = [answer.decision for answer in answers if isinstance(answer, Outcome)]
    counted = sum(decision.orders for decision in lapsed if isinstance(decision, Lapsed))
    assert counted == sum(each.type == "order.lapsed" for each in happened) > 0
    await assert_books_balance(pool)


@pytest.mark.parametrize("limit", [None, 1], ids=["the last unit", "the limit"])
async def test_a_late_payment_and_a_purchase_at_once_get_one_unit_between_them(
    pool: Pool, behind: Pool, limit: int | None
) -> None:
    product_id = await new_held_product(pool, stock=1 if limit is None else 160, limit=limit)
    numbers = [1, 1] if limit is None else [3, 7]
    lines = [line_drawing_from(pool, product_id, number) for number in numbers]
    order = await hold(lines[0], product_id)
    await run_out(behind, order)
    assert await end_holds(pool) == 1
    async with stock_held(behind, product_id), asyncio.timeout(PATIENCE):
        buying = asyncio.create_task(answers_to(lines, [payment(order), purchase(product_id)]))
        await until_blocked(behind, 2)

    late, bought = [answer.decision for answer in await buying if isinstance(answer, Outcome)]

    if isinstance(bought, Held):
        assert isinstance(late, Gone)
        assert (await now(pool, order)).payment_ref == "pi_1", "it stays gone"
    else:
        assert isinstance(late, Paid)
        assert isinstance(bought, SoldOut | LimitReached)
    await assert_books_balance(pool)


async def test_a_product_without_holds_sells_as_before(pool: Pool) -> None:
    product_id = await new_product(pool)
    line = new_group_commit(pool, keep_events=True)

    decision = (await line.submit(purchase(product_id))).decision

    assert isinstance(decision, Confirmed)
    assert times(await read_outbox(pool, product_id)) == {("order.confirmed", decision.order.id): 1}
    assert await now(pool, decision.order) == decision.order


async def test_without_events_nothing_is_written_to_the_outbox(pool: Pool, behind: Pool) -> None:
    product_id = await new_held_product(pool)
    line = new_group_commit(pool)
    orders = [await hold(line, product_id, f"buyer-{number}") for number in range(4)]
    await run_out(behind, orders[0])
    await answers_to([line], [lapse(*orders), payment(orders[1]), release(orders[2]), payment(orders[0])])

    assert await pool.fetch("SELECT FROM outbox") == []


async def test_a_group_that_changes_nothing_writes_no_event(pool: Pool) -> None:
    product_id = await new_held_product(pool)
    line = new_group_commit(pool, keep_events=True)
    order = await hold(line, product_id)
    await line.submit(payment(order))
    before = times(await read_outbox(pool, product_id))

    await answers_to([line], [payment(order), payment(order, "pi_2"), release(order), lapse(order)])

    assert times(await read_outbox(pool, product_id)) == before
