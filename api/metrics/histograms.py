"""Histograms, as families of Prometheus."""

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.utils import floatToGoString

from api.drops.histogram import Histogram


class HistogramReader:
    """Makes one family of the sum of histograms, and makes it again only when a value was added since."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name = name
        self._documentation = documentation
        self._counts: list[int] = []
        self._family = HistogramMetricFamily(name, documentation)

    def read(self, histograms: Iterable[Histogram]) -> HistogramMetricFamily:
        """The sum of the histograms, which have the same bounds. The same object as before if nothing was added."""
        histograms = list(histograms)
        counts = [sum(column) for column in zip(*(each.counts for each in histograms), strict=True)]
        if counts != self._counts:
            self._counts = counts
            bounds = [*map(floatToGoString, histograms[0].bounds), "+Inf"]
            buckets = list(zip(bounds, accumulate(counts), strict=True))
            self._family = HistogramMetricFamily(self._name, self._documentation)
            self._family.add_metric([], buckets, sum(each.total for each in histograms))
        return self._family
