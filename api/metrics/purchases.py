"""Figures of purchases: their outcomes, their transactions, how long they take, and which products they are for."""

from collections import Counter
from collections.abc import Iterable, Iterator
from uuid import UUID

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from api.database.errors import Conflict, OutcomeUnknown, Unavailable
from api.drops.decisions import Cancelled, Closed, Confirmed, Held, LimitReached, NotOpen, Paused, SoldOut
from api.drops.drops import Drops
from api.drops.tally import MAX_PRODUCTS, Tally
from api.drops.ticket import Busy
from api.metrics.histograms import HistogramReader

OUTCOMES = tuple(
    kind.__name__ for kind in (Confirmed, Held, SoldOut, LimitReached, NotOpen, Paused, Closed, Cancelled, Busy)
)
"""What purchases are answered with, but for errors."""

ENDS = ("sold", "sold_nothing", Conflict.__name__, Unavailable.__name__, OutcomeUnknown.__name__)
"""How transactions end, but for requests that cannot be executed, and defects."""

OTHER = "other"
"""The label of the products past the first MAX_PRODUCTS."""


class PurchasesCollector(Collector):
    def __init__(self, drops: Drops) -> None:
        # Purchases that name no Region have a group commit of their own. Its counts name the Region that decided.
        self._group_commits = list(drops.group_commits.values())
        self._regions = [pool.region for pool in drops.regions]
        self._products = _ProductsReader()
        self._seconds = HistogramReader(
            "dropzero_purchase_seconds", "Seconds from a purchase's arrival in the line to its answer."
        )
        self._attempts = HistogramReader(
            "dropzero_purchase_attempts", "Transactions that each answered purchase was in."
        )
        self._transaction_seconds = HistogramReader(
            "dropzero_transaction_seconds", "Seconds from before BEGIN to the answer of COMMIT, or to the failure."
        )
        self._group_size = HistogramReader("dropzero_group_size", "Requests in each transaction.")
        self._line_length = HistogramReader(
            "dropzero_line_length", "Requests that wait in the line when a transaction begins, beside its own."
        )

    def collect(self) -> Iterator[Metric]:
        tallies = [commits.tally for commits in self._group_commits]
        purchases = CounterMetricFamily(
            "dropzero_purchases", "Purchases answered, by outcome or error.", labels=["region", "outcome"]
        )
        for labels, count in self._sum(OUTCOMES, (tally.outcomes for tally in tallies)).items():
            purchases.add_metric(labels, count)
        transactions = CounterMetricFamily(
            "dropzero_purchase_transactions", "Purchase transactions, by how they ended.", labels=["region", "end"]
        )
        for labels, count in self._sum(ENDS, (tally.transactions for tally in tallies)).items():
            transactions.add_metric(labels, count)
        waiting = GaugeMetricFamily(
            "dropzero_purchases_waiting", "Purchases not answered yet, in line and in flight.", labels=["region"]
        )
        for region in self._regions:
            there = (commits.unanswered for commits in self._group_commits if commits.region == region)
            waiting.add_metric([region], sum(there))
        yield from (purchases, transactions, waiting, self._products.read(tallies))
        yield self._seconds.read(tally.purchase_seconds for tally in tallies)
        yield self._attempts.read(tally.purchase_attempts for tally in tallies)
        yield self._transaction_seconds.read(tally.transaction_seconds for tally in tallies)
        yield self._group_size.read(tally.group_size for tally in tallies)
        yield self._line_length.read(tally.line_length for tally in tallies)

    def _sum(self, known: Iterable[str], counters: Iterable[Counter[tuple[str, str]]]) -> Counter[tuple[str, str]]:
        """The sum of counters by Region and label. The known labels are there with 0, because `rate` does not see the
        first count of a series, and a drop can be sold out between two scrapes."""
        counts = Counter({(region, label): 0 for region in self._regions for label in known})
        for counter in counters:
            counts.update(counter)
        return counts


class _ProductsReader:
    """Makes the counter of purchases by product, and makes it again only when a purchase was answered since."""

    def __init__(self) -> None:
        self._labels: dict[UUID | None, str] = {None: OTHER}
        """Of a product that has a label of its own. It keeps it: a counter must not go down."""
        self._answered = 0
        self._family = self._new_family()

    def read(self, tallies: Iterable[Tally]) -> CounterMetricFamily:
        """The sum of the tallies. The same object as before if no purchase was answered since."""
        tallies = list(tallies)
        answered = sum(tally.outcomes.total() for tally in tallies)
        if answered != self._answered:
            self._answered = answered
            counts: Counter[tuple[str, str]] = Counter()
            for tally in tallies:
                for product_id, product in tally.products.items():
                    label = self._label(product_id)
                    for outcome, count in product.outcomes.items():
                        counts[label, outcome] += count
            self._family = self._new_family()
            for labels, count in counts.items():
                self._family.add_metric(labels, count)
        return self._family

    def _label(self, product_id: UUID | None) -> str:
        label = self._labels.get(product_id)
        if label is None:
            label = self._labels[product_id] = str(product_id) if len(self._labels) <= MAX_PRODUCTS else OTHER
        return label

    @staticmethod
    def _new_family() -> CounterMetricFamily:
        return CounterMetricFamily(
            "dropzero_product_purchases",
            f"Purchases answered, by product and outcome. The first {MAX_PRODUCTS} products of a process have a label "
            f"each, and all others have {OTHER!r}.",
            labels=["product", "outcome"],
        )
