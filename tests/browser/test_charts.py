"""The charts of the operator's page: round numbers, and points that are joined, merged and filled in."""

import pytest

from tests.browser.visits import Visits

pytestmark = pytest.mark.browser

CHARTS = """
async () => {
  const { roundNumbers, roundMoments } = await import("/static/chart.js");
  const { fillGaps, join, merge } = await import("/static/operator_activity.js");
  const counts = ["confirmed", "held", "soldOut", "limitReached", "notOpen", "paused", "closed", "cancelled", "busy"];
  const sums = [...counts, "failed", "attempts", "transactions", "conflicts"].map((key) => [key, 0]);
  const quiet = { ...Object.fromEntries(sums), seconds: 2, stock: null, p50Ms: null, p99Ms: null };
  const point = (at, more) => ({ ...quiet, at: at * 1000, ...more });
  const begin = Date.UTC(2027, 0, 1, 10, 0, 7);
  const clock = (at) => new Date(at).toISOString().slice(11, 19);
  return {
    numbers: [[97, 4], [3, 3], [0.1, 4], [1_000_000, 4]].map(([most, count]) => roundNumbers(most, count)),
    moments: roundMoments(begin, begin + 60_000, 5).moments.map(clock),
    joined: join([point(2, { confirmed: 3, stock: 9, p99Ms: 5 }), point(4, { confirmed: 4, p99Ms: 2 })]),
    merged: merge([point(0), point(2, { seconds: 10 }), point(12)], [point(10), point(12, { stock: 1 })]),
    filled: fillGaps([point(0, { stock: 3 }), point(10)], 20_000),
  };
}
"""


async def test_the_charts_have_round_numbers_and_join_what_is_too_narrow(visits: Visits) -> None:
    found = await (await visits.open("/operator")).page.evaluate(CHARTS)

    assert found["numbers"] == [[0, 50, 100], [0, 1, 2, 3], [0, 0.05, 0.1], [0, 500_000, 1_000_000]]
    assert found["moments"] == ["10:00:15", "10:00:30", "10:00:45", "10:01:00"]
    joined = {key: found["joined"][key] for key in ("at", "seconds", "confirmed", "stock", "p99Ms")}
    assert joined == {"at": 2000, "seconds": 4, "confirmed": 7, "stock": 9, "p99Ms": 5}
    assert [(point["at"], point["stock"]) for point in found["merged"]] == [(0, None), (10_000, None), (12_000, 1)]
    filled = [(point["at"], point["seconds"], point["stock"]) for point in found["filled"]]
    assert filled == [(0, 2, 3), (2000, 8, 3), (10_000, 2, 3), (12_000, 8, 3)]
