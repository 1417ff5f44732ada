"""A queue that is fair between clients."""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Generic, TypeVar

T = TypeVar("T")

MAX_REMEMBERED = 10_000
"""Clients whose usage is remembered. Past this number, the clients that have used least are forgotten."""


class Usage:
    """What each client has used, such as seconds of processor time, as a virtual time: it starts at the time of the
    client served last, and advances by what the client uses."""

    def __init__(self, most_owed: float = inf) -> None:
        """`most_owed`: how far a client's time can be ahead of the time of the client served last."""
        self._most_owed = most_owed
        self._used: dict[str, float] = {}
        self._now = 0.0

    def of(self, client: str) -> float:
        """The client's time. A client that has used nothing for a while starts at the time of the client served last:
        it cannot save its share up."""
        used = self._used.get(client, 0.0)
        return used if used > self._now else self._now

    def charged(self, client: str) -> float:
        """The client's time when it was charged last. A client that waits is compared by this time: while it waits, the
        time of the client served last passes it by."""
        return self._used.get(client, 0.0)

    def charge(self, client: str, amount: float) -> None:
        """Advance the client's time by `amount`."""
        self._used[client] = min(self.of(client) + amount, self._now + self._most_owed)
        if len(self._used) > MAX_REMEMBERED:
            self._forget_some()

    def serve(self, time: float) -> None:
        """Record the time of the client that is served now."""
        if time > self._now:
            self._now = time

    def _forget_some(self) -> None:
        """Forget about half of the clients: those that have used least."""
        near = max(self._now, sum(self._used.values()) / len(self._used))
        ahead = {client: used for client, used in self._used.items() if used > near}
        self._used = ahead if len(ahead) < MAX_REMEMBERED / 2 else {}


@dataclass(slots=True)
class _Backlog(Generic[T]):
    """The waiting items of one client. `entry` is the number of the client's valid entry in the heap."""

    items: deque[T] = field(default_factory=deque)
    begun: deque[T] = field(default_factory=deque)
    """Items of work that has begun. They come before `items`."""
    entry: int = 0

    @property
    def next(self) -> deque[T]:
        """The deque that the next item comes from. It is empty when no item waits."""
        return self.begun or self.items

    def __len__(self) -> int:
        return len(self.items) + len(self.begun)


class FairQueue(Generic[T]):
    """Items that wait, by client. The client that has used least is served first. The items of one client keep their
    order.

    This is start-time fair queueing (Goyal, Vin and Cheng, 1996).
    """

    def __init__(self, usage: Usage | None = None) -> None:
        """`usage` can be shared with other queues: a client's usage there then counts here too. By default the queue
        has its own."""
        self._usage = Usage() if usage is None else usage
        self._backlogs: dict[str, _Backlog[T]] = {}
        self._order: list[tuple[float, int, str]] = []
        """A heap with an entry for each waiting client: its time, a number, and its name. A client that was charged
        since it entered has a later time by now."""
        self._last_entry = self._first_entry = 0
        self._length = 0
        self._with_several = 0
        """Waiting clients with at least two items."""

    def __len__(self) -> int:
        return self._length

    @property
    def clients(self) -> int:
        """The number of clients with at least one waiting item."""
        return len(self._backlogs)

    def ahead(self, client: str) -> int:
        """Items that are served before a new item of the client, at most, if each item takes the same: one of every
        waiting client; and, for each item that the client has already, one of every client with several."""
        own = len(self._backlogs.get(client, ()))
        return min(self._length, len(self._backlogs) + own * self._with_several)

    def push(self, client: str, item: T, *, begun: bool = False) -> None:
        """Add an item behind all others of its client. An item that has `begun` comes before those that have not."""
        backlog = self._backlog(client)
        (backlog.begun if begun else backlog.items).append(item)
        self._length += 1
        self._with_several += len(backlog) == 2

    def put_back(self, client: str, item: T, amount: float) -> None:
        """Return a popped item to the front of its client's items, and refund `amount`, the charge of its `pop`. To
        return several items, put the last popped item back first: then they come out in the same order again."""
        self._usage.charge(client, -amount)
        backlog = self._backlogs.setdefault(client, _Backlog())
        backlog.items.appendleft(item)
        self._length += 1
        self._with_several += len(backlog) == 2
        self._first_entry -= 1  # before clients with the same time
        self._enter(client, backlog, self._first_entry)

    def pop(self, amount: float = 0.0) -> tuple[str, T]:
        """Remove the next item, and charge its client. Returns the client and the item. Raises IndexError when no item
        waits."""
        alone = len(self._backlogs) == 1
        if alone:
            [(client, backlog)] = self._backlogs.items()
            self._usage.serve(self._usage.of(client))
        else:
            client, backlog = self._pop_client()
        item = backlog.next.popleft()
        self._length -= 1
        self._with_several -= len(backlog) == 1
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
        """Charge a client with what it has used, whether or not it has waiting items."""
        self._usage.charge(client, amount)

    def used(self, client: str) -> float:
        """What the client has used; see Usage.of."""
        return self._usage.of(client)

    def serve(self, client: str) -> None:
        """Record that a client is served without an item. While no item waits, the virtual time advances to the
        client's time, as with every popped item. What the client used while nobody waited took nothing from other
        clients, and must not keep it behind those who come later."""
        if not self._length:
            self._usage.serve(self._usage.of(client))

    def heads(self) -> Iterator[T]:
        """The next item of each waiting client."""
        return (backlog.next[0] for backlog in self._backlogs.values())

    def drop_heads(self, expired: Callable[[T], bool]) -> list[T]:
        """Remove and return the expired items: those of each client up to its first item that is not expired."""
        dropped: list[T] = []
        for client, backlog in list(self._backlogs.items()):
            had_several = len(backlog) > 1
            while backlog.next and expired(backlog.next[0]):
                dropped.append(backlog.next.popleft())
            if not backlog.next:
                del self._backlogs[client]
            self._with_several -= had_several and len(backlog) < 2
        self._length -= len(dropped)
        return dropped

    def _pop_client(self) -> tuple[str, _Backlog[T]]:
        """The client to be served next. Its entry is removed from the heap. Raises IndexError when no item waits."""
        while True:
            time, entry, client = heapq.heappop(self._order)
            backlog = self._backlogs.get(client)
            if backlog is None or backlog.entry != entry:
                continue  # stale: its items were dropped, or the client has a newer entry
            if self._usage.charged(client) <= time or not self._order:
                self._usage.serve(time)
                return client, backlog
            self._enter_last(client, backlog)  # it was charged while it waited, so others may come first

    def _backlog(self, client: str) -> _Backlog[T]:
        backlog = self._backlogs.get(client)
        if backlog is None:
            backlog = self._backlogs[client] = _Backlog()
            self._enter_last(client, backlog)
        return backlog

    def _enter_last(self, client: str, backlog: _Backlog[T]) -> None:
        self._last_entry += 1  # of clients with the same time, the first to come is served first
        self._enter(client, backlog, self._last_entry)

    def _enter(self, client: str, backlog: _Backlog[T], entry: int) -> None:
        backlog.entry = entry
        heapq.heappush(self._order, (self._usage.of(client), backlog.entry, client))
