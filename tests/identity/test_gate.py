"""The order in which requests begin, and what clients are charged for their steps."""

import asyncio
from collections import Counter
from time import perf_counter

import pytest

from api.identity.errors import RateLimited
from api.identity.gate import CHUNK, ROUND, Gate
from tests.patience import PATIENCE


def busy(seconds: float) -> None:
    """Keep the processor busy."""
    end = perf_counter() + seconds
    while perf_counter() < end:
        pass


class Arrivals:
    """Requests that enter a gate. `begun` and `refused` are their clients, in order."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self.begun: list[str] = []
        self.refused: list[str] = []

    def enter(self, client: str, number: int = 1) -> None:
        for _ in range(number):
            self._gate.enter(client, lambda in_time: (self.begun if in_time else self.refused).append(client))

    async def until(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE):
            while len(self.begun) < number:
                await asyncio.sleep(0)


async def test_a_few_requests_begin_at_once() -> None:
    arrivals = Arrivals(Gate())

    arrivals.enter("one", ROUND)

    assert arrivals.begun == ["one"] * ROUND


async def test_more_requests_begin_in_the_rounds_that_follow() -> None:
    arrivals = Arrivals(Gate())
    arrivals.enter("one", 3 * ROUND)
    assert len(arrivals.begun) == ROUND

    await asyncio.sleep(0)
    assert len(arrivals.begun) == 2 * ROUND
    await asyncio.sleep(0)
    assert len(arrivals.begun) == 3 * ROUND


async def test_a_client_with_many_requests_does_not_keep_another_waiting() -> None:
    arrivals = Arrivals(Gate())
    arrivals.enter("many", 100 * ROUND)
    arrivals.enter("few", ROUND)

    await arrivals.until(3 * ROUND)

    assert Counter(arrivals.begun)["few"] == ROUND


async def test_a_client_that_has_used_more_processor_time_waits_longer() -> None:
    gate = Gate()
    arrivals = Arrivals(gate)
    arrivals.enter("cheap", ROUND)  # so that the others wait
    gate.charge("dear", 1.0)
    arrivals.enter("dear", ROUND)
    arrivals.enter("cheap", 2 * ROUND)

    await arrivals.until(4 * ROUND)

    assert arrivals.begun == ["cheap"] * (3 * ROUND) + ["dear"] * ROUND


async def test_a_client_that_used_much_while_alone_gets_in_beside_fifty_busy_ones() -> None:
    """An office, or a shop's backend, comes before fifty new buyers who keep the server busy all the time."""
    gate = Gate()
    for _ in range(1_000):
        await gate.entered("office")
        gate.charge("office", 0.06)
        await asyncio.sleep(0)
    begun = 0
    over = asyncio.Event()

    async def buy(client: str) -> None:
        nonlocal begun
        while not over.is_set() and begun < 20_000:
            await gate.entered(client)
            gate.charge(client, 0.001)
            begun += 1

    async with asyncio.TaskGroup() as tasks:
        for number in range(50):
            tasks.create_task(buy(f"buyer {number}"))
        while not begun:
            await asyncio.sleep(0)
        await gate.entered("office")
        over.set()

    assert begun < 20_000


async def test_a_request_that_waited_too_long_is_refused() -> None:
    gate = Gate(patience=-1.0)  # in seconds
    for _ in range(ROUND):
        await gate.entered("one")

    with pytest.raises(RateLimited):
        await gate.entered("one")


async def test_a_request_that_is_cancelled_while_it_waits_does_not_stop_the_others() -> None:
    gate = Gate()
    waiting = [asyncio.create_task(gate.entered("one")) for _ in range(3 * ROUND)]
    await asyncio.sleep(0)
    waiting[-1].cancel()

    await asyncio.gather(*waiting[:-1])

    assert waiting[-1].cancelled()


class Charged(Gate):
    """A gate that records its charges."""

    def __init__(self) -> None:
        super().__init__()
        self.charged: list[tuple[str, float]] = []

    def charge(self, client: str, seconds: float) -> None:
        self.charged.append((client, seconds))


async def test_the_steps_of_a_coroutine_are_charged_and_not_its_waiting() -> None:
    gate = Charged()

    async def work() -> str:
        for _ in range(3):
            busy(2 * CHUNK)
            await asyncio.sleep(10 * CHUNK)
        return "done"

    assert await gate.metered("one", work()) == "done"
    assert len(gate.charged) == 4, "a long step by itself, and what is left at the end"
    assert sum(seconds for _, seconds in gate.charged) >= 6 * CHUNK


async def test_short_steps_are_charged_together() -> None:
    gate = Charged()

    async def work() -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    await gate.metered("one", work())
    assert [client for client, _ in gate.charged] == ["one"]


async def test_an_awaited_step_is_charged_once_and_a_step_in_another_task_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.identity.gate.CHUNK", PATIENCE)  # one charge, however slow the machine is
    gate = Charged()

    async def work() -> None:
        await asyncio.sleep(0)

    async def await_work() -> None:
        await gate.metered("one", work())

    async def gather_work() -> None:
        await asyncio.gather(gate.metered("one", work()), gate.metered("one", work()))

    await gate.metered("one", await_work())
    assert len(gate.charged) == 1
    gate.charged.clear()
    await gate.metered("one", gather_work())
    assert len(gate.charged) == 3


async def test_a_step_that_is_metered_apart_is_charged_to_its_own_client_alone() -> None:
    gate = Charged()

    async def work() -> None:
        for _ in range(3):
            busy(2 * CHUNK)
            await asyncio.sleep(0)

    async def listen() -> None:
        busy(4 * CHUNK)
        await gate.metered_apart("buyer", work())
        await gate.metered("buyer", work())

    await gate.metered("address", listen())
    charged: Counter[str] = Counter()
    for client, seconds in gate.charged:
        charged[client] += seconds  # type: ignore[assignment]
    assert charged["buyer"] >= 6 * CHUNK
    assert charged["address"] >= 10 * CHUNK
    assert all(seconds >= 0 for _, seconds in gate.charged)


async def test_time_that_is_metered_apart_is_charged_once() -> None:
    gate = Charged()

    async def work() -> None:
        busy(100 * CHUNK)

    async def listen() -> None:
        await gate.metered_apart("buyer", work())

    begun = perf_counter()
    await gate.metered("address", listen())
    assert sum(seconds for _, seconds in gate.charged) <= perf_counter() - begun
    assert [client for client, _ in gate.charged] == ["buyer", "address"]


async def test_a_metered_coroutine_can_be_cancelled_and_can_raise() -> None:
    gate = Charged()
    cleaned = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    task = asyncio.create_task(gate.metered("one", wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned.is_set()

    async def fail() -> None:
        raise LookupError("as any")

    with pytest.raises(LookupError):
        await gate.metered("one", fail())


async def test_time_used_while_no_request_waited_does_not_count() -> None:
    gate = Gate()
    arrivals = Arrivals(gate)
    for _ in range(100):  # such as a load balancer's health checks, one after another
        gate.charge("old", 1.0)
        await gate.entered("old")
        await asyncio.sleep(0)

    arrivals.enter("new", 5 * ROUND)
    arrivals.enter("old")
    await arrivals.until(3 * ROUND)

    assert "old" in arrivals.begun
