"""Quotas: places that all clients share. When none is free, the client that holds most gives way."""

import heapq
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class QuotaSpent(Exception):
    """No place is free, and no other client holds so many more that it would have to give way."""


@dataclass(slots=True, eq=False)
class Hold:
    """Places that a client holds. `held` is False once they were given back, or taken for another client."""

    client: str
    places: int
    give_way: Callable[[], None]
    held: bool = True


class Quota:
    """So many places, and who holds how many. A client that is alone can hold all of them."""

    def __init__(self, size: float) -> None:
        self.size = size
        self.taken = 0
        self._places: Counter[str] = Counter()
        self._holds: dict[str, dict[Hold, None]] = {}
        """What each client holds, in the order in which it was taken."""
        self._largest: list[tuple[int, str]] = []
        """A heap of what clients held, negative, at some moment; at least what each holds now is in it."""

    def take(self, client: str, places: int, give_way: Callable[[], None]) -> Hold:
        """Hold places until `give_back`. `give_way` is called, at most once, when they are given up for a client that
        holds less; it must neither wait nor raise. Raises QuotaSpent."""
        while self.size - self.taken < places:
            newest = self._newest_of_largest()
            if newest is None or self._places[newest.client] - newest.places < self._places[client] + places:
                raise QuotaSpent
            self.give_back(newest)
            newest.give_way()
        hold = Hold(client, places, give_way)
        self.taken += places
        self._holds.setdefault(client, {})[hold] = None
        self._places[client] += places
        heapq.heappush(self._largest, (-self._places[client], client))
        if len(self._largest) > 1_000 + 2 * len(self._holds):
            self._largest = [(-held, client) for client, held in self._places.items()]
            heapq.heapify(self._largest)
        return hold

    def give_back(self, hold: Hold) -> None:
        """End a hold. Without effect when it has ended."""
        if not hold.held:
            return
        hold.held = False
        self.taken -= hold.places
        self._places[hold.client] -= hold.places
        holds = self._holds[hold.client]
        del holds[hold]
        if not holds:
            del self._holds[hold.client], self._places[hold.client]

    @contextmanager
    def held(self, client: str, places: int, give_way: Callable[[], None]) -> Iterator[Hold]:
        """Hold places for the time of the block. Raises QuotaSpent."""
        hold = self.take(client, places, give_way)
        try:
            yield hold
        finally:
            self.give_back(hold)

    def _newest_of_largest(self) -> Hold | None:
        while self._largest:
            held, client = self._largest[0]
            now = self._places.get(client, 0)
            if now == -held and now:
                return next(reversed(self._holds[client]))
            if now:
                heapq.heapreplace(self._largest, (-now, client))
            else:
                heapq.heappop(self._largest)
        return None
