"""A queue that is fair between clients."""

import heapq
from collections import deque
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT = 1_000
"""Clients beside those that wait whose use is remembered, before those are forgotten that have used least."""


class FairQueue(Generic[T]):
    """Items that wait, by client. The client that has used least is served first, and its items in their order.

    This is start-time fair queueing (Goyal, Vin and Cheng, 1996): what a client uses moves its own virtual time, and a
    client that did not wait for a while starts from the time of the one served last, so that nobody saves anything up.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[T]] = {}
        self._order: list[tuple[float, int, str]] = []
        """A heap with one entry for each client that waits: its virtual time when it was put here, which can be less
        than it has used by now."""
        self._used: dict[str, float] = {}
        self._now = 0.0
        self._arrivals = count()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def clients(self) -> int:
        """Clients with at least one item that waits."""
        return len(self._waiting)

    def push(self, client: str, item: T) -> None:
        waiting = self._waiting.get(client)
        if waiting is None:
            waiting = self._waiting[client] = deque()
            self._enter(client)
        waiting.append(item)
        self._length += 1

    def pop(self, amount: float) -> tuple[str, T]:
        """Take the next item out, and charge its client. Raises IndexError when nothing waits."""
        client = self._next_client()
        waiting = self._waiting[client]
        item = waiting.popleft()
        self._length -= 1
        self.charge(client, amount)
        if waiting:
            self._enter(client)
        else:
            del self._waiting[client]
        return client, item

    def charge(self, client: str, amount: float) -> None:
        """Count what a client has used, whether or not it waits."""
        self._used[client] = max(self._used.get(client, 0.0), self._now) + amount
        if len(self._used) > KEPT + 2 * len(self._waiting):
            self._forget_some()

    def _forget_some(self) -> None:
        """Forget what clients have used that are at the present time already, or not far from it."""
        near = max(self._now, sum(self._used.values()) / len(self._used))
        self._used = {client: used for client, used in self._used.items() if used > near}

    def _next_client(self) -> str:
        while True:
            time, _, client = heapq.heappop(self._order)
            if self._used.get(client, 0.0) <= time:
                self._now = max(self._now, time)
                return client
            self._enter(client)  # it was charged while it waited

    def _enter(self, client: str) -> None:
        time = max(self._used.get(client, 0.0), self._now)
        heapq.heappush(self._order, (time, next(self._arrivals), client))
