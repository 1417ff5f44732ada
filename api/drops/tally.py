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

    def count_group(self, size: int, waiting: int) -> None:
        """Count a transaction that begins: the requests in it, and those that wait in the line."""
        self.group_size.add(size)
        self.line_length.add(waiting)

    def count_transaction(self, product_id: UUID, region: str, end: str) -> None:
        """Count a transaction that has ended."""
        self.transactions[region, end] += 1
        self._of(product_id).transactions[end] += 1

    def count_purchase(self, product_id: UUID, region: str, outcome: str, attempts: int, seconds: float) -> None:
        """Count a purchase that is answered, `seconds` after it arrived in the line."""
        self.outcomes[region, outcome] += 1
        self.purchase_seconds.add(seconds)
        self.purchase_attempts.add(attempts)
        product = self._of(product_id)
        product.outcomes[outcome] += 1
        product.seconds.add(seconds)
        product.attempts += attempts

    def _of(self, product_id: UUID) -> ProductTally:
        """The tally of a product, or of all others if there are too many."""
        known = self.products.get(product_id)
        if known is None:
            key = product_id if len(self.products) < MAX_PRODUCTS else None
            known = self.products.get(key)
            if known is None:
                known = self.products[key] = ProductTally()
        return known
