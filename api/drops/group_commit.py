"""Group commit: purchases of one product that wait together are committed together.

While a transaction of a product is in flight, arriving purchases stand in line, and the next transaction takes
the whole line. The published alternative, one transaction per purchase, is the same code with a group of one
and as many transactions at a time as there are rivals; it is kept for comparison.
"""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from uuid import UUID

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import DatabaseError, OutcomeUnknown, Unavailable
from api.database.pool import TRANSACTION_TIMEOUT
from api.database.retry import RetryBudget
from api.drops.errors import DropError
from api.drops.line import Answer, Busy, Line, Outcome, Ticket
from api.drops.purchase import (
    Confirmed,
    Decision,
    Decisions,
    Purchase,
    Request,
    SaleFailed,
    execute_requests,
)
from api.drops.stock import StockLevel
from api.identity.quota import Quota, QuotaSpent

logger = logging.getLogger("dropzero.purchase")

LEAST_TIME = 0.1
"""Seconds that a transaction is given even when the deadlines of all in it have come."""


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """How purchases of one product are grouped.

    `size`: purchases in one transaction at most. A confirmed order writes a row and three index entries; 500
    of them stay well inside Aurora DSQL's 3,000 changed rows, even if it should count index entries.
    `in_flight`: transactions of one product at a time.
    `max_unanswered`: purchases at one endpoint that are not answered yet, of all products, at most. Past it, the
    newest purchase of the client with most of them is answered Busy: the one that arrives, or one that waits.
    """

    size: int = 500
    in_flight: int = 1
    max_unanswered: int = 20_000


class GroupCommit:
    """The lines of all products on one way to the database: through one regional endpoint, or through whichever
    answers."""

    def __init__(
        self,
        database: Database,
        policy: GroupPolicy,
        budget: RetryBudget,
        on_commit: Callable[[StockLevel], None],
        backoff: Backoff = Backoff(),
    ) -> None:
        """`budget` is each purchase's own, from the moment it arrives; `on_commit` hears each new stock."""
        self._database = database
        self._policy = policy
        self._budget = budget
        self._on_commit = on_commit
        self._backoff = backoff
        self._lines: dict[UUID, Line] = {}
        self._quota = Quota(policy.max_unanswered)
        self.transactions: Counter[tuple[str, str]] = Counter()
        """Transactions tried, by Region and how they ended: sold, sold_nothing, or the name of an error."""
        self.outcomes: Counter[tuple[str, str]] = Counter()
        """Purchases answered, by Region and outcome, or the name of an error."""

    @property
    def unanswered(self) -> int:
        """Purchases not answered yet, in line and in flight."""
        return self._quota.taken

    @property
    def region(self) -> str:
        """The Region that the next transaction would go through."""
        return self._database.region

    async def submit(self, request: Request, client: str = "", deadline: float | None = None) -> Outcome:
        """Stand in line, and return the outcome once it is known. A transaction that is under way at the deadline is
        waited for, until the last deadline of those in it.

        The line serves its clients in turn: `client` is the one that the request came from. `deadline` by the event
        loop's clock; without one, all of the budget is left.

        Raises a DropError when the purchase can never be carried out; Unavailable when the database stayed
        away, with nothing sold; OutcomeUnknown when it went away at COMMIT and did not come back in time.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._budget.seconds if deadline is None else deadline
        ticket = Ticket(request, client, deadline, loop.create_future())
        line = self._lines.get(request.product_id)
        if line is None:
            line = Line()
        try:
            ticket.claim = self._quota.take(client, 1, partial(self._give_way, ticket, line))
        except QuotaSpent:
            self._give_up(ticket, line, None)
            return ticket.answer.result()
        if not line.serving:
            self._lines[request.product_id] = line
        line.add(ticket)
        if line.expiry is None:
            line.expiry = loop.call_at(ticket.deadline, self._expire, line)
        if len(line.serving) < self._policy.in_flight:
            task = asyncio.create_task(self._serve(request.product_id, line), name="group commit")
            line.serving.add(task)
        return await ticket.answer

    async def close(self, grace: float) -> None:
        """Answer everyone in line; after `grace` seconds, break off what is still in flight."""
        serving = [task for line in self._lines.values() for task in line.serving]
        if serving:
            _, late = await asyncio.wait(serving, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _serve(self, product_id: UUID, line: Line) -> None:
        """Serve the line until nobody waits: take a group, run its transaction, answer; after a failure run it
        again with whoever has joined meanwhile."""
        group: list[Ticket] = []
        size = self._policy.size
        failures = 0
        in_transaction = False
        try:
            while self._fill(group, line, size):
                requests = [ticket.request for ticket in group]
                in_transaction = True
                try:
                    result = await execute_requests(self._database, product_id, requests, _time_left(group))
                except SaleFailed as failed:
                    in_transaction = False  # and not while it waits to try again
                    self._count_failure(group, line, failed)
                    self._answer_settled(group, line, failed)
                    if isinstance(failed.error, DatabaseError):
                        failures += 1
                        await asyncio.sleep(self._backoff.delay(failures))
                        self._drop_spent(group, line, failed.error)
                    else:
                        size = self._part(group, line, failed.error)
                else:
                    self._answer(group, line, result)
                    group.clear()
                    failures = 0
                    size = min(self._policy.size, 2 * size)
        finally:
            for ticket in group:  # only when this task was cancelled: nobody waits for ever
                self._fail(ticket, line.broken_off(ticket, in_transaction))
            self._leave(product_id, line)

    def _fill(self, group: list[Ticket], line: Line, size: int) -> bool:
        """Take from the line, first come first served, until the group has `size`; whether there is a group."""
        now = asyncio.get_running_loop().time()
        while len(group) < size and (ticket := line.take()) is not None:
            if ticket.answer.done():  # its buyer has hung up, or it gave way
                self._release(ticket)
            elif ticket.deadline <= now:
                self._give_up(ticket, line, None)
            else:
                group.append(ticket)
        return bool(group)

    def _part(self, group: list[Ticket], line: Line, error: Exception) -> int:
        """One of the group cannot be executed, or there is a defect: halve it until that one stands alone, and fails
        none of its neighbours. Returns the size of the next group; each that goes well allows twice as many."""
        if len(group) <= 1:
            for ticket in group:
                logger.error("purchase %s cannot be executed", ticket.request.order_id, exc_info=error)
                self._fail(ticket, _unknown(ticket) if ticket.request.order_id in line.unknown else error)
            group.clear()
            return 1
        self._drop_spent(group, line, None)
        half = max(1, len(group) // 2)
        for ticket in reversed(group[half:]):
            line.put_back(ticket)
        del group[half:]
        if line.expiry is not None:  # those put back may have the earliest deadline
            line.expiry.cancel()
        self._expire(line)
        return half

    def _answer(self, group: list[Ticket], line: Line, result: Decisions) -> None:
        self.transactions[result.region, "sold_nothing" if result.level is None else "sold"] += 1
        if result.level is not None:
            self._on_commit(result.level)
        for ticket, decision in zip(group, result.decisions, strict=True):
            ticket.attempts += 1
            self._decided(ticket, line, decision, result.region)

    def _answer_settled(self, group: list[Ticket], line: Line, failed: SaleFailed) -> None:
        """Answer those whose orders the failed transaction found: they were stored before it began."""
        for position in sorted(failed.settled, reverse=True):
            self._decided(group.pop(position), line, failed.settled[position], failed.region)

    def _decided(self, ticket: Ticket, line: Line, decision: Decision, region: str) -> None:
        line.unknown.discard(ticket.request.order_id)
        if isinstance(decision, DropError):
            self._fail(ticket, decision)
            return
        if isinstance(decision, Confirmed):
            # A sale belongs to the Region that committed it, also when its answer was lost and this one found it.
            region = decision.order.region
            if decision.order.created_at in ticket.written_at:
                # Not an earlier request's order but this one's, written by the commit whose answer was lost.
                decision = replace(decision, replayed=False)
        self._resolve(ticket, decision, region)

    def _count_failure(self, group: list[Ticket], line: Line, failed: SaleFailed) -> None:
        self.transactions[failed.region, type(failed.error).__name__] += 1
        unknown = {order.id: order.created_at for order in failed.unknown}
        line.unknown |= unknown.keys() | {order.id for order in failed.unknown_cancelled}
        for ticket in group:
            ticket.attempts += 1
            # Of several purchases under one key, the first was to write the order and the others to find it.
            if isinstance(ticket.request, Purchase) and ticket.request.order_id in unknown:
                ticket.written_at.append(unknown.pop(ticket.request.order_id))

    def _drop_spent(self, group: list[Ticket], line: Line, error: DatabaseError | None) -> None:
        """Answer those whose budget allows no other transaction, let go of those whose buyers have hung up, and leave
        the others in the group."""
        now = asyncio.get_running_loop().time()
        for ticket in list(group):
            if ticket.answer.done():
                group.remove(ticket)
                self._release(ticket)
            elif ticket.attempts >= self._budget.attempts or ticket.deadline <= now:
                group.remove(ticket)
                self._give_up(ticket, line, error)

    def _give_up(self, ticket: Ticket, line: Line, error: DatabaseError | None) -> None:
        if ticket.request.order_id in line.unknown:
            self._fail(ticket, _unknown(ticket))
        elif isinstance(error, Unavailable):
            self._fail(ticket, error)
        else:
            self._resolve(ticket, _busy(), self.region)

    def _give_way(self, ticket: Ticket, line: Line) -> None:
        """Answer a purchase that waits in line, for one of a client with fewer. What is in flight goes on."""
        if ticket.in_line and not ticket.answer.done():
            self._give_up(ticket, line, None)

    def _expire(self, line: Line) -> None:
        """Answer those whose deadline passed in line, and come again for the next."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for ticket in line.take_over(now):
            if ticket.answer.done():
                self._release(ticket)
            else:
                self._give_up(ticket, line, None)
        when = line.next_expiry(now)
        line.expiry = None if when is None else loop.call_at(when, self._expire, line)

    def _leave(self, product_id: UUID, line: Line) -> None:
        """End the current task's service; the last to leave a line closes it."""
        line.serving.discard(asyncio.current_task())
        if not line.serving:
            for ticket in line.take_all():
                self._fail(ticket, line.broken_off(ticket, in_transaction=False))
            if line.expiry is not None:
                line.expiry.cancel()
            del self._lines[product_id]

    def _resolve(
        self,
        ticket: Ticket,
        decision: Answer,
        region: str,
    ) -> None:
        self._release(ticket)
        self._count(ticket.request, region, decision)
        if not ticket.answer.done():
            ticket.answer.set_result(Outcome(decision, ticket.attempts, region))

    def _fail(self, ticket: Ticket, error: Exception) -> None:
        self._release(ticket)
        self._count(ticket.request, self.region, error)
        if not ticket.answer.done():
            ticket.answer.set_exception(error)

    def _count(self, request: Request, region: str, answer: Answer | Exception) -> None:
        if isinstance(request, Purchase):
            self.outcomes[region, type(answer).__name__] += 1

    def _release(self, ticket: Ticket) -> None:
        if ticket.claim is not None:
            self._quota.give_back(ticket.claim)
            ticket.claim = None  # the two refer to each other


def _unknown(ticket: Ticket) -> OutcomeUnknown:
    return OutcomeUnknown(
        f"the connection was lost while order {ticket.request.order_id} was committed, and the database has not come "
        "back yet"
    )


def _time_left(group: list[Ticket]) -> float:
    """Seconds until the last deadline in the group; those before it are not to break off a transaction."""
    last = max(ticket.deadline for ticket in group)
    return min(TRANSACTION_TIMEOUT, max(LEAST_TIME, last - asyncio.get_running_loop().time()))


def _busy() -> Busy:
    # Spread over a second, so that those who were turned away together do not come back together.
    return Busy(retry_after_ms=random.randint(500, 1500))  # noqa: S311
