"""A bill: lines with what was written, read and computed, and their price."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Line:
    """`times`: of what the line counts. `transactions`: how many they took. `write`, `read` and `compute` in DPU, of
    all Regions."""

    what: str
    times: float
    transactions: float
    write: float
    read: float = 0.0
    compute: float = 0.0

    @property
    def dpu(self) -> float:
        return self.write + self.read + self.compute


@dataclass(frozen=True, slots=True)
class Bill:
    """`price`: USD of a million DPU. `stored`: bytes that stay in the database, and `storage_price` in USD for a GB and
    month. `assumed`: what the figures rest on, a sentence each."""

    lines: Sequence[Line]
    price: float
    stored: float
    storage_price: float
    assumed: Sequence[str]

    @property
    def dpu(self) -> float:
        return sum(line.dpu for line in self.lines)

    @property
    def total(self) -> Line:
        """The sum of all lines."""
        sums = (
            sum(getattr(line, name) for line in self.lines) for name in ("transactions", "write", "read", "compute")
        )
        return Line("in all", 0, *sums)

    def usd(self, dpu: float) -> float:
        return dpu * self.price / 1e6

    @property
    def storage_usd(self) -> float:
        """USD a month."""
        return self.stored / 1e9 * self.storage_price

    def as_json(self) -> dict[str, Any]:
        return {
            "lines": [self._line(line) for line in self.lines],
            "total": self._line(self.total),
            "usdPerMillionDpu": self.price,
            "storedBytes": rounded(self.stored),
            "storageUsdPerMonth": rounded(self.storage_usd),
            "assumed": list(self.assumed),
        }

    def _line(self, line: Line) -> dict[str, Any]:
        return {
            "what": line.what,
            "times": round(line.times),
            "transactions": round(line.transactions),
            "writeDpu": rounded(line.write),
            "readDpu": rounded(line.read),
            "computeDpu": rounded(line.compute),
            "dpu": rounded(line.dpu),
            "usd": rounded(self.usd(line.dpu)),
        }


def rounded(value: float) -> float:
    """Two digits: the assumptions are not known better."""
    if value == 0:
        return 0.0
    return round(value, 1 - math.floor(math.log10(abs(value))))


def shown(value: float) -> str:
    """A value with two digits, without an exponent."""
    value = rounded(value)
    digits = max(0, 1 - math.floor(math.log10(abs(value)))) if value else 0
    return f"{value:,.{digits}f}"
