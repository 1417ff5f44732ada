"""Turns: how work that takes long shares the event loop with everything else, purchases first of all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter, thread_time

from api.identity.errors import RateLimited
from api.identity.fair_queue import FairQueue

LENGTH = 0.001
"""Seconds of a turn. Everything else that becomes ready during a turn is late by as much."""

IDLE = 0.00005
"""Seconds. A round of the event loop that takes no longer than this had nothing else to do."""

IDLE_ROUNDS = 5
"""As many in a row that had nothing to do mean that nobody waits: one alone is found between any two purchases."""

PATIENCE = 10.0
"""Seconds that a client waits for a turn at most."""


class Turns:
    """Gives the event loop to one piece of work at a time, for a moment, and then to all others until they had their
    share of the processor's time, or have nothing to do. Among those who wait, the client comes first that has had
    least.

    The share of the work is `share` of the processor's time for each client that waits, and `most` at most. Where the
    others leave the processor idle, the work has all of it.
    """

    def __init__(self, share: float, most: float, patience: float | None = PATIENCE) -> None:
        """`patience` in seconds, after which a client that waits is refused; None for never."""
        self._share = share
        self._most = most
        self._patience = patience
        self._queue: FairQueue[Callable[[], None]] = FairQueue()
        self._taken = False
        self._owed = 0.0
        """Seconds of the processor's time that are the others' before the next turn. Below zero they had more."""
        self._since = thread_time()
        self._idle_rounds = 0
        self._looking: asyncio.Handle | None = None

    @asynccontextmanager
    async def turn(self, client: str = "", *, begun: bool = False) -> AsyncIterator[float]:
        """Wait for a turn; its end as `perf_counter` will show it, at which the block is to be left. Raises
        RateLimited when none came in time. Work that has `begun` comes before other work of its client, so that a
        client has little unfinished work in memory."""
        await self._wait(client, begun)
        # Time on the processor: what the system gives to other processes meanwhile is nobody's share here.
        start = thread_time()
        try:
            yield perf_counter() + LENGTH
        finally:
            used = thread_time() - start
            self._queue.charge(client, used)
            self._pass_on(used)

    def later(self, client: str, used: float, resume: Callable[[], None]) -> Callable[[], None]:
        """Call `resume` once the client has a turn to pay for `used` seconds that it has had already. Returns what
        withdraws it."""
        wanted: Callable[[], None] | None = resume

        def granted() -> None:
            owing = used if wanted is not None else 0.0
            try:
                if wanted is not None:
                    wanted()
            finally:  # else one that fails would keep the turn, and nobody had another
                self._pass_on(owing)

        def withdraw() -> None:
            nonlocal wanted
            wanted = None  # all that it refers to need not wait

        self._queue.charge(client, used)
        self._push(client, granted, begun=False)
        return withdraw

    async def pay(self, client: str, used: float) -> None:
        """Wait for a turn to pay for `used` seconds that the client has had already. Raises RateLimited when none came
        in time."""
        self._queue.charge(client, used)
        await self._wait(client, begun=True)
        self._pass_on(used)

    async def _wait(self, client: str, begun: bool) -> None:
        if not self._taken and not len(self._queue) and self._owes_nothing():
            self._taken = True
            self._queue.serve(client)
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def grant() -> None:
            if granted.done():
                self._pass_on(0.0)
            else:
                granted.set_result(None)

        self._push(client, grant, begun)
        try:
            async with asyncio.timeout(self._patience):
                await granted
        except TimeoutError:
            self._withdraw(granted)
            message = "this server has more to do than it can, and your share of it is used; try again in a moment"
            raise RateLimited(message, PATIENCE) from None
        except asyncio.CancelledError:
            self._withdraw(granted)
            raise

    def _withdraw(self, granted: "asyncio.Future[None]") -> None:
        if granted.done() and not granted.cancelled():
            self._pass_on(0.0)  # the turn came at the moment when nobody wanted it any more

    def _push(self, client: str, grant: Callable[[], None], begun: bool) -> None:
        self._queue.push(client, grant, begun=begun)
        self._look_again()

    def _pass_on(self, used: float) -> None:
        """End a turn that has used so many seconds."""
        share = min(self._most, self._share * max(1, self._queue.clients))
        self._owed = max(self._owed, 0.0) + used * (1 - share) / share
        self._since = thread_time()
        self._idle_rounds = 0
        self._taken = False
        self._look_again()

    def _look_again(self) -> None:
        if self._looking is None and not self._taken and len(self._queue):
            self._looking = asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        """Once in each round of the event loop while somebody waits: grant the next turn, if it is time for it."""
        self._looking = None
        if self._taken or not len(self._queue):
            return
        self._idle_rounds = self._idle_rounds + 1 if thread_time() - self._since < IDLE else 0
        if self._idle_rounds >= IDLE_ROUNDS:
            self._owed = 0.0
        if self._owes_nothing():
            self._taken = True
            _, grant = self._queue.pop()
            grant()
        self._look_again()

    def _owes_nothing(self) -> bool:
        """Whether the others have had their share since the last turn."""
        now = thread_time()
        self._owed -= now - self._since
        self._since = now
        return self._owed <= 0
