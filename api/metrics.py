"""/metrics: counts that the server keeps anyway, read when they are scraped, and summed over its workers."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from api.callers import identify
from api.drops.drops import Drops
from api.drops.kept_events import KeptEvents
from api.graphql.broadcast import Broadcasts
from api.identity.admission import Admission
from api.identity.authenticator import REFUSED_TOKENS, Authenticator
from api.identity.caller import Role
from api.identity.quota import Quota
from api.worker_metrics import SharedFigures

_LARGEST = frozenset(
    {
        "dropzero_region_away",
        "dropzero_events_waiting",
        "dropzero_events_oldest_seconds",
        "dropzero_events_given_up",
        "dropzero_webhook_down",
    }
)
"""Gauges for which /metrics shows the largest value of any worker, not the sum."""


class Metrics:
    """The endpoint."""

    def __init__(
        self,
        drops: Drops,
        broadcasts: Broadcasts,
        admission: Admission,
        authenticator: Authenticator | None,
        folder: Path | None,
    ) -> None:
        """`authenticator` is None where anybody may read the figures, as on a laptop. `folder` is shared by the workers
        of a server; None for a server of one process."""
        self._registry = CollectorRegistry()
        self._registry.register(_DropsCollector(drops))
        self._registry.register(_WatchersCollector(drops, broadcasts, admission.sockets))
        self._registry.register(_RefusalsCollector(admission))
        if drops.events is not None:
            self._registry.register(_EventsCollector(drops.events))
        self._admission = admission
        self._authenticator = authenticator
        self._folder = folder

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Share the figures with the other workers until the block is left. Leave it when nothing counts any more.
        Raises OSError."""
        if self._folder is None:
            yield
            return
        figures = SharedFigures(self._folder, self._registry, _LARGEST)
        self._registry = CollectorRegistry()
        self._registry.register(figures)
        copying = asyncio.create_task(figures.keep_copying(), name="copy figures")
        try:
            yield
        finally:
            copying.cancel()
            await asyncio.wait([copying])
            figures.close()

    async def answer(self, request: Request) -> Response:
        """Answer with the figures as text; with 401, 403, 429 or 503 to anybody but the operator, unless /metrics is
        open."""
        if self._authenticator is not None:
            caller = await identify(request, self._authenticator, self._admission.clients, Role.OPERATOR)
            if isinstance(caller, Response):
                return caller
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


class _DropsCollector(Collector):
    def __init__(self, drops: Drops) -> None:
        self._drops = drops

    def collect(self) -> Iterator[Metric]:
        group_commits = self._drops.group_commits.values()
        purchases = CounterMetricFamily(
            "dropzero_purchases", "Purchases answered, by outcome or error.", labels=["region", "outcome"]
        )
        transactions = CounterMetricFamily(
            "dropzero_purchase_transactions", "Purchase transactions, by how they ended.", labels=["region", "end"]
        )
        waiting = GaugeMetricFamily(
            "dropzero_purchases_waiting", "Purchases not answered yet, in line and in flight.", labels=["region"]
        )
        yield CounterMetricFamily(
            "dropzero_holds_lapsed", "Holds that ran out and were ended.", value=self._drops.lapsing.lapsed
        )
        # Purchases that name no Region have a group commit of their own. Its counts name the Region that decided.
        for labels, count in sum((commits.outcomes for commits in group_commits), Counter[tuple[str, str]]()).items():
            purchases.add_metric(labels, count)
        for labels, count in sum(
            (commits.transactions for commits in group_commits), Counter[tuple[str, str]]()
        ).items():
            transactions.add_metric(labels, count)
        for pool in self._drops.regions:
            there = (commits.unanswered for commits in group_commits if commits.region == pool.region)
            waiting.add_metric([pool.region], sum(there))
        yield from (purchases, transactions, waiting)
        away = GaugeMetricFamily(
            "dropzero_region_away", "1 while an endpoint does not answer and its peers are used.", labels=["region"]
        )
        for pool in self._drops.regions:
            away.add_metric([pool.region], self._drops.regions.is_away(pool.region))
        yield away


class _EventsCollector(Collector):
    def __init__(self, events: KeptEvents) -> None:
        self._events = events

    def collect(self) -> Iterator[Metric]:
        moved = self._events.relay.events
        yield CounterMetricFamily("dropzero_events", "Events that were given a position.", value=moved)
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


class _RefusalsCollector(Collector):
    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    def collect(self) -> Iterator[Metric]:
        refusals = CounterMetricFamily(
            "dropzero_refusals", "What strangers sent in vain, by what it was.", labels=["what"]
        )
        for kind, count in self._admission.refusals.counts.items():
            refusals.add_metric([kind], count)
        yield refusals
        yield CounterMetricFamily(
            "dropzero_refused_tokens",
            "Operator's tokens that were wrong, or came too often.",
            value=self._admission.refusals.counts[REFUSED_TOKENS],
        )


class _WatchersCollector(Collector):
    def __init__(self, drops: Drops, broadcasts: Broadcasts, sockets: Quota) -> None:
        self._publisher = drops.publisher
        self._events = drops.events
        self._broadcasts = broadcasts
        self._sockets = sockets

    def collect(self) -> Iterator[Metric]:
        publisher, broadcasts, sockets = self._publisher, self._broadcasts, self._sockets
        yield GaugeMetricFamily(
            "dropzero_watchers", "Subscribers to live stock and to orders now.", value=broadcasts.subscribers
        )
        followers = 0 if self._events is None else self._events.log.followers
        yield GaugeMetricFamily("dropzero_order_followers", "Executions that follow orders now.", value=followers)
        yield GaugeMetricFamily("dropzero_broadcasts", "Executions that they share.", value=len(broadcasts))
        yield GaugeMetricFamily("dropzero_sockets", "Websockets and event streams open now.", value=sockets.taken)
        yield GaugeMetricFamily("dropzero_sockets_limit", "As many as may be open at a time.", value=sockets.size)
        yield GaugeMetricFamily("dropzero_watched_products", "Products watched now.", value=publisher.watched_products)
        yield CounterMetricFamily("dropzero_stock_readings", "Readings of live stock.", value=publisher.readings)
