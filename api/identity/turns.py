"""Turns: work that takes long shares the event loop with all other work, above all with purchases."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter, thread_time

from api.identity.errors import RateLimited
from api.identity.fair_queue import FairQueue

LENGTH = 0.001
"""Seconds of a turn. All other work that becomes ready during a turn waits up to this long."""

IDLE = 0.00005
"""Seconds of processor time. A round of the event loop that takes less had no other work to do."""

IDLE_ROUNDS = 5
"""Idle rounds in a row after which no other work waits. A single idle round occurs between any two purchases."""

PATIENCE = 10.0
"""Seconds that a client waits for a turn, at most."""


class Turns:
    """Gives the event loop to one piece of long work for a turn. Then all other work runs, until it has had its share
    of the processor time or is idle. Of the clients that wait for a turn, the client that has used least comes first.

    Long work gets `share` of the processor time for each client that waits, and `most` at most. Where other work leaves
    the processor idle, long work gets all of it.
    """

    def __init__(self, share: float, most: float, patience: float | None = PATIENCE) -> None:
        """`patience` in seconds. A client that has waited longer is refused; None for never."""
        self.patience = patience
        self._share = share
        self._max_share = most
        self._queue: FairQueue[Callable[[], None]] = FairQueue()
        self._taken = False
        self._owed = 0.0
        """Seconds of processor time that other work must get before the next turn. Below zero it has had more."""
        self._measured_at = thread_time()
        """Until when the time of other work is counted in `_owed`, as a time of `thread_time`."""
        self._idle_rounds = 0
        self._next_check: asyncio.Handle | None = None

    @asynccontextmanager
    async def turn(self, client: str = "", *, begun: bool = False) -> AsyncIterator[float]:
        """Wait for a turn. Yields the end of the turn as a time of `perf_counter`: the block must end by then. Raises
        RateLimited when no turn came in time. Work that has `begun` comes before other work of its client, so that a
        client has little unfinished work in memory."""
        await self._wait(client, begun)
        # Processor time of this thread: time that the system gives to other processes is not charged.
        start = thread_time()
        try:
            yield perf_counter() + LENGTH
        finally:
            used = thread_time() - start
            self._queue.charge(client, used)
            self._end_turn(used)

    def later(self, client: str, used: float, resume: Callable[[], None]) -> Callable[[], None]:
        """Call `resume` when the client gets a turn that pays for `used` seconds, which it has used already. Returns a
        function that withdraws the call."""
        wanted: Callable[[], None] | None = resume

        def granted() -> None:
            owing = used if wanted is not None else 0.0
            try:
                if wanted is not None:
                    wanted()
            finally:  # a callback that raises must not keep the turn
                self._end_turn(owing)

        def withdraw() -> None:
            nonlocal wanted
            wanted = None  # frees what the callback refers to

        self._queue.charge(client, used)
        self._push(client, granted, begun=False)
        return withdraw

    async def pay(self, client: str, used: float) -> None:
        """Wait for a turn that pays for `used` seconds, which the client has used already. Raises RateLimited when no
        turn came in time."""
        self._queue.charge(client, used)
        await self._wait(client, begun=True)
        self._end_turn(used)

    def used(self, client: str) -> float:
        """The seconds that the client has used. Of two clients that wait, the one that has used less comes first."""
        return self._queue.used(client)

    def refusal(self) -> RateLimited:
        """The error for a client that got no turn in time."""
        return RateLimited("this server is overloaded, and your share of it is used; try again in a moment", PATIENCE)

    async def _wait(self, client: str, begun: bool) -> None:
        if not self._taken and not len(self._queue) and self._owes_nothing():
            self._taken = True
            self._queue.serve(client)
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> None:
            if granted.done():
                self._end_turn(0.0)
            else:
                granted.set_result(None)

        self._push(client, grant, begun)
        try:
            async with asyncio.timeout(self.patience):
                await granted
        except TimeoutError:
            self._return_turn(granted)
            raise self.refusal() from None
        except asyncio.CancelledError:
            self._return_turn(granted)
            raise

    def _return_turn(self, granted: "asyncio.Future[None]") -> None:
        if granted.done() and not granted.cancelled():
            self._end_turn(0.0)  # the turn was granted just as the caller stopped waiting

    def _push(self, client: str, grant: Callable[[], None], begun: bool) -> None:
        self._queue.push(client, grant, begun=begun)
        self._schedule_check()

    def _end_turn(self, used: float) -> None:
        """End a turn that has used `used` seconds."""
        share = min(self._max_share, self._share * max(1, self._queue.clients))
        self._owed = max(self._owed, 0.0) + used * (1 - share) / share
        self._measured_at = thread_time()
        self._idle_rounds = 0
        self._taken = False
        self._schedule_check()

    def _schedule_check(self) -> None:
        if self._next_check is None and not self._taken and len(self._queue):
            self._next_check = asyncio.get_running_loop().call_soon(self._check)

    def _check(self) -> None:
        """Grant the next turn, if other work has had its share. Runs in each round of the event loop while a client
        waits."""
        self._next_check = None
        if self._taken or not len(self._queue):
            return
        self._idle_rounds = self._idle_rounds + 1 if thread_time() - self._measured_at < IDLE else 0
        if self._idle_rounds >= IDLE_ROUNDS:
            self._owed = 0.0
        if self._owes_nothing():
            self._taken = True
            _, grant = self._queue.pop()
            grant()
        self._schedule_check()

    def _owes_nothing(self) -> bool:
        """Whether other work has had its share since the last turn."""
        now = thread_time()
        self._owed -= now - self._measured_at
        self._measured_at = now
        return self._owed <= 0
