"""The endpoint /metrics, open or for operators alone; the figures are the sums over the workers of a server."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from api.callers import identify
from api.drops.drops import Drops
from api.graphql.broadcast import Broadcasts
from api.identity.admission import Admission
from api.identity.authenticator import Authenticator
from api.identity.caller import Role
from api.lateness import LoopLateness
from api.metrics.events import EventsCollector
from api.metrics.holds import HoldsCollector
from api.metrics.process import ProcessCollector
from api.metrics.purchases import PurchasesCollector
from api.metrics.refusals import RefusalsCollector
from api.metrics.regions import RegionsCollector
from api.metrics.shared_figures import SharedFigures
from api.metrics.watchers import WatchersCollector

LARGEST = frozenset(
    {
        "dropzero_region_away",
        "dropzero_events_waiting",
        "dropzero_events_oldest_seconds",
        "dropzero_events_given_up",
        "dropzero_webhook_down",
        "dropzero_outbox_oldest_seconds",
        "dropzero_holds_overdue_seconds",
        "dropzero_build_info",
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
        lateness: LoopLateness,
        folder: Path | None,
    ) -> None:
        """`authenticator` is None where anybody may read the figures, as on a laptop. `folder` is shared by the workers
        of a server; None for a server of one process."""
        self._registry = CollectorRegistry()
        self._registry.register(ProcessCollector(lateness))
        self._registry.register(PurchasesCollector(drops))
        self._registry.register(HoldsCollector(drops.lapsing))
        self._registry.register(RegionsCollector(drops.regions))
        self._registry.register(WatchersCollector(drops, broadcasts, admission.sockets))
        self._registry.register(RefusalsCollector(admission))
        if drops.events is not None:
            self._registry.register(EventsCollector(drops.events))
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
        figures = SharedFigures(self._folder, self._registry, LARGEST)
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
        text: list[bytes] = []
        for metric in self._registry.collect():
            text.append(generate_latest(_Single(metric)))
            await asyncio.sleep(0)  # all together take some milliseconds of the event loop
        return Response(b"".join(text), media_type=CONTENT_TYPE_LATEST)


class _Single(Collector):
    """Collects one metric, for generate_latest."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterable[Metric]:
        return [self._metric]
