"""Turns: how delivering to thousands of watchers shares the event loop with everything else, purchases first of all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter, thread_time

SHORTEST = 0.001
"""Seconds of a turn at least, for some 60 messages. Whatever else becomes ready meanwhile is late by as much."""

SHARE = 0.1
"""Of the process's time, for deliveries while others fill the rest: purchases are to keep 80 % of their speed, of which
sending takes as much again from whoever shares the machine."""


class Turns:
    """Gives the event loop to one delivery at a time, for a moment, and between two of them once to all others.

    Where nothing else runs, turns follow each other without a pause. Where the loop is full, each round of the others
    takes longer than a turn, and turns grow with it until they have their share of the time.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()  # first come, first served
        self._length = SHORTEST

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn; its end as `perf_counter` will show it, at which the block is to be left."""
        async with self._lock:
            yield perf_counter() + self._length
            # Their time on the processor: what the system gave to other processes meanwhile is nobody's share.
            left = thread_time()
            await asyncio.sleep(0)
            others = thread_time() - left
            self._length = max(SHORTEST, others * SHARE / (1 - SHARE))
