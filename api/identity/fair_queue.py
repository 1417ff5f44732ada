"""A queue that is fair between clients."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T")

MOST_OWED = 0.05
"""Seconds of the processor that a client owes at most to the clients that wait: two or three of the dearest operations.
Beside fifty others it then waits two and a half seconds, and not for all that it used before a drop opened."""

KEPT = 1_000
"""Clients beside those that wait whose use is remembered, before those are forgotten that have used least."""


@dataclass(slots=True)
class _Backlog(Generic[T]):
    """What waits of one client, and the number of its entry in the order."""

    items: deque[T] = field(default_factory=deque)
    entry: int = 0


class FairQueue(Generic[T]):
    """Items that wait, by client. The client that has used least is served first, and its items in their order.

    This is start-time fair queueing (Goyal, Vin and Cheng, 1996): what a client uses moves its own virtual time, and a
    client that did not wait for a while starts from the time of the one served last, so that nobody saves anything up.

    Nor does a client owe for ever what it used while nobody waited: never more than `most_owed`.
    """

    def __init__(self, most_owed: float = inf) -> None:
        self._most_owed = most_owed
        self._backlogs: dict[str, _Backlog[T]] = {}
        self._order: list[tuple[float, int, str]] = []
        """A heap with an entry for each client that waits: its virtual time when it was put here, which can be less
        than it has used by now."""
        self._used: dict[str, float] = {}
        self._now = 0.0
        self._last = self._first = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def clients(self) -> int:
        """Clients with at least one item that waits."""
        return len(self._backlogs)

    def push(self, client: str, item: T) -> None:
        """Add an item behind all others of its client."""
        self._backlog(client).items.append(item)
        self._length += 1

    def put_back(self, client: str, item: T, amount: float) -> None:
        """Add an item that was taken out before all others of its client, and give back what it was charged. Of several
        items, the one taken last is put back first: then they come out in the same order again."""
        self.charge(client, -amount)
        backlog = self._backlogs.setdefault(client, _Backlog())
        backlog.items.appendleft(item)
        self._length += 1
        self._first -= 1  # before its equals, and at the time without the charge
        self._enter(client, backlog, self._first)

    def pop(self, amount: float) -> tuple[str, T]:
        """Take the next item out, and charge its client. Raises IndexError when nothing waits."""
        client, backlog = self._next()
        item = backlog.items.popleft()
        self._length -= 1
        self.charge(client, amount)
        if backlog.items:
            self._enter_last(client, backlog)
        else:
            del self._backlogs[client]
        return client, item

    def charge(self, client: str, amount: float) -> None:
        """Count what a client has used, whether or not it waits."""
        used = max(self._used.get(client, 0.0), self._now) + amount
        self._used[client] = min(used, self._now + self._most_owed)
        if len(self._used) > KEPT + 2 * len(self._backlogs):
            self._forget_some()

    def heads(self) -> Iterator[T]:
        """The next item of each client."""
        return (backlog.items[0] for backlog in self._backlogs.values())

    def drop_heads(self, over: Callable[[T], bool]) -> list[T]:
        """Take those items out that are over, of each client up to the first that is not."""
        dropped: list[T] = []
        for client, backlog in list(self._backlogs.items()):
            while backlog.items and over(backlog.items[0]):
                dropped.append(backlog.items.popleft())
            if not backlog.items:
                del self._backlogs[client]
        self._length -= len(dropped)
        return dropped

    def _forget_some(self) -> None:
        """Forget what clients have used that are at the present time already, or not far from it."""
        near = max(self._now, sum(self._used.values()) / len(self._used))
        self._used = {client: used for client, used in self._used.items() if used > near}

    def _next(self) -> tuple[str, _Backlog[T]]:
        while True:
            time, entry, client = heapq.heappop(self._order)
            backlog = self._backlogs.get(client)
            if backlog is None or backlog.entry != entry:
                continue  # its items were dropped
            if self._used.get(client, 0.0) <= time:
                self._now = max(self._now, time)
                return client, backlog
            self._enter_last(client, backlog)  # it was charged while it waited

    def _backlog(self, client: str) -> _Backlog[T]:
        backlog = self._backlogs.get(client)
        if backlog is None:
            backlog = self._backlogs[client] = _Backlog()
            self._enter_last(client, backlog)
        return backlog

    def _enter_last(self, client: str, backlog: _Backlog[T]) -> None:
        self._last += 1  # among equals, the client that came first is served first
        self._enter(client, backlog, self._last)

    def _enter(self, client: str, backlog: _Backlog[T], entry: int) -> None:
        backlog.entry = entry
        heapq.heappush(self._order, (max(self._used.get(client, 0.0), self._now), backlog.entry, client))
