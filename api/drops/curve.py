"""The curve of a drop: the activity of all processes, added up to points of one width."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import ceil

from api.database.pool import Record
from api.drops.activity import add_encoded
from api.drops.histogram import quantile
from api.drops.tally import ProductTally

_OUTCOMES = {
    "Confirmed": "confirmed",
    "Held": "held",
    "SoldOut": "sold_out",
    "LimitReached": "limit_reached",
    "NotOpen": "not_open",
    "Paused": "paused",
    "Closed": "closed",
    "Cancelled": "cancelled",
    "Busy": "busy",
}
"""The field of a point for each outcome. All other outcomes are errors, and have failed."""


@dataclass(frozen=True, slots=True)
class ActivityPoint:
    """What happened in `seconds` from `at` on. `stock`: at the end; None if no row of the interval has it. `p50_ms` and
    `p99_ms`: from a purchase's arrival to its answer; None without purchases. `attempts`: transactions that the
    purchases were in, added up. `transactions`: of all requests; `conflicts` of them have conflicted."""

    at: datetime
    seconds: float
    stock: int | None
    attempts: int
    transactions: int
    conflicts: int
    p50_ms: float | None
    p99_ms: float | None
    confirmed: int = 0
    held: int = 0
    sold_out: int = 0
    limit_reached: int = 0
    not_open: int = 0
    paused: int = 0
    closed: int = 0
    cancelled: int = 0
    busy: int = 0
    failed: int = 0


@dataclass(slots=True)
class _Bucket:
    """The sums of one interval. `point` is made of them when it is needed."""

    counts: ProductTally = field(default_factory=ProductTally)
    version: int = -1
    stock: int | None = None
    point: ActivityPoint | None = None


class Curve:
    """Points of `width` seconds, which begin at multiples of it. An interval without activity has no point."""

    def __init__(self, width: float) -> None:
        self.width = width
        self._buckets: dict[int, _Bucket] = {}

    def add(self, row: Record) -> None:
        """Add a row of the table to the point in which its interval ends."""
        bucket = self._buckets.setdefault(ceil(row["at"].timestamp() / self.width) - 1, _Bucket())
        add_encoded(bucket.counts, row["data"])
        if row["version"] is not None and row["version"] > bucket.version:
            bucket.version, bucket.stock = row["version"], row["stock"]
        bucket.point = None

    def drop_before(self, moment: datetime) -> None:
        """Forget the points that end before the moment."""
        first = ceil(moment.timestamp() / self.width) - 1
        for number in [number for number in self._buckets if number < first]:
            del self._buckets[number]

    def points(self) -> list[ActivityPoint]:
        """All points, oldest first."""
        return [self._point(number, self._buckets[number]) for number in sorted(self._buckets)]

    def _point(self, number: int, bucket: _Bucket) -> ActivityPoint:
        if bucket.point is None:
            bucket.point = _point_of(datetime.fromtimestamp(number * self.width, UTC), self.width, bucket)
        return bucket.point


def _point_of(at: datetime, seconds: float, bucket: _Bucket) -> ActivityPoint:
    counts = bucket.counts
    outcomes = dict.fromkeys(("failed", *_OUTCOMES.values()), 0)
    for name, count in counts.outcomes.items():
        outcomes[_OUTCOMES.get(name, "failed")] += count
    return ActivityPoint(
        at=at,
        seconds=seconds,
        stock=bucket.stock,
        attempts=counts.attempts,
        transactions=counts.transactions.total(),
        conflicts=counts.transactions["Conflict"],
        p50_ms=_milliseconds(counts, 0.5),
        p99_ms=_milliseconds(counts, 0.99),
        **outcomes,
    )


def _milliseconds(counts: ProductTally, part: float) -> float | None:
    seconds = quantile(counts.seconds.bounds, counts.seconds.counts, part)
    return None if seconds is None else round(1000 * seconds, 3)
