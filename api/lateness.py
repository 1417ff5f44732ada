"""How late the event loop is: how long after its due time a timer fires, because of other work."""

import asyncio
from collections import deque

from api.drops.histogram import SECONDS, Histogram

INTERVAL = 0.1
"""Seconds between two samples. Those of a second take less than 1 ms of processor time together."""

WINDOW = 20
"""Samples of which `worst_ms` is the largest: those of the last 2 seconds."""

MOST_MISSED = 100
"""Samples that follow at once when they were due while the loop was blocked, or the process was stopped."""


class LoopLateness:
    """Samples the lateness of the running event loop, from `start` to `close`.

    A loop that is blocked for a second misses the samples of that second. They follow afterwards, each with its own
    lateness, so that the histogram shows a share of time, and not of samples.
    """

    def __init__(self) -> None:
        self.seconds = Histogram(SECONDS)
        """The samples since the start. Timers fire up to 1 ms late in any case."""
        self._latest: deque[float] = deque(maxlen=WINDOW)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="lateness")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def worst_ms(self) -> float:
        """The largest of the last WINDOW samples, in milliseconds; 0 before the first."""
        return max(self._latest, default=0.0) * 1000

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + INTERVAL
        while True:
            await asyncio.sleep(due - loop.time())
            late = max(0.0, loop.time() - due)
            self.seconds.add(late)
            self._latest.append(late)
            due = max(due + INTERVAL, loop.time() - MOST_MISSED * INTERVAL)
