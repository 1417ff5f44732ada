"""Histograms: how many values lie between fixed bounds. Those of several processes are added bound by bound."""

from bisect import bisect_left
from collections.abc import Sequence

SECONDS = tuple(float(f"{0.001 * 2 ** (step / 2):.3g}") for step in range(29))
"""Upper bounds from 1 ms to 16.4 s, each 1.41 times the one below: a quantile is known to within a fifth of itself. A
purchase is answered within 15 s, or with its transaction's timeout."""

COUNTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 1024, 4096, 16384)
"""Upper bounds of sizes and numbers of attempts. A group has 500 requests at most, and a process 20,000 that wait."""


class Histogram:
    """`counts`: of the values up to each bound and above the bound below; the last are above all bounds. `total`: the
    sum of all values."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def merge(self, other: "Histogram") -> None:
        """Add the values of another histogram, which has the same bounds."""
        self.counts = [own + more for own, more in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


def quantile(bounds: Sequence[float], counts: Sequence[int], part: float) -> float | None:
    """The value that the `part` of all values do not exceed, interpolated between two bounds; None without values. At
    most the highest bound, whatever lies above."""
    wanted = part * sum(counts)
    if not wanted:
        return None
    below, passed = 0.0, 0
    for bound, count in zip(bounds, counts, strict=False):
        if count and passed + count >= wanted:
            return below + (bound - below) * (wanted - passed) / count
        below, passed = bound, passed + count
    return bounds[-1]
