"""The tally: what a process has done since its start."""

from collections import Counter


class Tally:
    """Counts since the start."""

    def __init__(self) -> None:
        self.transactions: Counter[tuple[str, str]] = Counter()
        """Transactions by Region and how they ended: sold, sold_nothing, or the name of an error."""
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """Purchases answered, by Region and the class of the decision or error. Replayed is Confirmed or Held."""
