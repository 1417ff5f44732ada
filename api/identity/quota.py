"""Quotas: places that all clients share. When none is free, the client that holds most gives way."""

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

    def take(self, client: str, places: int, give_way: Callable[[], None]) -> Hold:
        """Hold places until `give_back`. `give_way` is called, at most once, when they are given up for a client that
        holds less; it must neither wait nor raise. Raises QuotaSpent."""
        for newest in self._giving_way(client, places):
            self.give_back(newest)
            newest.give_way()
        hold = Hold(client, places, give_way)
        self.taken += places
        self._holds.setdefault(client, {})[hold] = None
        self._places[client] += places
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

    def _giving_way(self, client: str, places: int) -> list[Hold]:
        """The holds that have to end before the client can take so many places, the newest of the client with most of
        them. Raises QuotaSpent when they would not do, or would leave that client with less."""
        missing = places - (self.size - self.taken)
        if missing <= 0:
            return []
        largest = max(self._places, key=self._places.__getitem__, default=client)
        left = self._places[largest]
        ending: list[Hold] = []
        for hold in reversed(self._holds.get(largest, {})):
            if missing <= 0:
                break
            missing -= hold.places
            left -= hold.places
            ending.append(hold)
        if missing > 0 or left < self._places[client] + places:
            raise QuotaSpent
        return ending
