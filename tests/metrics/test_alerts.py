"""docs/alerts.yml and docs/grafana.json: they name what a real scrape has, and each alert fires when it should."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from api.database.errors import Conflict
from api.drops.ticket import Busy
from tests.metrics.scraped import Scrape

DOCS = Path(__file__).parents[2] / "docs"
FIRING = Path(__file__).with_name("alerts.yml")
"""Unit tests of promtool: series that are given, and the alerts that fire."""

ALERTS = (DOCS / "alerts.yml").read_text(encoding="utf-8")
NAMES = re.findall(r"- alert: (\w+)", ALERTS)
PAGE = (DOCS / "monitoring.md").read_text(encoding="utf-8")
DASHBOARD: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text(encoding="utf-8"))
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel.get("targets", ())]

OF_PROMETHEUS = {"up": {"job", "instance"}}
"""Series that Prometheus makes itself, with their labels. It adds the labels to all others."""

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)


def expressions_of_alerts() -> list[str]:
    """The expression of each alert, on one line or folded."""
    found = re.findall(r"^        expr: (?:>-\n((?: {10}.*\n)+)|(.+)\n)", ALERTS, re.M)
    return [" ".join((folded or plain).split()) for folded, plain in found]


def filled(expression: str) -> str:
    """An expression of the dashboard as Grafana sends it."""
    return expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$product", ".*")


def expressions() -> list[str]:
    queries = [variable["definition"] for variable in DASHBOARD["templating"]["list"] if variable["type"] == "query"]
    return [*expressions_of_alerts(), *(filled(target["expr"]) for target in TARGETS), *queries]


def test_every_expression_names_series_and_labels_of_a_real_scrape(scrape: Scrape) -> None:
    series = scrape.series | OF_PROMETHEUS
    known = set().union(*series.values(), *OF_PROMETHEUS.values())
    used: set[str] = set()
    for expression in expressions():
        names = set(re.findall(r"\b(?:dropzero_\w+|up)\b", expression))
        assert names, expression
        assert names <= series.keys(), expression
        used |= names
        for name, matchers in re.findall(r"\b(dropzero_\w+|up)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)=~?\"", matchers)) <= series[name] | {"instance"}, expression
        for labels in re.findall(r"\bby \(([^)]*)\)", expression):
            assert set(re.split(r",\s*", labels)) <= known, expression
    assert len(used) > 20


def test_what_the_expressions_compare_labels_with_exists() -> None:
    compared = {pair for expression in expressions() for pair in re.findall(r'(\w+)="([^"]+)"', expression)}
    assert compared == {("job", "dropzero"), ("outcome", Busy.__name__), ("end", Conflict.__name__)}


def test_every_alert_has_a_summary_a_description_and_a_section_of_the_runbook() -> None:
    rules = ALERTS.split("- alert: ")[1:]
    assert len(rules) == len(set(NAMES)) == len(expressions_of_alerts()) > 10
    for rule in rules:
        assert re.search(r"^ +severity: (critical|warning)$", rule, re.M), rule
        assert re.search(r"^ +summary: .+\.$", rule, re.M), rule
        assert re.search(r"^ +description: ", rule, re.M), rule
    assert len(re.findall(r"runbook: docs/runbook\.md#[a-z-]+\n", ALERTS)) == len(rules)


def test_the_page_lists_every_alert_with_the_time_after_which_it_fires() -> None:
    after = [re.search(r"for: (\d+)m", rule) for rule in ALERTS.split("- alert: ")[1:]]
    times = ["at once" if found is None else f"{found[1]} min" for found in after]
    assert re.findall(r"^\| `(Dropzero\w+)` \| [^|]+ \| ([^|]+) \|$", PAGE, re.M) == list(
        zip(NAMES, times, strict=True)
    )


def test_the_dashboard_asks_the_chosen_source_and_every_panel_has_a_query() -> None:
    names = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert names == {"datasource", "instance", "product"}
    assert {target["datasource"]["uid"] for target in TARGETS} == {"${datasource}"}
    used = {name for target in TARGETS for name in re.findall(r"\$(\w+)", target["expr"])}
    assert used <= names | {"__rate_interval"}
    panels = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
    assert len(panels) > 15
    assert all(panel["targets"] and panel["title"] and panel["description"] for panel in panels)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    squares = [
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(squares) == len(set(squares)), "no panel covers another one"
    assert max(x for x, _ in squares) < 24


def run_promtool(*arguments: str | Path) -> str:
    ran = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


@needs_promtool
def test_prometheus_accepts_the_rules_and_the_expressions_of_the_dashboard(tmp_path: Path) -> None:
    assert f"{len(NAMES)} rules found" in run_promtool("check", "rules", DOCS / "alerts.yml")
    rules = [{"record": f"panel:{number}", "expr": filled(target["expr"])} for number, target in enumerate(TARGETS)]
    file = tmp_path / "panels.yml"
    file.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(TARGETS)} rules found" in run_promtool("check", "rules", file)


@needs_promtool
def test_each_alert_fires_when_it_should_and_none_fires_on_a_healthy_server() -> None:
    text = FIRING.read_text(encoding="utf-8")
    assert set(NAMES) == set(re.findall(r'alertname="(\w+)"', text))
    run_promtool("test", "rules", FIRING)
