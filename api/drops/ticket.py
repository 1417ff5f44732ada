"""A ticket: one purchase, cancellation or restock that waits in a line, and the outcome that it is answered with."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeAlias

from api.database.errors import OutcomeUnknown
from api.database.pool import TRANSACTION_TIMEOUT
from api.drops.decisions import Decision
from api.drops.products import Product
from api.drops.requests import Request
from api.identity.quota import Claim

if TYPE_CHECKING:
    from api.tracing.span import Span


@dataclass(frozen=True, slots=True)
class Busy:
    """Nothing was sold: the attempts, the deadline or the room in the line are used up. The same request can be sent
    again after `retry_after_ms`."""

    retry_after_ms: int

    @classmethod
    def now(cls) -> "Busy":
        """Spread over a second, so that clients that were refused together do not come back together."""
        return cls(retry_after_ms=random.randint(500, 1500))  # noqa: S311


LEAST_TIME = 0.1
"""Seconds that a transaction has even when the deadlines of all its tickets have passed."""

Answer: TypeAlias = Decision | Busy


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a purchase, a cancellation or a restock.

    `product`: as the deciding transaction left it; None with Busy, when no transaction decided.
    `attempts`: transactions that the request was in. `region`: the Region that decided.
    """

    decision: Answer
    product: Product | None
    attempts: int
    region: str


@dataclass(slots=True, eq=False)
class Ticket:
    """A purchase, a cancellation or a restock that waits in a line or is in a group, and the future of its outcome.

    `client`: where the request came from. `arrived` and `deadline`: by the event loop's clock. `claim`: on the quota of
    unanswered requests. `queued`: whether the ticket waits in the line, and is in no group. `answered`: whether the
    line has answered it; the buyer can have hung up before. `span`: from its arrival to its answer; None for a request
    that is not traced.
    """

    request: Request
    client: str
    arrived: float
    deadline: float
    answer: "asyncio.Future[Outcome]"
    span: "Span | None" = None
    claim: Claim | None = None
    queued: bool = True
    answered: bool = False
    attempts: int = 0
    written_at: list[datetime] = field(default_factory=list)
    """The moment of every COMMIT of this purchase or payment that got no answer. If the stored order was created or
    confirmed at one of them, that COMMIT succeeded."""

    @property
    def unknown(self) -> OutcomeUnknown:
        """The error for a request whose COMMIT got no answer, and whose row could not be read since."""
        return OutcomeUnknown(
            f"the connection was lost while row {self.request.row_ids[0]} was committed, and the database has not come "
            "back yet"
        )


async def traced_outcome(ticket: Ticket, span: "Span") -> Outcome:
    """Await the answer to a ticket, and end its span."""
    try:
        outcome = await ticket.answer
        span.set("dropzero.outcome", type(outcome.decision).__name__)
        return outcome
    except BaseException as error:
        span.fail(type(error).__name__)
        raise
    finally:
        span.set("dropzero.attempts", ticket.attempts)
        span.end()


def time_left(group: Sequence[Ticket]) -> float:
    """Seconds until the latest deadline in a group. An earlier deadline must not cancel a transaction that others still
    have time for."""
    last = max(ticket.deadline for ticket in group)
    return min(TRANSACTION_TIMEOUT, max(LEAST_TIME, last - asyncio.get_running_loop().time()))
