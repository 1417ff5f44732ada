"""A ledger: what clients know, from their requests and answers alone, about units that are taken and returned.

The units are a product's stock, or what a buyer may still buy below the limit per buyer. A change happened at some
moment between its request and its answer. So clients know two bounds of the units at each moment, and the truth lies
between them.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate

NEVER = math.inf
"""The end of a change that got no answer which says that it was made."""


@dataclass(frozen=True, slots=True)
class Change:
    """Units that were added; taken, if negative. It was made at one moment between `begun` and `ended`.

    `begun`: when its first request was sent. `ended`: when an answer came that says that it was made. With NEVER it
    may have been made at any moment since `begun`, or not at all.
    """

    units: int
    begun: float
    ended: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that there were fewer than `units` at some moment between `sent` and `answered`."""

    units: int
    sent: float
    answered: float


@dataclass(slots=True)
class Ledger:
    """Changes of the units, and refusals for lack of them. At the start there were `opening` units."""

    opening: int
    changes: list[Change] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)

    def false_refusals(self) -> list[Refusal]:
        """Return the refusals that are wrong for certain: at every moment of theirs there were enough units.

        The bound is the least number of units that the clients' knowledge allows: each change that takes units counts
        from its request on, and each change that adds units from its answer on. A transaction that decides several
        requests in order can refuse one between two others. The units at that point are not below this bound either.
        """
        steps = sorted((change.begun if change.units < 0 else change.ended, change.units) for change in self.changes)
        moments = [moment for moment, _ in steps]
        least = self._levels(units for _, units in steps)
        return [
            refusal
            for refusal in self.refusals
            if min(least[bisect_left(moments, refusal.sent) : bisect_right(moments, refusal.answered) + 1])
            >= refusal.units
        ]

    @property
    def overdrawn(self) -> bool:
        """Whether more units were taken than there were, at some moment, for certain.

        The bound is the greatest number of units that the clients' knowledge allows: each change that adds units counts
        from its request on, and each change that takes units from its answer on.
        """
        steps = sorted((change.ended if change.units < 0 else change.begun, -change.units) for change in self.changes)
        return min(self._levels(-units for moment, units in steps if moment < NEVER)) < 0

    def _levels(self, steps: Iterable[int]) -> list[int]:
        """The units before the first step and after each."""
        return list(accumulate(steps, initial=self.opening))
