"""The curve of a drop: rows of several processes add up to the same points as their purchases would in one."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest

from api.drops.activity import encode, take_rows
from api.drops.curve import ActivityPoint, Curve
from api.drops.histogram import SECONDS, Histogram, quantile
from api.drops.tally import MAX_PRODUCTS, ProductTally, Tally

BEGIN = datetime(2026, 12, 1, 10, 0, 0, tzinfo=UTC)


def row(
    counts: ProductTally, after: float, stock: int | None = None, version: int | None = None, data: bytes = b""
) -> Any:
    """A row whose interval ends so many seconds after BEGIN. `data` replaces that of the counts."""
    at = BEGIN + timedelta(seconds=after)
    return {"at": at, "stock": stock, "version": version, "data": (data or encode(counts)).decode()}


def sold(count: int = 1, outcome: str = "Confirmed") -> ProductTally:
    counts = ProductTally()
    for _ in range(count):
        counts.count_purchase(outcome, 1, 0.01)
    return counts


def points(curve: Curve, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(getattr(point, field) for field in fields) for point in curve.points()]


def test_a_row_belongs_to_the_point_in_which_it_ends() -> None:
    curve = Curve(2.0)
    for after in (0.001, 2.0, 2.001, 9.5):
        curve.add(row(sold(), after))
    assert points(curve, "at", "seconds", "confirmed") == [
        (BEGIN, 2.0, 2),
        (BEGIN + timedelta(seconds=2), 2.0, 1),
        (BEGIN + timedelta(seconds=8), 2.0, 1),
    ]


def test_percentiles_are_those_of_all_purchases_together() -> None:
    every, curve = Histogram(SECONDS), Curve(2.0)
    for base in (0.002, 0.2, 30.0):
        counts = ProductTally()
        for step in range(1000):
            seconds = base * (0.5 + step / 700)
            counts.count_purchase("Confirmed", 1, seconds)
            every.add(seconds)
        curve.add(row(counts, 1))

    [point] = curve.points()

    expected = [quantile(SECONDS, every.counts, part) for part in (0.5, 0.99)]
    assert [point.p50_ms, point.p99_ms] == [pytest.approx(1000 * (each or 0)) for each in expected]
    assert 100 < (point.p50_ms or 0) < 400
    assert point.p99_ms == 1000 * SECONDS[-1], "above all bounds, the highest bound"


def test_the_bounds_of_another_version_are_read_by_their_values() -> None:
    curve = Curve(2.0)
    data = {"outcomes": {"Confirmed": 2}, "transactions": {}, "attempts": 2, "seconds": [[0.15, 1], [99, 1]]}
    curve.add(row(sold(), 1, data=orjson.dumps(data)))
    [point] = curve.points()
    assert (point.confirmed, point.p99_ms) == (2, 1000 * SECONDS[-1])
    assert 128 <= (point.p50_ms or 0) <= 181


@pytest.mark.parametrize(
    ("outcome", "field"),
    [
        ("Confirmed", "confirmed"),
        ("Held", "held"),
        ("SoldOut", "sold_out"),
        ("LimitReached", "limit_reached"),
        ("NotOpen", "not_open"),
        ("Paused", "paused"),
        ("Closed", "closed"),
        ("Cancelled", "cancelled"),
        ("Busy", "busy"),
        ("Unavailable", "failed"),
        ("OutcomeUnknown", "failed"),
        ("OfANewerVersion", "failed"),
    ],
)
def test_each_outcome_has_its_field(outcome: str, field: str) -> None:
    curve = Curve(2.0)
    curve.add(row(sold(3, outcome), 1))
    [point] = curve.points()
    names = set(ActivityPoint.__slots__) - {"at", "seconds", "stock", "p50_ms", "p99_ms", "attempts"}
    assert {name: getattr(point, name) for name in names if getattr(point, name)} == {field: 3}
    assert point.attempts == 3


def test_transactions_and_conflicts_are_counted() -> None:
    counts, curve = ProductTally(), Curve(2.0)
    counts.transactions.update(sold=3, sold_nothing=1, Conflict=2)
    curve.add(row(counts, 1))
    assert points(curve, "transactions", "conflicts", "p50_ms") == [(6, 2, None)]


def test_the_stock_is_that_of_the_latest_version() -> None:
    curve = Curve(2.0)
    curve.add(row(sold(), 1.0, stock=5, version=12))
    curve.add(row(sold(), 1.9, stock=8, version=9))  # its transaction began later, with an older snapshot
    curve.add(row(sold(), 3.0))
    assert points(curve, "stock") == [(5,), (None,)]


def test_old_points_are_dropped_and_a_point_grows() -> None:
    curve = Curve(2.0)
    for after in (1, 3, 5):
        curve.add(row(sold(), after))
    curve.drop_before(BEGIN + timedelta(seconds=2.5))
    assert points(curve, "confirmed") == [(1,), (1,)]
    curve.add(row(sold(), 5))
    assert points(curve, "confirmed") == [(1,), (2,)]


def test_a_product_is_recorded_that_is_sold_after_a_hundred_others() -> None:
    tally, latest = Tally(), uuid4()
    for _ in range(MAX_PRODUCTS):
        tally.count_purchase(uuid4(), "here", "Confirmed", 1, 0.01)
    assert len(take_rows([tally], 2.0)) == MAX_PRODUCTS
    tally.count_purchase(latest, "here", "Confirmed", 1, 0.01)

    assert [new.product_id for new in take_rows([tally], 2.0)] == [latest]
    assert latest not in tally.products


def test_the_tallies_of_all_group_commits_are_one_row() -> None:
    tallies, product_id = [Tally(), Tally()], UUID(int=1)
    for tally in tallies:
        tally.count_purchase(product_id, "here", "Confirmed", 2, 0.01)
        tally.count_transaction(product_id, "here", "sold")
    [new] = take_rows(tallies, 2.0)
    assert orjson.loads(new.data) == {
        "outcomes": {"Confirmed": 2},
        "transactions": {"sold": 2},
        "attempts": 4,
        "seconds": [[0.0113, 2]],
    }
    assert take_rows(tallies, 2.0) == []
