"""A queue that is fair between clients."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT = 10_000
"""Clients whose use is remembered, before those are forgotten that have used least."""


class Usage:
    """What clients have used of something, such as seconds of the processor, by a virtual time."""

    def __init__(self, most_owed: float = inf) -> None:
        """`most_owed`: how far a client's time is ahead of that of the one served last, at most."""
        self._most_owed = most_owed
        self._used: dict[str, float] = {}
        self._now = 0.0

    def of(self, client: str) -> float:
        """The client's time. One that has used nothing for a while starts from the time of the one served last, so that
        nobody saves anything up."""
        used = self._used.get(client, 0.0)
        return used if used > self._now else self._now

    def charge(self, client: str, amount: float) -> None:
        """Move the client's time on."""
        self._used[client] = min(self.of(client) + amount, self._now + self._most_owed)
        if len(self._used) > KEPT:
            self._forget_some()

    def serve(self, time: float) -> None:
        """Note the time of a client that is served."""
        if time > self._now:
            self._now = time

    def _forget_some(self) -> None:
        """Forget the clients that have used least: half of all, or about that."""
        near = max(self._now, sum(self._used.values()) / len(self._used))
        ahead = {client: used for client, used in self._used.items() if used > near}
        self._used = ahead if len(ahead) < KEPT / 2 else {}


@dataclass(slots=True)
class _Backlog(Generic[T]):
    """What waits of one client, and the number of its entry in the order."""

    items: deque[T] = field(default_factory=deque)
    begun: deque[T] = field(default_factory=deque)
    """Those that come before the others."""
    entry: int = 0

    @property
    def next(self) -> deque[T]:
        """Where the next item is; empty when there is none."""
        return self.begun or self.items


class FairQueue(Generic[T]):
    """Items that wait, by client. The client that has used least is served first, and its items in their order.

    This is start-time fair queueing (Goyal, Vin and Cheng, 1996).
    """

    def __init__(self, usage: Usage | None = None) -> None:
        """`usage` is shared with other queues whose clients' use counts here too; the queue has its own without."""
        self._usage = Usage() if usage is None else usage
        self._backlogs: dict[str, _Backlog[T]] = {}
        self._order: list[tuple[float, int, str]] = []
        """A heap with an entry for each client that waits: its time when it was put here, which can be earlier than its
        time by now."""
        self._last = self._first = 0
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def clients(self) -> int:
        """Clients with at least one item that waits."""
        return len(self._backlogs)

    def push(self, client: str, item: T, *, begun: bool = False) -> None:
        """Add an item behind all others of its client; or one that has `begun` before those that have not."""
        backlog = self._backlog(client)
        (backlog.begun if begun else backlog.items).append(item)
        self._length += 1

    def put_back(self, client: str, item: T, amount: float) -> None:
        """Add an item that was taken out before all others of its client, and give back what it was charged. Of several
        items, the one taken last is put back first: then they come out in the same order again."""
        self._usage.charge(client, -amount)
        backlog = self._backlogs.setdefault(client, _Backlog())
        backlog.items.appendleft(item)
        self._length += 1
        self._first -= 1  # before its equals, and at the time without the charge
        self._enter(client, backlog, self._first)

    def pop(self, amount: float = 0.0) -> tuple[str, T]:
        """Take the next item out, and charge its client. Raises IndexError when nothing waits."""
        alone = len(self._backlogs) == 1
        if alone:
            [(client, backlog)] = self._backlogs.items()
            self._usage.serve(self._usage.of(client))
        else:
            client, backlog = self._next()
        item = backlog.next.popleft()
        self._length -= 1
        if amount:
            self._usage.charge(client, amount)
        if not backlog.next:
            del self._backlogs[client]
            if alone:
                self._order.clear()
        elif not alone:
            self._enter_last(client, backlog)
        return client, item

    def charge(self, client: str, amount: float) -> None:
        """Count what a client has used, whether or not it waits."""
        self._usage.charge(client, amount)

    def serve(self, client: str) -> None:
        """Note a client that is served without an item. While nobody waits the time moves on with it, as it does with
        every item that is taken out: what it has used before is nobody's loss, and must not keep it behind all who come
        later."""
        if not self._length:
            self._usage.serve(self._usage.of(client))

    def heads(self) -> Iterator[T]:
        """The next item of each client."""
        return (backlog.next[0] for backlog in self._backlogs.values())

    def drop_heads(self, over: Callable[[T], bool]) -> list[T]:
        """Take those items out that are over, of each client up to the first that is not."""
        dropped: list[T] = []
        for client, backlog in list(self._backlogs.items()):
            while backlog.next and over(backlog.next[0]):
                dropped.append(backlog.next.popleft())
            if not backlog.next:
                del self._backlogs[client]
        self._length -= len(dropped)
        return dropped

    def _next(self) -> tuple[str, _Backlog[T]]:
        while True:
            time, entry, client = heapq.heappop(self._order)
            backlog = self._backlogs.get(client)
            if backlog is None or backlog.entry != entry:
                continue  # its items were dropped
            if self._usage.of(client) <= time or not self._order:
                self._usage.serve(time)
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
        heapq.heappush(self._order, (self._usage.of(client), backlog.entry, client))
