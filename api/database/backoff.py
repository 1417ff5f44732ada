"""Exponential backoff with full jitter: how long to wait before a conflicting transaction is run again."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits drawn evenly from [0, min(cap, base * 2**(failures - 1))] seconds.

    Full jitter spreads competing transactions best: AWS Architecture Blog, "Exponential Backoff And Jitter" (2015).
    """

    base: float = 0.005
    cap: float = 0.25

    def delay(self, failures: int) -> float:
        """Seconds to wait after the given number of failures in a row (1 or more)."""
        # The exponent is bounded so that a long row of failures cannot overflow a float.
        return random.uniform(0.0, min(self.cap, self.base * 2.0 ** min(failures - 1, 32)))  # noqa: S311
