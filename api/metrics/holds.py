"""Figures of holds: those that ran out, and whether they are ended in time."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.drops.lapsing import Lapsing


class HoldsCollector(Collector):
    def __init__(self, lapsing: Lapsing) -> None:
        self._lapsing = lapsing

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "dropzero_holds_lapsed", "Holds that ran out and were ended.", value=self._lapsing.lapsed
        )
        yield GaugeMetricFamily(
            "dropzero_holds_overdue_seconds",
            "Seconds since the oldest hold ran out that the last look has found.",
            value=self._lapsing.overdue,
        )
