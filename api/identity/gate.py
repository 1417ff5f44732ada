"""The gate: the order in which requests begin when more of them come than the process can begin at once."""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from time import perf_counter
from types import coroutine
from typing import Any, TypeVar

from api.identity.errors import RateLimited
from api.identity.fair_queue import FairQueue, Usage

R = TypeVar("R")

LENGTH = 0.002
"""Seconds of requests in one round of the event loop. A transaction needs a round for each of its statements, so that
purchases wait for seven rounds at least: the longer each of them is, the fewer purchases there are beside requests that
take long. Shorter rounds cost more by themselves."""

ROUND = 16
"""Requests in one round at most."""

ALONE = 1.0
"""Seconds without a request of another client after which a client is alone, and waits for nobody."""

EACH = 0.0001
"""Seconds that a request is charged when it begins: what a small one takes. What it really takes is charged later."""

SAMPLE = 64
"""Requests over which their mean time is taken, the latest of them above all."""

PATIENCE = 10.0
"""Seconds that a request waits at most before it begins."""


CHUNK = 0.0005
"""Seconds of a coroutine's steps that are charged together."""


MOST_OWED = 0.1
"""Seconds that a client is behind another of those who wait, at most, whatever it has used. Those with one address, of
whom one is hostile, are not kept out."""

LOOK_INTERVAL = 0.5
"""Seconds between two looks for requests that have waited too long."""


class Gate:
    """Lets requests begin, and go on after they have waited together for the database: at once while they are few, and
    otherwise those of the client first that has used least of the processor's time. What goes on comes before what
    begins."""

    def __init__(self, patience: float = PATIENCE) -> None:
        """`patience` in seconds, after which a request is refused instead of begun."""
        self._patience = patience
        self._usage = Usage(MOST_OWED)
        self._queue: FairQueue[tuple[float, Callable[[bool], None]]] = FairQueue(self._usage)
        self._resuming: FairQueue[asyncio.Future[None]] = FairQueue(self._usage)
        self._begun = 0
        """Requests that have begun or gone on in this round."""
        self._latest = ""
        self._mixed_until = 0.0
        self._seconds, self._number = EACH * SAMPLE, float(SAMPLE)
        self._next_round: asyncio.Handle | None = None
        self._late: deque[tuple[float, Callable[[bool], None]]] = deque()
        self._next_look = 0.0
        self._in_step = False

    def enter(self, client: str, begin: Callable[[bool], None]) -> None:
        """Call `begin`, now or when it is the client's turn: with True, or with False when that took too long."""
        now = asyncio.get_running_loop().time()
        if client != self._latest:
            self._latest, self._mixed_until = client, now + ALONE
        elif now >= self._mixed_until and not len(self._queue):
            self._queue.serve(client)
            begin(True)
            return
        if self._begun < self._most and not len(self._queue):
            self._queue.serve(client)
            self._count(client)
            begin(True)
        else:
            self._queue.push(client, (now + self._patience, begin))
        self._come_again()

    async def entered(self, client: str) -> None:
        """Return when it is the client's turn. Raises RateLimited when that took too long."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def begin(in_time: bool) -> None:
            if not turn.done():
                turn.set_result(in_time)

        self.enter(client, begin)
        if not await turn:
            raise self.refusal()

    async def resumed(self, client: str) -> None:
        """Return when it is the client's turn to go on. Hundreds of requests that wait for one transaction, or for one
        read, are answered by it in the same moment, and nothing else would be done until each had sent its answer."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._mixed_until and not len(self._resuming):
            return
        if self._begun < self._most and not len(self._resuming):
            self._count(client)
            self._come_again()
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._resuming.push(client, turn)
        self._come_again()
        await turn

    def refusal(self) -> RateLimited:
        """The error of a request that waited too long."""
        return RateLimited("too many requests wait, and your share of them is used; try again later", self._patience)

    def charge(self, client: str, seconds: float) -> None:
        """Count processor time that a client's requests have used."""
        self._seconds += seconds
        self._usage.charge(client, seconds)

    async def metered(self, client: str, running: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine, and charge the client with the seconds that its steps take. What runs in a task of its own,
        such as a field of a query, is to be metered by itself. A step within another step is charged once."""
        if self._in_step:  # of the coroutine that awaits this one, in the same task
            return await running
        return await self._stepwise(client, running)

    @coroutine
    def _stepwise(self, client: str, running: Coroutine[Any, Any, R]) -> Generator[Any, Any, R]:
        thrown: BaseException | None = None
        used = 0.0
        try:
            while True:
                begun = perf_counter()
                self._in_step = True
                try:
                    awaited = running.send(None) if thrown is None else running.throw(thrown)
                except StopIteration as end:
                    result: R = end.value
                    return result
                finally:
                    self._in_step = False
                    used += perf_counter() - begun
                    thrown = None  # it refers to this frame, and would keep it
                if used >= CHUNK:
                    self.charge(client, used)
                    used = 0.0
                try:
                    yield awaited
                except BaseException as error:  # such as a cancellation
                    thrown = error
        finally:
            self.charge(client, used)

    @property
    def _most(self) -> int:
        """Requests that take LENGTH together, by what the latest took."""
        return max(1, min(ROUND, round(LENGTH * self._number / self._seconds)))

    def _count(self, client: str) -> None:
        self._begun += 1
        self._usage.charge(client, EACH)
        self._number += 1
        if self._number > 2 * SAMPLE:
            self._number /= 2
            self._seconds /= 2

    def _come_again(self) -> None:
        if self._next_round is None:
            self._next_round = asyncio.get_running_loop().call_soon(self._begin_round)

    def _begin_round(self) -> None:
        self._next_round = None
        self._begun = 0
        try:
            self._begin_some(self._most)
        finally:
            if self._begun or self._late:
                self._come_again()

    def _begin_some(self, most: int) -> None:
        now = asyncio.get_running_loop().time()
        while len(self._resuming) and self._begun < most:
            client, turn = self._resuming.pop()
            self._count(client)
            if not turn.done():  # its caller has left
                turn.set_result(None)
        for _ in range(min(len(self._queue), max(1, most - self._begun))):
            client, (deadline, begin) = self._queue.pop()
            self._count(client)
            begin(now <= deadline)
        if now >= self._next_look:
            self._next_look = now + LOOK_INTERVAL
            self._late.extend(self._queue.drop_heads(lambda waiting: waiting[0] < now))
        if self._late:  # one in each round: to refuse a thousand takes time as well
            self._late.popleft()[1](False)
