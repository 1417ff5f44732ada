"""Figures of drops: purchases, transactions, holds and Regions."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.drops.drops import Drops


class DropsCollector(Collector):
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
