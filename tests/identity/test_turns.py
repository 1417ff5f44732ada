"""Turns: work that takes long shares the event loop."""

import asyncio
from collections import Counter
from time import thread_time
from typing import Any

import pytest

from api.identity.errors import RateLimited
from api.identity.turns import LENGTH, Turns
from tests.identity.other_work import Others, work
from tests.patience import PATIENCE, short

SHARE = 0.1


async def take_turns(turns: Turns, client: str, number: int, taken: Counter[str] | None = None) -> None:
    for _ in range(number):
        async with turns.turn(client):
            work(LENGTH)
            if taken is not None:
                taken[client] += 1


async def test_long_work_gets_its_share_and_no_more() -> None:
    begun = thread_time()
    async with asyncio.timeout(PATIENCE), Others():
        await take_turns(Turns(SHARE, SHARE), "one", 10)

    # Of all that the thread has done: on a busy machine the event loop itself takes a good part of it. Nobody waits
    # after the last turn.
    assert thread_time() - begun > 8 * LENGTH / SHARE


async def test_long_work_that_is_alone_need_not_wait() -> None:
    rounds = 0

    async def count_rounds() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_rounds())
    await take_turns(Turns(SHARE, SHARE), "one", 10)
    counting.cancel()

    assert rounds < 2_000  # at a share of a tenth, some 90 ms of idle rounds


async def test_clients_that_wait_have_the_same_share_each() -> None:
    turns, taken = Turns(SHARE, SHARE), Counter[str]()
    async with asyncio.timeout(PATIENCE), Others(), asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(take_turns(turns, "many", 1, taken))
        tasks.create_task(take_turns(turns, "few", 3, taken))
        while taken["few"] < 3:
            await asyncio.sleep(0)
        assert taken["many"] <= 5


async def test_more_clients_that_wait_have_a_larger_share_together() -> None:
    async def others_share(clients: int) -> float:
        turns = Turns(SHARE, 4 * SHARE)
        async with asyncio.timeout(PATIENCE), Others() as others, asyncio.TaskGroup() as tasks:
            for number in range(4):
                tasks.create_task(take_turns(turns, f"client {number % clients}", 5))
        return others.used

    assert await others_share(4) < await others_share(1) / 2


async def test_time_used_before_is_paid_before_more_work_is_done() -> None:
    turns = Turns(SHARE, SHARE)
    begun = thread_time()
    async with asyncio.timeout(PATIENCE), Others():
        for _ in range(5):
            work(LENGTH)
            await turns.pay("one", LENGTH)

    assert thread_time() - begun > 3 * LENGTH / SHARE


async def test_a_callback_is_called_in_its_turn_unless_it_is_withdrawn() -> None:
    turns, called = Turns(SHARE, SHARE), []
    async with asyncio.timeout(PATIENCE), Others():
        turns.later("one", LENGTH, lambda: called.append("first"))
        withdraw = turns.later("one", LENGTH, lambda: called.append("withdrawn"))
        turns.later("one", LENGTH, lambda: called.append("last"))
        withdraw()
        while "last" not in called:
            await asyncio.sleep(0)

    assert called == ["first", "last"]


async def test_a_turn_can_be_paid_after_a_callback_has_raised() -> None:
    errors: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    turns = Turns(SHARE, SHARE)

    def fail() -> None:
        raise LookupError("a defect")

    async with asyncio.timeout(PATIENCE):
        async with turns.turn("holder"):
            turns.later("one", LENGTH, fail)
        await turns.pay("two", LENGTH)

    assert [str(error["exception"]) for error in errors] == ["a defect"]


async def test_a_client_that_waits_too_long_for_a_turn_is_refused() -> None:
    turns = Turns(SHARE, SHARE, patience=short(0.05))
    async with turns.turn("holder"):
        with pytest.raises(RateLimited):
            await turns.pay("one", LENGTH)

    async with asyncio.timeout(PATIENCE), turns.turn("one"):
        pass


async def test_the_turn_of_a_cancelled_task_goes_to_the_next() -> None:
    turns = Turns(SHARE, SHARE)
    async with turns.turn("holder"):
        leaving = asyncio.create_task(take_turns(turns, "leaving", 1))
        staying = asyncio.create_task(take_turns(turns, "staying", 1))
        await asyncio.sleep(0)
        leaving.cancel()

    async with asyncio.timeout(PATIENCE):
        await staying


async def test_a_callback_is_called_after_another_has_raised() -> None:
    turns, called = Turns(SHARE, SHARE), []
    failures: list[BaseException] = []

    def fail() -> None:
        raise ZeroDivisionError

    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failures.append(context["exception"]))
    try:
        turns.later("one", LENGTH, fail)
        turns.later("two", LENGTH, lambda: called.append("next"))
        async with asyncio.timeout(PATIENCE), Others():
            while not called:
                await asyncio.sleep(0)
    finally:
        loop.set_exception_handler(None)

    assert [type(failure) for failure in failures] == [ZeroDivisionError]


async def test_turns_while_no_client_waited_do_not_count() -> None:
    turns, taken = Turns(SHARE, SHARE), []
    for _ in range(20):
        await take_turns(turns, "old", 1)
        work(2 * LENGTH * (1 - SHARE) / SHARE)  # other work, so that the next turn comes at once

    async def take(client: str) -> None:
        async with turns.turn(client):
            work(LENGTH)
            taken.append(client)

    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as tasks, turns.turn("holder"):
        for client in [*["new"] * 10, "old"]:
            tasks.create_task(take(client))
        await asyncio.sleep(0)

    assert taken[-1] == "new"
