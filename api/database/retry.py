"""Retries a transaction until it commits, within a budget."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

from api.database.backoff import Backoff
from api.database.errors import DatabaseError, OutcomeUnknown

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """What one piece of work may cost: attempts of its transaction, and seconds from the first attempt."""

    attempts: int = 40
    seconds: float = 15.0


async def run_again(
    attempt: Callable[[], Awaitable[T]],
    budget: RetryBudget,
    *,
    safe_after_lost_commit: bool,
    backoff: Backoff = Backoff(),
) -> T:
    """Run `attempt`, one whole transaction, until it succeeds, and return its result.

    `safe_after_lost_commit`: another attempt after OutcomeUnknown does no harm, since it writes under the same primary
    keys, for example. Without it OutcomeUnknown is raised at once. When the budget is spent, raises the last
    Conflict or Unavailable. If any attempt raised OutcomeUnknown, raises that instead: a later failure does not show
    whether that COMMIT succeeded.
    """
    deadline = time.monotonic() + budget.seconds
    failures = 0
    unknown: OutcomeUnknown | None = None
    while True:
        try:
            return await attempt()
        except Exception as error:
            if isinstance(error, OutcomeUnknown):
                unknown = error
            failures += 1
            delay = backoff.delay(failures)
            spent = failures >= budget.attempts or time.monotonic() + delay > deadline
            if spent or not isinstance(error, DatabaseError) or (unknown and not safe_after_lost_commit):
                if unknown is None or error is unknown:
                    raise
                raise unknown from error
        await asyncio.sleep(delay)
