"""The line: the purchases of one product that wait in one process, and what they are answered."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

from api.database.errors import DatabaseError, OutcomeUnknown, Unavailable
from api.drops.orders import Cancellation
from api.drops.purchase import Cancelled, Confirmed, LimitReached, NotOpen, Request, SoldOut
from api.identity.fair_queue import FairQueue
from api.identity.quota import Claim

EXPIRY_INTERVAL = 0.05
"""Seconds between two looks for tickets whose deadline has passed: each look is at every client."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Nothing was sold, because the attempts, the deadline or the line are spent. Come back in a while."""

    retry_after_ms: int


Answer: TypeAlias = Confirmed | Cancelled | SoldOut | NotOpen | LimitReached | Cancellation | Busy


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a purchase, through how many transactions, and the Region that decided it."""

    decision: Answer
    attempts: int
    region: str


@dataclass(slots=True, eq=False)
class Ticket:
    """A purchase or a cancellation in line or in a group, whose it is, and the future that its buyer waits on."""

    request: Request
    client: str
    deadline: float
    answer: "asyncio.Future[Outcome]"
    claim: Claim | None = None
    in_line: bool = True
    attempts: int = 0
    written_at: list[datetime] = field(default_factory=list)
    """`created_at` of every COMMIT of this order that got no answer. If the stored order carries one of them, that
    COMMIT succeeded."""


@dataclass(slots=True)
class Line:
    """The tickets of one product, and the tasks that serve them. Its clients are served in turn, and the tickets of one
    client in their order."""

    tickets: FairQueue[Ticket] = field(default_factory=FairQueue)
    serving: set["asyncio.Task[None]"] = field(default_factory=set)
    expiry: asyncio.TimerHandle | None = None
    unknown: set[UUID] = field(default_factory=set)
    """Ids of orders that a COMMIT of unknown outcome was to write, and that no transaction has read since. Until then
    no request under the same key is answered that nothing was sold, not even one that lost no COMMIT itself."""

    def add(self, ticket: Ticket) -> None:
        """Add a ticket at the end."""
        self.tickets.push(ticket.client, ticket)

    def put_back(self, ticket: Ticket) -> None:
        """Add a ticket that was taken, at the beginning."""
        ticket.in_line = True
        self.tickets.put_back(ticket.client, ticket, 1)

    def take(self) -> Ticket | None:
        """Take the next ticket; None when nobody waits."""
        if not len(self.tickets):
            return None
        _, ticket = self.tickets.pop(1)
        ticket.in_line = False
        return ticket

    def take_over(self, now: float) -> list[Ticket]:
        """Take those tickets that are answered, or whose deadline has passed. Those of one client are in the order of
        their deadlines, as all have the same budget; but one whose product had to be looked for can wait here for as
        long as that took beyond its deadline."""
        return self.tickets.drop_heads(lambda ticket: ticket.answer.done() or ticket.deadline <= now)

    def take_all(self) -> list[Ticket]:
        return self.tickets.drop_heads(lambda _: True)

    def next_expiry(self, now: float) -> float | None:
        """When to look for tickets whose deadline has passed; None when nobody waits."""
        earliest = min((ticket.deadline for ticket in self.tickets.heads()), default=None)
        return None if earliest is None else max(earliest, now + EXPIRY_INTERVAL)

    def broken_off(self, ticket: Ticket, in_transaction: bool) -> DatabaseError:
        """The error for a purchase that was still waiting when the server stopped."""
        if in_transaction or ticket.request.order_id in self.unknown:
            return OutcomeUnknown("the server stopped before the outcome was known")
        return Unavailable("the server stopped before this purchase was tried again")
