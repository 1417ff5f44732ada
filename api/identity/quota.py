"""Quotas: a bound that all clients share. When it is reached, the client with most units gives way."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass


class QuotaSpent(Exception):
    """The quota is used up, and no other client has so many more units that it would have to give way."""


@dataclass(slots=True, eq=False)
class Claim:
    """Units of a quota that a client has. `valid` is False once they are given back, or taken for another client."""

    client: str
    units: int
    give_way: Callable[[], None]
    valid: bool = True


class Quota:
    """`size` units, shared by all clients. A client that is alone can have all of them."""

    def __init__(self, size: float) -> None:
        self.size = size
        self.taken = 0
        self._taken: Counter[str] = Counter()
        self._claims: dict[str, dict[Claim, None]] = {}
        """The claims of each client, oldest first."""

    def take(self, client: str, units: int, give_way: Callable[[], None]) -> Claim:
        """Claim units until `give_back`. Returns the claim. Raises QuotaSpent.

        `give_way` is called, at most once, when the units are taken for a client that has fewer. It must neither wait
        nor raise.
        """
        for ending in self._claims_to_end(client, units):
            self.give_back(ending)
            ending.give_way()
        claim = Claim(client, units, give_way)
        self.taken += units
        self._add(claim)
        return claim

    def move(self, claim: Claim, client: str) -> None:
        """Count a claim as the newest of another client. Nobody gives way, since no unit is taken. Without effect when
        the claim has ended."""
        if claim.valid and claim.client != client:
            self._remove(claim)
            claim.client = client
            self._add(claim)

    def give_back(self, claim: Claim) -> None:
        """End a claim. Without effect when the claim has ended already."""
        if not claim.valid:
            return
        claim.valid = False
        self.taken -= claim.units
        self._remove(claim)

    @contextmanager
    def claimed(self, client: str, units: int, give_way: Callable[[], None]) -> Iterator[Claim]:
        """Claim units for the time of the block. Raises QuotaSpent."""
        claim = self.take(client, units, give_way)
        try:
            yield claim
        finally:
            self.give_back(claim)

    def _add(self, claim: Claim) -> None:
        self._claims.setdefault(claim.client, {})[claim] = None
        self._taken[claim.client] += claim.units

    def _remove(self, claim: Claim) -> None:
        self._taken[claim.client] -= claim.units
        claims = self._claims[claim.client]
        del claims[claim]
        if not claims:
            del self._claims[claim.client], self._taken[claim.client]

    def _claims_to_end(self, client: str, units: int) -> list[Claim]:
        """The claims that must end before `client` can take `units`: the newest claims of the client with most units.
        Raises QuotaSpent when they are not enough, or when that client would then have fewer units than `client`."""
        missing = units - (self.size - self.taken)
        if missing <= 0:
            return []
        largest = max(self._taken, key=self._taken.__getitem__, default=client)
        left = self._taken[largest]
        ending: list[Claim] = []
        for claim in reversed(self._claims.get(largest, {})):
            if missing <= 0:
                break
            missing -= claim.units
            left -= claim.units
            ending.append(claim)
        if missing > 0 or left < self._taken[client] + units:
            raise QuotaSpent
        return ending
