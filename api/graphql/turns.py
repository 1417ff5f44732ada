"""Turns: how telling thousands of watchers shares the event loop with everything else, purchases first of all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter, thread_time

LENGTH = 0.001
"""Seconds of a turn, for some 60 messages. Whatever else becomes ready meanwhile is late by as much."""

SHARE = 0.05
"""Of the processor's time, while others could use all of it: purchases are to keep 80 % of their speed, and those whom
the messages go to need time as well."""

OTHERS = (1 - SHARE) / SHARE
"""Seconds of the others for each second of deliveries."""

IDLE = 0.00005
"""Seconds. A round of the event loop that takes no longer than this had nothing else to do."""

IDLE_ROUNDS = 5
"""As many in a row that had nothing to do mean that nobody waits: one alone is found between any two purchases."""


class Turns:
    """Gives the event loop to one delivery at a time, for a moment, and then to all others until they had their share,
    or have nothing to do."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()  # first come, first served
        self._owed = 0.0
        """Seconds of the others' share. Below zero they had more: the turns that follow need not wait."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn; its end as `perf_counter` will show it, at which the block is to be left."""
        async with self._lock:
            # Time on the processor: what the system gives to other processes meanwhile is nobody's share here.
            begun = thread_time()
            yield perf_counter() + LENGTH
            now = thread_time()
            self._owed += (now - begun) * OTHERS
            idle_rounds = 0
            while self._owed > 0 and idle_rounds < IDLE_ROUNDS:
                before = now
                await asyncio.sleep(0)
                now = thread_time()
                idle_rounds = idle_rounds + 1 if now - before < IDLE else 0
                self._owed = max(self._owed - (now - before), -LENGTH * OTHERS)
            self._owed = min(self._owed, 0.0)
