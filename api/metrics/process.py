"""Figures of the process itself: what runs, and how late its event loop is."""

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.lateness import LoopLateness
from api.metrics.histograms import HistogramReader


class ProcessCollector(Collector):
    def __init__(self, lateness: LoopLateness) -> None:
        self._lateness = lateness
        self._seconds = HistogramReader(
            "dropzero_event_loop_lateness_seconds",
            "How late a timer of the event loop fires, sampled ten times a second.",
        )
        self._build = GaugeMetricFamily(
            "dropzero_build_info", "1, with what runs as its labels.", labels=["version", "python"]
        )
        self._build.add_metric([_version(), platform.python_version()], 1)

    def collect(self) -> Iterator[Metric]:
        yield self._build
        yield self._seconds.read([self._lateness.seconds])


def _version() -> str:
    try:
        return version("dropzero")
    except PackageNotFoundError:  # it runs from a folder, and was not installed
        return "unknown"
