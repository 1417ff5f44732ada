"""Figures of live stock: its watchers, their sockets, and the readings."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.drops.drops import Drops
from api.graphql.broadcast import Broadcasts
from api.identity.quota import Quota
from api.metrics.histograms import HistogramReader


class WatchersCollector(Collector):
    def __init__(self, drops: Drops, broadcasts: Broadcasts, sockets: Quota) -> None:
        self._deliveries = HistogramReader(
            "dropzero_delivery_lateness_seconds",
            "Seconds from the reading or commit of a change of stock to its delivery to the last watcher of a "
            "subscription.",
        )
        self._publisher = drops.publisher
        self._events = drops.events
        self._product_feed = drops.product_feed
        self._broadcasts = broadcasts
        self._sockets = sockets

    def collect(self) -> Iterator[Metric]:
        publisher, broadcasts, sockets = self._publisher, self._broadcasts, self._sockets
        yield GaugeMetricFamily(
            "dropzero_watchers",
            "Subscribers to stock, products and orders now.",
            value=broadcasts.subscribers,
        )
        followers = 0 if self._events is None else self._events.log.followers
        yield GaugeMetricFamily("dropzero_order_followers", "Executions that follow orders now.", value=followers)
        followers = self._product_feed.followers
        yield GaugeMetricFamily("dropzero_product_followers", "Executions that follow products now.", value=followers)
        yield GaugeMetricFamily("dropzero_broadcasts", "Executions that they share.", value=len(broadcasts))
        yield GaugeMetricFamily("dropzero_sockets", "Websockets and event streams open now.", value=sockets.taken)
        yield GaugeMetricFamily("dropzero_sockets_limit", "As many as may be open at a time.", value=sockets.size)
        yield GaugeMetricFamily("dropzero_watched_products", "Products watched now.", value=publisher.watched_products)
        yield CounterMetricFamily("dropzero_stock_readings", "Readings of live stock.", value=publisher.readings)
        yield CounterMetricFamily(
            "dropzero_stock_readings_failed",
            "Readings of live stock that the database did not answer.",
            value=publisher.failed_readings,
        )
        yield self._deliveries.read([publisher.delivery_seconds])
