"""Clocks that a test sets, for waits that are longer than a test may take."""

import asyncio
from collections.abc import Callable


class _Clock:
    """A clock that is ahead of another one."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.ahead = 0.0

    def __call__(self) -> float:
        return self._now() + self.ahead


def pass_time(seconds: float) -> None:
    """Set the running event loop's clock forward, for good: every timer of the loop that is due by then fires next.

    The timers of connections fire too, so every open connection of the test needs a deadline that is later.
    """
    loop = asyncio.get_running_loop()
    clock = loop.time if isinstance(loop.time, _Clock) else _Clock(loop.time)
    clock.ahead += seconds
    loop.time = clock  # type: ignore[method-assign]


class SetClock:
    """A clock that shows what the test sets, in seconds."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now
