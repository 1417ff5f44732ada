"""The relay: every event of the outbox gets one position, without gaps, also when relays conflict or fail."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Conflict, OutcomeUnknown
from api.database.pool import Pool, Transaction
from api.database.tokens import AuthTokens
from api.drops.decisions import Paid
from api.drops.events import Event, EventType
from api.drops.products import get_product
from api.drops.relay import MAX_EVENTS, Move, Relay
from api.drops.requests import ConfirmRequest, RestockRequest
from tests.drops.happenings import (
    QUICK,
    SELDOM,
    all_events,
    buy,
    change,
    confirm,
    keeping,
    left_in_outbox,
    move_all,
    relaying,
    until_moved,
)
from tests.drops.holds import new_held_product
from tests.drops.purchases import cancel, new_group_commit, new_product, purchase
from tests.faults import Faulty
from tests.patience import PATIENCE, PATIENT_TIMES, until


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


def numbered(events: list[Event]) -> bool:
    return [event.position for event in events] == list(range(1, len(events) + 1))


def orders_in(events: list[Event]) -> Counter[str]:
    return Counter(str(event.order_id) for event in events if event.order_id is not None)


async def test_the_life_of_an_order_is_moved_as_it_was(pool: Pool) -> None:
    product_id = await new_held_product(pool)
    outcome = await keeping(pool).submit(purchase(product_id, "ada ✓", quantity=2))
    held = outcome.decision.order  # type: ignore[union-attr]
    await confirm(pool, held.id)
    await move_all(pool)

    first, second = await all_events(pool)
    assert (first.type, second.type) == (EventType.ORDER_HELD, EventType.ORDER_CONFIRMED)
    assert (first.position, second.position) == (1, 2)
    assert first.order == held
    assert second.order.payment_ref == "pi_1"
    assert first.product_id == second.product_id == product_id
    assert held.created_at <= first.occurred_at < second.occurred_at <= datetime.now(UTC)
    assert orjson.loads(first.data)["order"]["userRef"] == "ada ✓"
    assert await left_in_outbox(pool) == 0


async def test_without_events_kept_nothing_is_written(pool: Pool) -> None:
    product_id = await new_product(pool, stock=1)
    await new_group_commit(pool).submit(purchase(product_id))

    assert await left_in_outbox(pool) == 0
    assert await Relay(pool, lambda: None).move() == await Relay(pool, lambda: None).move()
    assert await all_events(pool) == []


async def test_a_relay_moves_what_its_process_has_committed_when_it_is_woken(pool: Pool) -> None:
    product_id = await new_product(pool, stock=10)
    moved = asyncio.Event()
    relay = Relay(pool, moved.set, SELDOM)
    relay.start()
    await buy(pool, product_id, 3)
    relay.wake()
    async with asyncio.timeout(PATIENCE):
        await moved.wait()
    await relay.close(PATIENCE)

    assert numbered(await all_events(pool))
    assert relay.events == 3


async def test_a_relay_finds_what_a_dead_process_has_left(pool: Pool) -> None:
    await buy(pool, await new_product(pool, stock=10), 3)

    async with relaying(pool):
        assert len(await until_moved(pool, 3)) == 3


async def test_three_relays_move_each_event_once_and_in_a_row(pool: Pool) -> None:
    products = [await new_product(pool, stock=200) for _ in range(3)]

    async with relaying(pool) as one, relaying(pool) as two, relaying(pool) as three:
        buying = [asyncio.create_task(buy(pool, product_id, 100, size=5)) for product_id in products]
        while not all(task.done() for task in buying):
            for relay in (one, two, three):
                relay.wake()
            await asyncio.sleep(0.01)
        events = await until_moved(pool, 300)

    assert len(events) == 300
    assert numbered(events)
    assert set(orders_in(events).values()) == {1}
    assert len({event.id for event in events}) == 300


async def test_a_reader_that_goes_on_from_the_highest_position_misses_none(pool: Pool) -> None:
    product_id = await new_product(pool, stock=200)
    read: list[int] = []

    async with relaying(pool) as one, relaying(pool) as two:
        buying = asyncio.create_task(buy(pool, product_id, 150, size=3))
        while len(read) < 150:
            one.wake()
            two.wake()
            last = read[-1] if read else 0
            rows = await pool.fetch("SELECT position FROM events WHERE position > $1 ORDER BY position", last)
            read += [row["position"] for row in rows]
            await asyncio.sleep(0)
        await buying

    assert read == list(range(1, 151))


async def test_of_two_moves_at_the_same_moment_one_conflicts(pool: Pool) -> None:
    await buy(pool, await new_product(pool, stock=10), 5)
    first, second = Relay(pool, lambda: None), Relay(pool, lambda: None)

    results = await asyncio.gather(*(relay.move() for relay in (first, second)), return_exceptions=True)

    moved = [result.events for result in results if not isinstance(result, BaseException)]
    assert sum(moved) == 5
    assert all(isinstance(result, Conflict) for result in results if isinstance(result, BaseException))
    assert numbered(await all_events(pool))


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit"])
async def test_a_lost_commit_neither_loses_nor_doubles_an_event(
    pool: Pool, fragile: Pool, faulty: Faulty, fault: str
) -> None:
    await buy(pool, await new_product(pool, stock=10), 5)
    setattr(faulty, fault, 1)

    with pytest.raises(OutcomeUnknown):
        await Relay(fragile, lambda: None).move()
    await move_all(pool)

    events = await all_events(pool)
    assert len(events) == 5
    assert numbered(events)
    assert set(orders_in(events).values()) == {1}


async def test_a_relay_goes_on_when_the_database_comes_back(
    behind: Pool, fragile: Pool, faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dropzero")
    product_id = await new_product(behind, stock=10)
    async with relaying(fragile):
        faulty.down()
        await until(lambda: "cannot be moved yet" in caplog.text)
        await buy(behind, product_id, 3)
        await faulty.up()
        await until_moved(behind, 3)
        await until(lambda: "are moved from the outbox again" in caplog.text)

    assert caplog.text.count("cannot be moved yet") == 1


async def test_a_backlog_is_moved_in_bounded_transactions(pool: Pool) -> None:
    product_id = await new_product(pool, stock=5000)
    for _ in range(5):
        await buy(pool, product_id, 300)

    relay = Relay(pool, lambda: None)
    moves = [await relay.move()]
    while not moves[-1].complete:
        moves.append(await relay.move())

    assert sum(move.events for move in moves) == 1500
    assert len(moves) > 1
    assert all(move.events <= MAX_EVENTS for move in moves)
    assert numbered(await all_events(pool))


async def test_a_closed_relay_has_moved_what_its_process_committed_last(pool: Pool) -> None:
    product_id = await new_product(pool, stock=10)
    async with relaying(pool, SELDOM) as relay:
        await buy(pool, product_id, 2)
        relay.wake()

    assert len(await all_events(pool)) == 2
    assert [task for task in asyncio.all_tasks() if task.get_name() == "relay"] == []


async def test_the_last_unit_makes_one_event_of_a_product_that_is_sold_out(pool: Pool) -> None:
    product_id = await new_held_product(pool, stock=3)
    await buy(pool, product_id, 2)
    await move_all(pool)
    assert EventType.PRODUCT_SOLD_OUT not in {event.type for event in await all_events(pool)}

    await buy(pool, product_id, 1)
    await move_all(pool)
    order_id = next(event.order_id for event in await all_events(pool) if event.order_id)
    await confirm(pool, order_id)
    await move_all(pool)

    events = await all_events(pool)
    [sold_out] = [event for event in events if event.type is EventType.PRODUCT_SOLD_OUT]
    assert numbered(events)
    product = await get_product(pool, product_id)
    data = orjson.loads(sold_out.data)["product"]
    assert (data["id"], data["stock"], data["version"]) == (str(product_id), 0, product.version)
    assert sold_out.order_id is None


async def test_units_that_come_back_and_go_make_another_sold_out(pool: Pool) -> None:
    product_id = await new_product(pool, stock=1)
    await buy(pool, product_id)
    await move_all(pool)
    order_id = next(event.order_id for event in await all_events(pool) if event.order_id)
    await cancel(pool, order_id, None)
    await buy(pool, product_id)
    await keeping(pool).submit(RestockRequest.checked(product_id=product_id, delta=5))
    await buy(pool, product_id, 5)
    await move_all(pool)

    sold_out = [event for event in await all_events(pool) if event.type is EventType.PRODUCT_SOLD_OUT]
    assert len({event.id for event in sold_out}) == len(sold_out) == 2
    assert EventType.PRODUCT_RESTOCKED in {event.type for event in await all_events(pool)}


async def test_sold_out_waits_for_the_last_row_of_its_product(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.drops.relay.MAX_EVENTS", 2)
    product_id = await new_product(pool, stock=4)
    await buy(pool, product_id, 4, size=1)

    moves: list[Move] = []
    while not moves or not moves[-1].complete:
        moves.append(await Relay(pool, lambda: None).move())

    assert [move.events for move in moves] == [2, 3]
    assert [event.type.split(".")[0] for event in await all_events(pool)] == ["order"] * 4 + ["product"]


async def test_a_relay_that_follows_leaves_young_rows_to_the_one_that_leads(pool: Pool) -> None:
    product_id = await new_product(pool, stock=100)
    relay = Relay(pool, lambda: None, replace(QUICK, patience=100 * PATIENCE))
    await buy(pool, product_id)
    await relay.look()
    assert await all_events(pool) == []

    await change(pool, "UPDATE outbox SET created_at = created_at - $1::interval", timedelta(seconds=101 * PATIENCE))
    await relay.look()
    assert len(await all_events(pool)) == 1

    # It leads now: what its own process commits does not have to wait.
    await buy(pool, product_id)
    relay.wake()
    await relay.look()
    assert len(await all_events(pool)) == 2


class Late(Pool):
    """A pool whose transactions read nothing between their BEGIN and `go`."""

    def __init__(self, endpoint: Endpoint, tokens: AuthTokens) -> None:
        super().__init__(endpoint, 10, tokens, PATIENT_TIMES.pool)
        self.begun, self.go = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def begin(self, timeout: float = PATIENCE) -> AsyncIterator[Transaction]:
        async with super().begin(PATIENCE) as transaction:
            self.begun.set()
            await self.go.wait()
            yield transaction


async def test_a_transaction_that_began_before_another_and_saw_what_it_did_comes_after_it(
    pool: Pool, faulty: Faulty, tokens: AuthTokens
) -> None:
    """A transaction takes its snapshot with its first statement, and not with BEGIN, which `now()` is the moment of."""
    product_id = await new_held_product(pool)
    wanted = purchase(product_id)
    payment = ConfirmRequest(wanted.order_id, product_id, wanted.user_ref, "pi_1")
    async with Late(Endpoint("here", faulty.url), tokens) as late:
        paying = asyncio.create_task(keeping(late).submit(payment))
        await late.begun.wait()
        await keeping(pool).submit(wanted)
        late.go.set()
        assert isinstance((await paying).decision, Paid)
    await move_all(pool)

    first, second = await all_events(pool)
    assert (first.type, second.type) == (EventType.ORDER_HELD, EventType.ORDER_CONFIRMED)
    assert first.occurred_at < second.occurred_at, "receivers compare the timestamps of two events of an order"


async def test_a_relay_that_is_closed_within_a_move_moves_it_again(
    pool: Pool, faulty: Faulty, tokens: AuthTokens
) -> None:
    await buy(pool, await new_product(pool))
    async with Late(Endpoint("here", faulty.url), tokens) as late:
        relay = Relay(late, lambda: None, QUICK)
        relay.start()
        await late.begun.wait()
        late.begun.clear()
        closing = asyncio.create_task(relay.close(PATIENCE))
        await until(lambda: late.begun.is_set() or closing.done())
        late.go.set()
        await closing

    assert len(await all_events(pool)) == 1
    assert await left_in_outbox(pool) == 0
