"""Joint turns: of the clients that wait for the same work, the one that has used least pays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from api.identity.errors import RateLimited
from api.identity.joint_turns import JointTurns
from api.identity.turns import LENGTH, Turns
from tests.identity.other_work import Others
from tests.patience import PATIENCE, short

SHARE = 0.1
FOR_EVER = 1_000_000.0
"""Seconds. Nobody gets a turn after one that pays for so many, while there is other work."""


@asynccontextmanager
async def held(turns: Turns) -> AsyncIterator[None]:
    """Hold the turn until the block ends. Meanwhile "spent" has used far more than "busy", and "busy" than others."""
    async with turns.turn("holder"):
        turns.later("spent", 1_000.0, lambda: None)()
        turns.later("busy", 100.0, lambda: None)()
        yield


class Payments:
    """Payments that wait, and the order in which they are made."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, name: str, turns: JointTurns | Turns, client: str) -> None:
        async def pay() -> None:
            await turns.pay(client, LENGTH)
            self.made.append(name)

        self._tasks.append(asyncio.create_task(pay()))
        await asyncio.sleep(0)

    async def end(self) -> list[str]:
        await asyncio.wait_for(asyncio.gather(*self._tasks), PATIENCE)
        return self.made


async def test_the_client_that_has_used_least_is_charged() -> None:
    turns, payments = Turns(SHARE, SHARE), Payments()
    async with held(turns):
        joint = JointTurns(turns, ["spent", "new"])
        before = turns.used("spent")
        await payments.begin("joint", joint, "spent")

        assert joint.payer == "new"
        assert (turns.used("spent"), turns.used("new")) == (before, LENGTH)

    await payments.end()


async def test_work_for_a_client_alone_waits_for_the_turn_of_this_client() -> None:
    turns, payments = Turns(SHARE, SHARE), Payments()
    async with held(turns):
        await payments.begin("joint", JointTurns(turns, ["spent"]), "spent")
        for number in range(3):
            await payments.begin("other", turns, f"client {number}")

    assert await payments.end() == ["other", "other", "other", "joint"]


async def test_work_waits_no_longer_than_for_the_turn_of_a_client_that_joins() -> None:
    turns, payments = Turns(SHARE, SHARE), Payments()
    async with held(turns):
        joint = JointTurns(turns, ["spent"])
        await payments.begin("joint", joint, "spent")
        await payments.begin("joint too", joint, "spent")
        await payments.begin("spent", turns, "spent")
        await payments.begin("busy", turns, "busy")
        joint.join("new")
        joint.join("new")

    assert joint.payer == "new"
    assert await payments.end() == ["joint", "joint too", "busy", "spent"]
    await asyncio.wait_for(turns.pay("anybody", LENGTH), PATIENCE)  # no turn was lost


async def test_a_client_that_joins_pays_nothing_if_it_has_used_more() -> None:
    turns, payments = Turns(SHARE, SHARE), Payments()
    async with held(turns):
        joint = JointTurns(turns, ["new"])
        joint.join("spent")
        before = turns.used("spent")
        await payments.begin("joint", joint, "new")

        assert joint.payer == "new"
        assert turns.used("spent") == before

    await payments.end()


async def get_a_turn(turns: Turns) -> None:
    """Wait for a turn beside other work, some rounds of the event loop after turns can be granted."""
    async with Others():
        for _ in range(50):
            await asyncio.sleep(0)
        await asyncio.wait_for(turns.pay("two", LENGTH), PATIENCE)


async def test_work_that_gets_no_turn_in_time_is_refused_and_takes_none_later() -> None:
    turns = Turns(SHARE, SHARE, patience=short(0.05))
    async with turns.turn("holder"):
        with pytest.raises(RateLimited):
            await JointTurns(turns, ["one"]).pay("one", FOR_EVER)

    turns.patience = None
    await get_a_turn(turns)


async def test_cancelled_work_takes_no_turn() -> None:
    turns = Turns(SHARE, SHARE, patience=None)
    async with turns.turn("holder"):
        paying = asyncio.create_task(JointTurns(turns, ["one"]).pay("one", FOR_EVER))
        await asyncio.sleep(0)
        paying.cancel()
        await asyncio.wait([paying])

    assert paying.cancelled()
    await get_a_turn(turns)
