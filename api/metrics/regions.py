"""Figures of the Regions."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.database.regions import Regions


class RegionsCollector(Collector):
    def __init__(self, regions: Regions) -> None:
        self._regions = regions

    def collect(self) -> Iterator[Metric]:
        away = GaugeMetricFamily(
            "dropzero_region_away", "1 while an endpoint does not answer and its peers are used.", labels=["region"]
        )
        for pool in self._regions:
            away.add_metric([pool.region], self._regions.is_away(pool.region))
        yield away
