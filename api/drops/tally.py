"""The tally: what a process has done since its start."""

from collections import Counter
from uuid import UUID

from api.drops.histogram import COUNTS, SECONDS, Histogram

MAX_PRODUCTS = 100
"""Products that are counted each by itself. All others are counted together."""


class ProductTally:
    """Counts of one product since the start."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        """Purchases answered, by the class of the decision or error. Replayed is Confirmed or Held."""
        self.transactions: Counter[str] = Counter()
        """By how they ended: sold, sold_nothing, or the name of an error."""
        self.attempts = 0
        """Transactions that the answered purchases were in, added up."""
        self.seconds = Histogram(SECONDS)
        """From a purchase's arrival in the line to its answer."""

    def count_purchase(self, outcome: str, attempts: int, seconds: float) -> None:
        self.outcomes[outcome] += 1
        self.attempts += attempts
        self.seconds.add(seconds)

    def merge(self, other: "ProductTally") -> None:
        """Add the counts of another tally."""
        self.outcomes.update(other.outcomes)
        self.transactions.update(other.transactions)
        self.attempts += other.attempts
        self.seconds.merge(other.seconds)


class Tally:
    """Counts since the start."""

    def __init__(self) -> None:
        self.transactions: Counter[tuple[str, str]] = Counter()
        """Transactions by Region and how they ended: sold, sold_nothing, or the name of an error."""
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """Purchases answered, by Region and the class of the decision or error. Replayed is Confirmed or Held."""
        self.purchase_seconds = Histogram(SECONDS)
        """From a purchase's arrival in the line to its answer."""
        self.purchase_attempts = Histogram(COUNTS)
        """Transactions that each answered purchase was in."""
        self.transaction_seconds = Histogram(SECONDS)
        """From before BEGIN to the answer of COMMIT or the failure."""
        self.group_size = Histogram(COUNTS)
        """Requests in each transaction."""
        self.line_length = Histogram(COUNTS)
        """Requests that wait in the line when a transaction begins, without those of its group."""
        self.products: dict[UUID | None, ProductTally] = {}
        """Of the first MAX_PRODUCTS products; under None, of all others."""
        self._recent: dict[UUID | None, ProductTally] = {}
        """As `products`, since the last `take_recent`."""

    def take_recent(self) -> dict[UUID | None, ProductTally]:
        """What was counted since the last call: of the first MAX_PRODUCTS products, and under None of all others. So
        the counts of a product are found even if the process has sold a hundred others before."""
        taken, self._recent = self._recent, {}
        return taken

    def count_group(self, size: int, waiting: int) -> None:
        """Count a transaction that begins: the requests in it, and those that wait in the line."""
        self.group_size.add(size)
        self.line_length.add(waiting)

    def count_transaction(self, product_id: UUID, region: str, end: str) -> None:
        """Count a transaction that has ended."""
        self.transactions[region, end] += 1
        for product in self._of(product_id):
            product.transactions[end] += 1

    def count_purchase(self, product_id: UUID, region: str, outcome: str, attempts: int, seconds: float) -> None:
        """Count a purchase that is answered, `seconds` after it arrived in the line."""
        self.outcomes[region, outcome] += 1
        self.purchase_seconds.add(seconds)
        self.purchase_attempts.add(attempts)
        for product in self._of(product_id):
            product.count_purchase(outcome, attempts, seconds)

    def _of(self, product_id: UUID) -> tuple[ProductTally, ProductTally]:
        """The tallies of a product, or of all others if there are too many: since the start, and the recent one."""
        return _find(self.products, product_id), _find(self._recent, product_id)


def _find(products: dict[UUID | None, ProductTally], product_id: UUID) -> ProductTally:
    known = products.get(product_id)
    if known is None:
        key = product_id if len(products) < MAX_PRODUCTS else None
        known = products.get(key)
        if known is None:
            known = products[key] = ProductTally()
    return known
