"""Sending: every event reaches a receiver that fails, sleeps or dies, and costs no more than it may."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from api.database.backoff import Backoff
from api.database.pool import Pool
from api.drops.events import Event
from api.drops.parcels import GIVE_UP, MAX_PARCEL, Parcels
from api.drops.sending import AT_ONCE, DOWN_AFTER, PARCELS, NotTaken, Sending, SendingTimes
from tests.drops.happenings import all_events, buy, change, confirm, move_all
from tests.drops.holds import new_held_product
from tests.drops.purchases import new_product
from tests.patience import PATIENCE, until

QUICK = SendingTimes(look=0.01, probe=Backoff(base=0.01, cap=0.02), backoff=Backoff(base=0.01, cap=0.05))

SOON = Backoff(base=0.01, cap=0.02)


class Receiver:
    """Takes events, but for those that `refuses` is true for. `held` keeps it from answering."""

    def __init__(self, refuses: Callable[[Event], bool] = lambda event: False) -> None:
        self.refuses = refuses
        self.answers = asyncio.Event()
        self.answers.set()
        self.taken: list[int] = []
        self.sent: Counter[int] = Counter()
        self.under_way = self.most = 0
        self.pause: float | None = None
        self.away = True

    async def send(self, event: Event) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        self.sent[event.position] += 1
        try:
            await self.answers.wait()
            await asyncio.sleep(0)
            if self.refuses(event):
                raise NotTaken("it answered 503", self.pause, away=self.away)
            self.taken.append(event.position)
        finally:
            self.under_way -= 1


@asynccontextmanager
async def sending(pool: Pool, receiver: Receiver, grace: float = PATIENCE) -> AsyncIterator[Sending]:
    process = Sending(Parcels(pool, SOON), receiver.send, QUICK)
    process.start()
    try:
        yield process
    finally:
        await process.close(grace)


async def happen(pool: Pool, events: int) -> None:
    await buy(pool, await new_product(pool, stock=events + 1), events)
    await move_all(pool)


async def parcels_left(pool: Pool) -> int:
    return int((await pool.fetch("SELECT count(*) FROM parcels WHERE first > 0"))[0]["count"])


async def test_every_event_is_sent_once_with_bounded_concurrency(pool: Pool) -> None:
    await happen(pool, 350)
    receiver = Receiver()

    async with sending(pool, receiver) as process:
        await until(lambda: process.sent == 350)

    assert set(receiver.sent.values()) == {1}
    assert receiver.most <= AT_ONCE
    assert await parcels_left(pool) == 0


async def test_three_processes_share_the_work_and_send_nothing_twice(pool: Pool) -> None:
    await happen(pool, 700)
    receiver = Receiver()

    async with sending(pool, receiver), sending(pool, receiver), sending(pool, receiver):
        await until(lambda: len(receiver.taken) >= 700)

    assert receiver.sent == Counter(range(1, 701))


async def test_events_of_one_order_arrive_in_their_order(pool: Pool) -> None:
    product_id = await new_held_product(pool, stock=50)
    await buy(pool, product_id, 20)
    await move_all(pool)
    for event in await all_events(pool):
        assert event.order_id is not None
        await confirm(pool, event.order_id)
    await move_all(pool)
    receiver = Receiver()
    async with sending(pool, receiver):
        await until(lambda: len(receiver.taken) == 40)

    events = {event.position: event for event in await all_events(pool)}
    by_order: dict[object, list[str]] = {}
    for position in receiver.taken:
        by_order.setdefault(events[position].order_id, []).append(events[position].type)
    assert {tuple(types) for types in by_order.values()} == {("order.held", "order.confirmed")}


async def test_an_event_that_fails_is_sent_again_and_the_others_are_not(pool: Pool) -> None:
    await happen(pool, 30)
    receiver = Receiver(lambda event: event.position % 10 == 3)

    async with sending(pool, receiver) as process:
        await until(lambda: len(receiver.taken) == 27)
        await until(lambda: process.failed == 3)
        receiver.refuses = lambda event: False
        await until(lambda: len(receiver.taken) == 30)

    assert {count for position, count in receiver.sent.items() if position % 10 != 3} == {1}
    assert await parcels_left(pool) == 0


async def test_a_receiver_that_is_down_gets_single_events_until_it_takes_one(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dropzero")
    await happen(pool, 2000)
    receiver = Receiver(lambda event: True)

    async with sending(pool, receiver) as process:
        await until(lambda: process.down)
        await until(lambda: "takes no events: it answered 503" in caplog.text)
        await until(lambda: process.failed > DOWN_AFTER + 2 * AT_ONCE + 3)
        assert len(receiver.sent) <= PARCELS * MAX_PARCEL + process.failed
        assert await parcels_left(pool) <= PARCELS * MAX_PARCEL
        assert process.backlog.waiting > 2000 - PARCELS * MAX_PARCEL
        receiver.refuses = lambda event: False
        await until(lambda: len(receiver.taken) >= 2000)

    assert caplog.text.count("takes no events") == caplog.text.count("takes events again") == 1
    assert Counter(receiver.taken) == Counter(range(1, 2001))


async def test_events_that_the_receiver_refuses_keep_no_others_back(pool: Pool) -> None:
    """Such as all of one type, which its program does not know."""
    await happen(pool, 3 * MAX_PARCEL)
    receiver = Receiver(lambda event: event.position <= 2 * MAX_PARCEL)
    receiver.away = False

    async with sending(pool, receiver) as process:
        await until(lambda: len(receiver.taken) == MAX_PARCEL)
        await until(lambda: process.failed > 4 * MAX_PARCEL)
        assert not process.down


async def test_a_receiver_that_does_not_answer_keeps_a_bounded_number_of_events(pool: Pool) -> None:
    await happen(pool, 1000)
    receiver = Receiver()
    receiver.answers.clear()

    async with sending(pool, receiver) as process:
        await until(lambda: receiver.under_way == AT_ONCE)
        await until(lambda: len(process._rounds) == PARCELS)
        receiver.answers.set()
        await until(lambda: len(receiver.taken) == 1000)

    assert receiver.most == AT_ONCE


async def test_closing_waits_for_what_is_under_way_and_the_next_process_sends_the_rest(pool: Pool) -> None:
    await happen(pool, 200)
    receiver = Receiver()
    receiver.answers.clear()

    async with sending(pool, receiver) as process:
        await until(lambda: receiver.under_way == AT_ONCE)
        closing = asyncio.create_task(process.close(PATIENCE))
        await asyncio.sleep(0)
        receiver.answers.set()
        await closing
    assert len(receiver.taken) == AT_ONCE
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("webhooks")]

    async with sending(pool, receiver):
        await until(lambda: len(receiver.taken) >= 200)
    assert receiver.sent == Counter(range(1, 201))


async def test_closing_does_not_wait_for_a_receiver_that_hangs(pool: Pool) -> None:
    await happen(pool, 20)
    receiver = Receiver()
    receiver.answers.clear()

    async with sending(pool, receiver, grace=0.0):
        await until(lambda: receiver.under_way == AT_ONCE)

    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("webhooks")]
    await change(pool, "UPDATE parcels SET due = now() WHERE first > 0")  # as when the lease has run out
    receiver.answers.set()
    async with sending(pool, receiver):
        await until(lambda: set(receiver.taken) == set(range(1, 21)))


async def test_events_that_are_given_up_are_reported_with_what_to_do(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    await happen(pool, 3)
    receiver = Receiver(lambda event: event.position == 2)

    async with sending(pool, receiver) as process:
        await until(lambda: process.failed > 0)
    age = GIVE_UP + timedelta(hours=1)
    await change(pool, "UPDATE parcels SET created_at = now() - $1::interval WHERE first > 0", age)
    async with sending(pool, receiver) as process:
        await until(lambda: "have not been taken for three days" in caplog.text)
        await until(lambda: process.backlog.given_up == 1)

    [error] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert "UPDATE parcels SET due = now()" in error.getMessage()
    assert 2 not in receiver.taken


async def test_a_defect_in_sending_counts_as_a_failure(pool: Pool, caplog: pytest.LogCaptureFixture) -> None:
    await happen(pool, 1)
    attempts = []

    async def send(event: Event) -> None:
        attempts.append(event)
        if len(attempts) == 1:
            raise RuntimeError("boom")

    process = Sending(Parcels(pool, SOON), send, QUICK)
    process.start()
    await until(lambda: process.sent == 1)
    await process.close(PATIENCE)
    assert "defect: an event could not be sent" in caplog.text
