"""Allowances: what a client may do a few times at once, and then once in an interval."""

import time
from collections.abc import Callable

MAX_REMEMBERED = 10_000
"""Clients whose uses are remembered, about 1.5 MB. The client whose latest use is oldest is forgotten first."""


class Allowance:
    """Each client has `free` uses. A spent one returns every `interval` seconds."""

    def __init__(self, free: int, interval: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`interval` in seconds, as `clock` returns them."""
        self._free = free
        self._interval = interval
        self._clock = clock
        self._spent_until: dict[str, float] = {}
        """When each client has all its free uses again. Clients are in the order of their latest uses."""

    def __len__(self) -> int:
        """The number of clients that are remembered."""
        return len(self._spent_until)

    def wait(self, client: str) -> float:
        """Seconds until the client's next use; 0 when it has one now."""
        until = self._spent_until.get(client)
        if until is None:
            return 0.0
        return max(0.0, until - self._clock() - (self._free - 1) * self._interval)

    def use(self, client: str) -> None:
        """Count one use."""
        now = self._clock()
        self._spent_until[client] = max(self._spent_until.pop(client, now), now) + self._interval
        if len(self._spent_until) > MAX_REMEMBERED:
            del self._spent_until[next(iter(self._spent_until))]
