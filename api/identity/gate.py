"""The gate: the order in which requests begin, when more of them arrive than the process can begin at once."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from time import perf_counter
from types import coroutine
from typing import Any, TypeVar

from api.identity.errors import Overloaded, RateLimited
from api.identity.fair_queue import FairQueue, Usage

R = TypeVar("R")

ROUND_LENGTH = 0.002
"""Seconds that the requests of one round of the event loop take. A transaction needs a round for each of its
statements, so a purchase waits for seven rounds at least. Longer rounds leave fewer purchases a second beside
requests that take long. Shorter rounds have more overhead."""

ROUND = 16
"""Requests that begin or go on in one round, at most."""

ALONE_AFTER = 1.0
"""A client is alone, and does not wait, after this many seconds without a request of another client."""

FIRST_CHARGE = 0.0001
"""Seconds that a request is charged when it begins: the time of a small request. Its real time is charged later."""

SAMPLE = 64
"""Requests over which the mean time of a request is taken. The latest requests weigh most."""

PACE_TIME = 2.0
"""Seconds over which the pace of the gate is taken, the latest ones above all. A pause of one second, in which the
system runs other processes, makes the pace slower by a half then."""

FIRST_PACE = 0.0004
"""Seconds from one request that begins to the next, before any has waited: 2,500 purchases a second, as one process
confirms them (bench/README.md)."""

LATE = 7.0
"""Seconds. A request that would wait longer is refused when it arrives. Buyers send a purchase again after 10 s without
an answer. When 5,000 clients open a drop, none waits so long (bench.opening)."""

LATE_FOR_READS = 5.0
"""Seconds. While requests wait longer, a read is refused and not executed, so that purchases come first."""

MIN_PAUSE = 1.0
"""Seconds after which a refused client can come back, at least."""

PATIENCE = 10.0
"""Seconds that a request waits before it begins, at most. LATE bounds the wait that is expected when a request arrives,
and this bounds the wait that it has."""

CHUNK = 0.0005
"""Steps of a coroutine are charged together until they have taken this many seconds."""

MOST_OWED = 0.1
"""Seconds of processor time that a client can be behind the other waiting clients, at most, whatever it has used. So
users who share one address with a hostile user are not kept out."""

EXPIRY_INTERVAL = 0.5
"""Seconds between two searches for requests that have waited too long."""


class Gate:
    """Lets requests begin, and lets them go on after many of them have waited for the same answer of the database.

    While requests are few, they begin and go on at once. Otherwise the client that has used the least processor time
    comes first. Requests that go on come before requests that begin.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        """`patience` in seconds. A request that has waited longer is refused."""
        self._patience = patience
        self._usage = Usage(MOST_OWED)
        self._queue: FairQueue[tuple[float, Callable[[bool], None]]] = FairQueue(self._usage)
        self._resuming: FairQueue[asyncio.Future[None]] = FairQueue(self._usage)
        self._begun = 0
        """Requests that have begun or gone on in this round."""
        self._latest_client = ""
        self._shared_until = 0.0
        """When the latest client will be alone, by the event loop's clock."""
        self._sample_seconds, self._sample_size = FIRST_CHARGE * SAMPLE, float(SAMPLE)
        self._next_round: asyncio.Handle | None = None
        self._expired: deque[tuple[float, Callable[[bool], None]]] = deque()
        """Requests that have waited too long, and are still to be refused."""
        self._next_expiry = 0.0
        self._pace_seconds, self._pace_size = PACE_TIME, PACE_TIME / FIRST_PACE
        self._paced_until = 0.0
        """Until when the time of waiting requests is counted in `_pace_seconds`, as a time of `perf_counter`."""
        self._charged: str | None = None
        """The client that is charged for the step of a metered coroutine that is running; None between steps."""
        self._charged_within = 0.0
        """Seconds of the running step that other clients are charged for, in coroutines that the step awaits."""

    def enter(self, client: str, begin: Callable[[bool], None]) -> None:
        """Call `begin`, now or when it is the client's turn. It gets True in time, and False for a request that is
        refused: at once when it would wait longer than LATE, or after the patience."""
        now = asyncio.get_running_loop().time()
        if client != self._latest_client:
            self._latest_client, self._shared_until = client, now + ALONE_AFTER
        elif now >= self._shared_until and not len(self._queue):
            self._queue.serve(client)
            begin(True)
            return
        if self._begun < self._most_in_round and not len(self._queue):
            self._queue.serve(client)
            self._count(client)
            begin(True)
        elif self.wait(client) > LATE:
            begin(False)
        else:
            if not len(self._queue):
                self._paced_until = perf_counter()
            self._queue.push(client, (now + self._patience, begin))
        self._schedule_round()

    def wait(self, client: str) -> float:
        """Seconds that a new request of the client would wait before it begins, at the pace of the latest requests. A
        flood of one client lengthens its own wait, and no other's."""
        return self._queue.ahead(client) * self._pace if len(self._queue) else 0.0

    async def entered(self, client: str) -> None:
        """Return when it is the client's turn to begin. Raises RateLimited for a request that is refused, see enter."""
        turn: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        def begin(in_time: bool) -> None:
            if not turn.done():
                turn.set_result(in_time)

        self.enter(client, begin)
        if not await turn:
            raise self.refusal(client)

    async def resumed(self, client: str) -> None:
        """Return when it is the client's turn to go on. One transaction, or one read, answers hundreds of waiting
        requests in the same moment. Without turns, nothing else would run until each of them had sent its response."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._shared_until and not len(self._resuming):
            return
        if self._begun < self._most_in_round and not len(self._resuming):
            self._count(client)
            self._schedule_round()
            return
        turn: asyncio.Future[None] = loop.create_future()
        self._resuming.push(client, turn)
        self._schedule_round()
        await turn

    def refusal(self, client: str) -> RateLimited:
        """The error for a request that waits too long: Overloaded when a new client would wait too. Its time to come
        back is when the requests that wait now have begun, and up to half of that more, so that not all clients come
        back in the same moment."""
        retry_after = max(MIN_PAUSE, self.wait(client)) * random.uniform(1, 1.5)  # noqa: S311
        if self._queue.clients * self._pace > LATE_FOR_READS:
            return Overloaded("this server has more requests than it can answer in time; try again later", retry_after)
        return RateLimited("too many requests wait, and your share of them is used; try again later", retry_after)

    def charge(self, client: str, seconds: float) -> None:
        """Charge a client with processor time that its requests have used, in seconds."""
        self._sample_seconds += seconds
        self._usage.charge(client, seconds)

    async def metered(self, client: str, running: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine, and charge the client with the seconds that its steps take. Returns what the coroutine
        returns. A task that it starts, such as a field of a query, must be metered by itself. A metered coroutine that
        awaits another one is charged once."""
        if self._charged is not None:  # a metered coroutine awaits this one in the same task, and is charged for it
            return await running
        return await self._stepwise(client, running)

    async def metered_apart(self, client: str, running: Coroutine[Any, Any, R]) -> R:
        """The same, but the client is charged instead of the client of a metered coroutine that awaits this one."""
        if self._charged == client:
            return await running
        return await self._stepwise(client, running)

    @coroutine
    def _stepwise(self, client: str, running: Coroutine[Any, Any, R]) -> Generator[Any, Any, R]:
        thrown: BaseException | None = None
        used = 0.0
        try:
            while True:
                around = self._charged, self._charged_within
                self._charged, self._charged_within = client, 0.0
                begun = perf_counter()
                try:
                    awaited = running.send(None) if thrown is None else running.throw(thrown)
                except StopIteration as end:
                    result: R = end.value
                    return result
                finally:
                    seconds = perf_counter() - begun
                    used += seconds - self._charged_within
                    self._charged, self._charged_within = around[0], around[1] + seconds
                    thrown = None  # its traceback and this frame would refer to each other
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
    def _most_in_round(self) -> int:
        """Requests that take ROUND_LENGTH together, by the mean time of the latest requests."""
        return max(1, min(ROUND, round(ROUND_LENGTH * self._sample_size / self._sample_seconds)))

    @property
    def _pace(self) -> float:
        """Seconds from one request that begins to the next, while requests wait."""
        return self._pace_seconds / self._pace_size

    def _count(self, client: str) -> None:
        self._begun += 1
        self._usage.charge(client, FIRST_CHARGE)
        self._sample_size += 1
        if self._sample_size > 2 * SAMPLE:
            self._sample_size /= 2
            self._sample_seconds /= 2

    def _count_pace(self, beginning: int) -> None:
        """Count requests that begin after they have waited."""
        now = perf_counter()
        self._pace_seconds += now - self._paced_until
        self._paced_until = now
        self._pace_size += beginning
        if self._pace_seconds > 2 * PACE_TIME:
            self._pace_size /= 2
            self._pace_seconds /= 2

    def _schedule_round(self) -> None:
        if self._next_round is None:
            self._next_round = asyncio.get_running_loop().call_soon(self._begin_round)

    def _begin_round(self) -> None:
        self._next_round = None
        self._begun = 0
        try:
            self._begin_some(self._most_in_round)
        finally:
            if self._begun or self._expired:
                self._schedule_round()

    def _begin_some(self, most: int) -> None:
        now = asyncio.get_running_loop().time()
        while len(self._resuming) and self._begun < most:
            client, turn = self._resuming.pop()
            self._count(client)
            if not turn.done():  # done when its caller was cancelled
                turn.set_result(None)
        beginning = min(len(self._queue), max(1, most - self._begun))
        if beginning:
            self._count_pace(beginning)
        for _ in range(beginning):
            client, (deadline, begin) = self._queue.pop()
            self._count(client)
            begin(now <= deadline)
        if now >= self._next_expiry:
            self._next_expiry = now + EXPIRY_INTERVAL
            self._expired.extend(self._queue.drop_heads(lambda request: request[0] < now))
        if self._expired:  # one in each round, since refusing a thousand of them takes time as well
            _, begin = self._expired.popleft()
            begin(False)
