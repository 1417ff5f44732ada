"""The forecast of a drop: its figures are those that were measured and published."""

from dataclasses import replace
from pathlib import Path

import pytest

from api.cost.bill import rounded, shown
from api.cost.forecast import Plan, forecast, idle_month

PAGE = Path(__file__).parent.parent.parent / "docs" / "deployment.md"

PLAN = Plan(orders=1000, purchases=1000, group=500, watched=False, hours=0)


def writes(plan: Plan) -> dict[str, float]:
    return {line.what: line.write for line in forecast(plan).lines}


@pytest.mark.parametrize(
    ("plan", "dpu"),
    [
        (PLAN, 37.5),
        (replace(PLAN, limit=True), 50.0),
        (replace(PLAN, holds=True), 50.0),
        (replace(PLAN, holds=True, limit=True), 62.5),
        (replace(PLAN, group=1), 100.0),
        (replace(PLAN, regions=1), 18.75),
    ],
)
def test_a_thousand_purchases_cost_what_the_pages_say(plan: Plan, dpu: float) -> None:
    assert writes(plan)["purchases that get units"] == pytest.approx(dpu, abs=0.2)


def test_the_figures_of_the_deployment_page_are_those_of_the_defaults() -> None:
    plan = Plan(orders=10_000, purchases=100_000)
    bill = forecast(plan)
    sold = [line for line in bill.lines if line.what.startswith("purchases")]
    page = " ".join(PAGE.read_text().split())
    assert f"some {shown(sum(line.write for line in sold))} DPU of writes" in page
    assert f"and {shown(sum(line.read for line in sold))} of reads" in page
    assert f"for an hour take some {shown(bill.dpu - sum(line.dpu for line in sold))} beside it" in page
    assert f"about {shown(bill.usd(idle_month(plan)))} USD in a month without a drop" in page


def test_payments_come_alone_and_cost_the_least_of_a_transaction() -> None:
    written = writes(replace(PLAN, holds=True, lapsed=0.5))
    assert written["payments"] == pytest.approx(500 * 0.05 * 2, rel=0.001)
    assert written["holds that lapse"] == pytest.approx(500 * 0.025, rel=0.2)


def test_events_cost_what_their_page_says() -> None:
    written = writes(replace(PLAN, events=True))
    assert written["purchases that get units"] == pytest.approx(37.5 + 45, abs=0.5)
    assert written["events that are numbered"] == pytest.approx(45, abs=0.5)
    assert "parcels for the webhook" in writes(replace(PLAN, events=True, webhook=True))


def test_a_process_that_idles_costs_what_its_pings_and_heartbeats_do() -> None:
    alone = replace(PLAN, processes=1, regions=1)
    assert idle_month(replace(alone, processes=3)) == pytest.approx(3 * idle_month(alone))
    assert 0.2 < forecast(PLAN).usd(idle_month(replace(PLAN, processes=1))) < 2


def test_purchases_that_get_nothing_cost_reads_alone() -> None:
    sold_out = forecast(replace(PLAN, purchases=11_000))
    [line] = [line for line in sold_out.lines if line.what == "purchases that get none"]
    assert (line.times, line.transactions, line.write) == (10_000, 20, 0)
    assert sold_out.dpu - line.dpu == pytest.approx(forecast(PLAN).dpu)


def test_every_assumption_is_said() -> None:
    assumed = " ".join(forecast(replace(PLAN, holds=True, events=True)).assumed)
    assert [word for word in ("lapse", "compute", "128 bytes", "USD", "event") if word not in assumed] == []


def test_no_figure_has_more_than_two_digits() -> None:
    assert [rounded(value) for value in (0, 1234.5, 0.0678, -56.7)] == [0, 1200, 0.068, -57]
    values = {0: "0", 1234.5: "1,200", 0.0678: "0.068", 9.99: "10", 99.6: "100", 0.00996: "0.010"}
    assert [shown(value) for value in values] == list(values.values())
