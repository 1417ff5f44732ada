"""What a websocket waits for: events come in order, and so do the messages that wait for room."""

import asyncio

import pytest

from api.waiting import Inbox, Room
from tests.patience import PATIENCE


async def rounds(number: int = 5) -> None:
    """Let all other tasks go on as far as they can."""
    for _ in range(number):
        await asyncio.sleep(0)


class TestInbox:
    async def test_events_are_received_in_order(self) -> None:
        inbox: Inbox[int] = Inbox()
        for number in range(3):
            inbox.put_nowait(number)
        assert not inbox.empty()
        assert [await inbox.get() for _ in range(3)] == [0, 1, 2]
        assert inbox.empty()

    async def test_an_event_ends_the_waiting_for_it(self) -> None:
        inbox: Inbox[str] = Inbox()
        getting = asyncio.create_task(inbox.get())
        await rounds()
        inbox.wake()  # without an event it goes on waiting
        await rounds()
        assert not getting.done()
        inbox.put_nowait("event")
        assert await asyncio.wait_for(getting, PATIENCE) == "event"

    async def test_an_event_for_a_cancelled_task_is_left_to_the_next(self) -> None:
        inbox: Inbox[str] = Inbox()
        getting = asyncio.create_task(inbox.get())
        await rounds()
        getting.cancel()
        inbox.put_nowait("event")
        await rounds()
        assert await asyncio.wait_for(inbox.get(), PATIENCE) == "event"

    async def test_the_arrival_of_an_event_is_notified_once(self) -> None:
        inbox: Inbox[str] = Inbox()
        notified: list[bool] = []
        inbox.notify(lambda: notified.append(inbox.empty()))
        inbox.put_nowait("event")
        inbox.put_nowait("another")
        assert notified == [False]


class TestRoom:
    @pytest.fixture
    def room(self) -> Room:
        return Room()

    async def test_nothing_waits_while_there_is_room(self, room: Room) -> None:
        await room.wait()
        assert room.is_set()
        room.clear()
        assert not room.is_set()

    async def test_what_waits_goes_on_in_order_and_nothing_overtakes_it(self, room: Room) -> None:
        sent: list[str] = []

        async def send(message: str) -> None:
            await room.wait()
            sent.append(message)

        room.clear()
        tasks = [asyncio.create_task(send(message)) for message in "abc"]
        await rounds()
        assert sent == []

        room.set()
        assert not room.is_set(), "a message that needs no task would overtake those that wait"
        tasks.append(asyncio.create_task(send("d")))
        await asyncio.wait(tasks)
        assert sent == ["a", "b", "c", "d"]
        assert room.is_set()

    async def test_what_waits_goes_on_waiting_when_the_room_is_used_up_again(self, room: Room) -> None:
        sent: list[str] = []

        async def send(message: str) -> None:
            await room.wait()
            sent.append(message)
            room.clear()

        room.clear()
        tasks = [asyncio.create_task(send(message)) for message in "abc"]
        await rounds()
        for number in range(1, 4):
            room.set()
            await rounds()
            assert len(sent) == number
        await asyncio.wait(tasks)

    @pytest.mark.parametrize("woken", [False, True])
    async def test_a_cancelled_message_lets_the_next_one_go_on(self, room: Room, woken: bool) -> None:
        room.clear()
        first, second = (asyncio.create_task(room.wait()) for _ in range(2))
        await rounds()
        if woken:
            room.set()
        first.cancel()
        await rounds()
        room.set()
        await asyncio.wait_for(second, PATIENCE)
        assert first.cancelled()
        assert room.is_set()
