"""Shards: the stock of a product is the sum over rows of its own, so that rivals can write different rows.

The shard 0 is different from the others: it has the count of all units ever stocked, so every restock writes it, and
puts its units there. No group draws from it as its own, so restocks get through beside lines that never pause.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

DEFAULT_SHARDS = 16
"""Shards of a new product: enough for 15 lines that draw from one each."""

MAX_SHARDS = 64
"""Every purchase reads all shards of its product, so their number has a bound."""

RESTOCKED = 0
"""The shard that every restock writes."""

CALM = 32
"""Commits without a rival, after which a line that had one draws from several shards at a time again."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One row of a product's stock, in units. `version` rises by one whenever the row is written."""

    stock: int
    stocked: int
    version: int


def split_stock(stock: int, shards: int) -> list[int]:
    """The units of each shard, as even as can be; the lowest shards get what is left over."""
    each, left_over = divmod(stock, shards)
    return [each + (shard < left_over) for shard in range(shards)]


def change_stock(stocks: Sequence[int], own: Sequence[int], units: int, stocked: int) -> dict[int, int]:
    """How many units to take from which shard, when a group takes `units` in all, after `stocked` were put in or taken
    back by restocks. A negative number adds units. Together they are `units`, and no shard is left below zero.

    `own`: see take_units.
    """
    added = max(0, stocked)
    full = [stock + added * (shard == RESTOCKED) for shard, stock in enumerate(stocks)]
    taken = take_units(full, own, units + added)
    if stocked:
        taken[RESTOCKED] = taken.get(RESTOCKED, 0) - added
    return taken


def take_units(stocks: Sequence[int], own: Sequence[int], units: int) -> dict[int, int]:
    """How many units to take from which shard. Together they are `units`, which must be in stock.

    `own`: the group's own shard, and then those of the line's other groups. The first gives what it has. What it lacks
    comes from the fullest others, and from the line's only if there is no other way. These others also give it half of
    what they have left, so that the next group finds its units there. Once there are no more units than shards, the
    lowest shards give them: so the last units are fought over on few rows.

    A negative `units` adds units, to the group's own shard.
    """
    assert units <= sum(stocks), "units taken are in stock"
    first, *others = own
    if units <= 0:
        return {first: units} if units else {}
    few = sum(stocks) <= len(stocks)
    order = sorted(range(len(stocks)), key=lambda shard: (shard != first, shard in others, -stocks[shard]))
    taken: dict[int, int] = {}
    missing = units
    for shard in range(len(stocks)) if few else order:
        if missing and stocks[shard]:
            taken[shard] = min(missing, stocks[shard])
            missing -= taken[shard]
    assert not missing, "units taken equal units sold"
    if not few:
        for shard in [shard for shard in taken if shard != first]:
            reserve = (stocks[shard] - taken[shard]) // 2
            taken[shard] += reserve
            taken[first] = taken.get(first, 0) - reserve
    return taken


class OwnShards:
    """The shards of one product that the groups of one line draw from: each from a shard that no other group has."""

    def __init__(self) -> None:
        self._count = DEFAULT_SHARDS
        self._kept: list[int] = []
        """Shards without a group, from which groups have drawn and had no rival. The last was used last."""
        self._drawn: list[int] = []
        """The shard of each group that is under way."""
        self._commits = CALM
        """Since the last rival."""

    @property
    def groups(self) -> int:
        """How many groups can have a shard of their own. Only one for a while after a rival was met: then there may be
        more groups than shards in all lines together."""
        return max(1, self._count - 1) if self._commits >= CALM else 1

    def learn(self, count: int) -> None:
        """Take in how many shards the product has. Until then the default counts."""
        self._count = count
        self._kept = [shard for shard in self._kept if shard < count]

    def draw(self) -> int:
        """A shard for a group: the one that was kept last, or else a random one."""
        shard = self._kept.pop() if self._kept else self._random(RESTOCKED)
        self._drawn.append(shard)
        return shard

    def beside(self, shard: int) -> list[int]:
        """The shard, and then those of the groups under way beside its own."""
        return [shard, *(other for other in self._drawn if other != shard)]

    def keep(self, shard: int) -> None:
        """End a group's use of its shard. A later group can have it."""
        self._drawn.remove(shard)
        if shard not in self._drawn and shard < self._count:
            self._kept.append(shard)

    def commit(self) -> None:
        """Count a commit, which had no rival."""
        self._commits += 1

    def move(self, shard: int) -> int:
        """Another shard for a group that had a rival in its own."""
        self._commits = 0
        self._drawn.remove(shard)
        other = self._random(shard)
        if other in self._kept:
            self._kept.remove(other)
        self._drawn.append(other)
        return other

    def _random(self, left: int) -> int:
        """A shard that is not `left` and that no group has, if there is one. A kept shard only if there is no other."""
        others = [shard for shard in range(self._count) if shard not in (RESTOCKED, left)]
        free = [shard for shard in others if shard not in self._drawn]
        unknown = [shard for shard in free if shard not in self._kept]
        return random.choice(unknown or free or others or [RESTOCKED])  # noqa: S311
