"""Figures of what was refused."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.identity.admission import Admission
from api.identity.authenticator import REFUSED_TOKENS


class RefusalsCollector(Collector):
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
