"""/metrics as Prometheus reads it: its format, its names, and docs/monitoring.md, which lists them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.openmetrics import exposition, parser
from prometheus_client.registry import Collector

from api.metrics.endpoint import LARGEST
from api.metrics.purchases import ENDS, OUTCOMES
from api.settings import EMBEDDED_REGIONS
from tests.metrics.scraped import Scrape

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(dropzero_\w+)` \| (counter|gauge|histogram)(, largest)? \| ([^|]*)\| [^|]+ \|$", PAGE, re.M)

PLAIN = {"dropzero_purchase_attempts", "dropzero_group_size", "dropzero_line_length"}
"""Histograms of numbers, which have no unit."""


class Parsed(Collector):
    def __init__(self, scrape: Scrape) -> None:
        self._metrics = scrape.metrics.values()

    def collect(self) -> list[Metric]:
        return list(self._metrics)


def test_the_strict_parser_of_openmetrics_accepts_every_metric(scrape: Scrape) -> None:
    registry = CollectorRegistry()
    registry.register(Parsed(scrape))
    strict = list(parser.text_string_to_metric_families(exposition.generate_latest(registry).decode()))
    assert len(strict) == len(scrape.metrics) > 30


def test_no_sample_is_there_twice(scrape: Scrape) -> None:
    lines = [line.rpartition(" ")[0] for line in scrape.text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))


def test_names_have_the_project_and_the_unit_and_counters_end_in_total(scrape: Scrape) -> None:
    for name, metric in scrape.metrics.items():
        assert re.fullmatch(r"dropzero(_[a-z]+)+", name)
        assert metric.documentation.endswith("."), name
        assert metric.type in ("counter", "gauge", "histogram"), name
        if metric.type == "histogram":
            assert name.endswith("_seconds") or name in PLAIN, name
        if metric.type == "gauge":
            assert not name.endswith(("_total", "_count", "_sum", "_bucket")), name


def test_the_traffic_is_counted(scrape: Scrape) -> None:
    assert scrape.value("dropzero_product_purchases_total", outcome="Confirmed") == 2
    assert scrape.value("dropzero_product_purchases_total") == scrape.value("dropzero_purchases_total")
    assert scrape.value("dropzero_purchase_seconds_count") == scrape.value("dropzero_purchases_total")
    assert scrape.value("dropzero_group_size_sum") == scrape.value("dropzero_purchase_attempts_sum") >= 3
    assert scrape.value("dropzero_transaction_seconds_count") == scrape.value("dropzero_purchase_transactions_total")
    assert scrape.value("dropzero_delivery_lateness_seconds_count") >= 2
    assert scrape.value("dropzero_build_info") == 1
    assert scrape.value("dropzero_stock_readings_total") > scrape.value("dropzero_stock_readings_failed_total") == 0
    assert scrape.value("dropzero_webhooks_total", result="taken") > 0
    assert scrape.value("dropzero_refused_tokens_total") == 1


def test_the_page_lists_every_metric_with_its_type_and_its_labels(scrape: Scrape) -> None:
    listed = {
        name: (type_, set(re.findall(r"`(\w+)`", labels)), bool(largest)) for name, type_, largest, labels in ROWS
    }
    assert len(listed) == len(ROWS)
    assert listed == {
        name: (
            metric.type,
            {label for sample in metric.samples for label in sample.labels} - {"le"},
            name in LARGEST,
        )
        for name, metric in scrape.metrics.items()
    }


@pytest.mark.parametrize(
    ("name", "label", "known"),
    [("dropzero_purchases_total", "outcome", OUTCOMES), ("dropzero_purchase_transactions_total", "end", ENDS)],
)
def test_known_labels_are_listed_and_there_from_the_start(
    scrape: Scrape, name: str, label: str, known: tuple[str, ...]
) -> None:
    found = {(sample.labels["region"], sample.labels[label]) for sample in scrape.samples if sample.name == name}
    assert found >= {(region, each) for region in EMBEDDED_REGIONS for each in known}
    [row] = re.findall(rf"^\| `{name}` .*$", PAGE, re.M)
    assert set(known) <= set(re.findall(r"`(\w+)`", row))


def test_every_gauge_of_which_the_largest_counts_exists(scrape: Scrape) -> None:
    assert {name for name, metric in scrape.metrics.items() if metric.type == "gauge"} > LARGEST


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus")
def test_the_linter_of_prometheus_has_no_objection(scrape: Scrape) -> None:
    linted = subprocess.run(
        ["promtool", "check", "metrics"], input=scrape.text, capture_output=True, text=True, check=False
    )
    assert (linted.returncode, linted.stdout + linted.stderr) == (0, "")
