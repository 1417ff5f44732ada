"""Figures of a deployment that keeps events: the outbox, and what is sent to the webhook."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.drops.kept_events import KeptEvents


class EventsCollector(Collector):
    def __init__(self, events: KeptEvents) -> None:
        self._events = events

    def collect(self) -> Iterator[Metric]:
        moved = self._events.relay.events
        yield CounterMetricFamily("dropzero_events", "Events that were given a position.", value=moved)
        yield GaugeMetricFamily(
            "dropzero_outbox_oldest_seconds",
            "Age of the oldest event that was given no position yet.",
            value=self._events.relay.oldest_age,
        )
        sending = self._events.sending
        if sending is None:
            return
        webhooks = CounterMetricFamily("dropzero_webhooks", "Events sent to the webhook, by result.", labels=["result"])
        webhooks.add_metric(["taken"], sending.sent)
        webhooks.add_metric(["failed"], sending.failed)
        yield webhooks
        # What stands in the database, as a process has seen it last: each process has seen the same.
        backlog = sending.backlog
        yield GaugeMetricFamily(
            "dropzero_events_waiting", "Events that the receiver has not taken yet.", value=backlog.waiting
        )
        yield GaugeMetricFamily(
            "dropzero_events_oldest_seconds", "Age of the oldest event that waits.", value=backlog.oldest_age
        )
        yield GaugeMetricFamily(
            "dropzero_events_given_up",
            "Events that are kept, and not sent again by themselves.",
            value=backlog.given_up,
        )
        yield GaugeMetricFamily("dropzero_webhook_down", "1 while the receiver takes nothing.", value=sending.down)
