"""A script: what every field of an execution does, so that two executions can be compared.

A field that waits does so until `drive` releases it. All fields that can begin without it have begun by then, so no
answer depends on how long anything runs.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from hashlib import blake2b
from typing import Any, TypeVar, TypeVarTuple, cast

from api.drops.drops import Drops
from api.graphql.compiled.run import certain_to_begin
from api.graphql.context import Context
from api.identity.caller import OPERATOR
from api.identity.gate import Gate
from api.identity.turns import Turns
from tests.patience import PATIENCE

R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

GOOD = "good"
"""What a field does that has no fault."""


class How(Enum):
    """When a field has its value: at once, in a coroutine that does not wait, or when it is released."""

    NOW = "now"
    COROUTINE = "coroutine"
    WAITS = "waits"


@dataclass(frozen=True)
class Does:
    """What one field does. `what` is GOOD, or the name of a fault."""

    what: str = GOOD
    how: How = How.NOW


@dataclass(frozen=True)
class Plan:
    """What the field at each place does: what `fixed` has for the place, or else what is drawn from the seed.

    A place is the path of a field or of an item, such as `items/0/string`. A `~` and a word follow for what belongs to
    it: `items/0~type` is the answer to which type the item has.

    `faults`, `coroutines` and `waits` are the shares of the places that have a fault, or are late. `length`: of every
    list, instead of a random one.
    """

    fixed: Mapping[str, Does] = field(default_factory=dict)
    seed: int = 0
    faults: float = 0.0
    coroutines: float = 0.0
    waits: float = 0.0
    length: int | None = None

    def number(self, place: str, purpose: str) -> float:
        """A number from 0 to 1 that depends on the seed, the place and the purpose alone."""
        digest = blake2b(f"{self.seed} {purpose} {place}".encode(), digest_size=8).digest()
        return int.from_bytes(digest) / 2**64

    def choice(self, place: str, purpose: str, options: Sequence[T]) -> T:
        """One of the options."""
        return options[int(self.number(place, purpose) * len(options))]

    def what(self, place: str, faults: Sequence[str]) -> str:
        """GOOD, or one of the faults."""
        if place in self.fixed:
            return self.fixed[place].what
        return self.choice(place, "which fault", faults) if self.number(place, "a fault") < self.faults else GOOD

    def how(self, place: str) -> How:
        """When the field at this place has its value."""
        if place in self.fixed:
            return self.fixed[place].how
        number = self.number(place, "how")
        if number < self.waits:
            return How.WAITS
        return How.COROUTINE if number < self.waits + self.coroutines else How.NOW


class CountingLoop(asyncio.SelectorEventLoop):
    """An event loop that counts the callbacks that were scheduled."""

    scheduled = 0

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        self.scheduled += 1
        return super().call_soon(callback, *args, context=context)


class BeginningLoop(CountingLoop):
    """The same, whose tasks begin even if they are cancelled before. graphql-core leaves the coroutines of a task that
    has not begun, and Python warns of each."""

    def create_task(self, coro: Any, **options: Any) -> asyncio.Task[Any]:
        return super().create_task(certain_to_begin(coro), **options)


class Waiters:
    """The fields that wait, by their places."""

    def __init__(self) -> None:
        self._released: dict[str, asyncio.Future[None]] = {}

    @property
    def places(self) -> frozenset[str]:
        return frozenset(self._released)

    async def wait(self, place: str) -> None:
        """Return when the place is released."""
        assert place not in self._released, f"the field at {place} is executed twice"
        self._released[place] = asyncio.get_running_loop().create_future()
        try:
            await self._released[place]
        finally:
            del self._released[place]

    def release(self, place: str) -> None:
        self._released[place].set_result(None)


class FreeTurns(Turns):
    """Turns that cost no time: a busy machine must not change the order in which fields are completed."""

    def __init__(self) -> None:
        super().__init__(0.1, 0.4)

    async def pay(self, client: str, used: float) -> None:
        """Return at once."""


@dataclass(frozen=True)
class Scripted(Context):
    """The context of one execution that follows a plan. `calls`: the places whose resolvers were called, in order."""

    plan: Plan = field(default_factory=Plan)
    waiters: Waiters = field(default_factory=Waiters)
    calls: list[str] = field(default_factory=list)

    async def late(self, place: str, how: How) -> None:
        """Wait until the place is released, if it is one that waits."""
        if how is How.WAITS:
            await self.waiters.wait(place)


def scripted(plan: Plan, gate: Gate | None = None, drops: object = None) -> Scripted:
    """A context for one execution."""
    return Scripted(cast("Drops", drops), OPERATOR, "a client", FreeTurns(), gate or Gate(), plan=plan)


@dataclass(frozen=True)
class Step:
    """A place that was released, and all places that waited at this moment."""

    released: str
    waiting: frozenset[str]


async def drive(execution: Coroutine[Any, Any, R], context: Scripted) -> tuple[R, list[Step], frozenset[str]]:
    """Run an execution, and release the fields that wait one by one. Returns its result, the steps until then, and the
    places of the fields that still wait then."""
    others = asyncio.all_tasks()
    waiters, plan, steps = context.waiters, context.plan, list[Step]()
    running = asyncio.ensure_future(execution)
    async with asyncio.timeout(PATIENCE):
        await _settle(running)
        while not running.done():
            assert waiters.places, "the execution waits for something that no field waits for"
            place = min(waiters.places, key=lambda place: plan.number(place, "release"))
            steps.append(Step(place, waiters.places))
            waiters.release(place)
            await _settle(running)
        left_waiting = waiters.places
        await _settle()
        while waiters.places:  # of fields that the response does not have, because an error has removed them
            waiters.release(min(waiters.places))
            await _settle()
    left = asyncio.all_tasks() - others
    assert not left, f"the execution has left tasks behind that wait for no field: {left}"
    return running.result(), steps, left_waiting


async def _settle(running: "asyncio.Future[Any] | None" = None) -> None:
    """Return when nothing more happens by itself, or `running` is done."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, CountingLoop)
    while running is None or not running.done():
        before = loop.scheduled
        await asyncio.sleep(0)  # schedules one callback: this task goes on in the next round
        if loop.scheduled == before + 1:
            return
