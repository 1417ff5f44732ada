"""The line: one product's queue in one process, and the tasks that serve it."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from uuid import UUID

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import Conflict, DatabaseError, OutcomeUnknown, Unavailable
from api.database.retry import RetryBudget
from api.drops.decisions import Confirmed, Decision, Held, Paid, Replayed, bought
from api.drops.errors import DropError
from api.drops.group_policy import GroupPolicy
from api.drops.products import Product
from api.drops.purchase import Batch, GroupFailed
from api.drops.requests import ConfirmRequest, Purchase, Request
from api.drops.shards import OwnShards, Shard
from api.drops.tally import Tally
from api.drops.ticket import Answer, Busy, Outcome, Ticket
from api.drops.traced_group import execute_traced
from api.identity.fair_queue import FairQueue
from api.identity.quota import Quota, QuotaSpent

logger = logging.getLogger("dropzero.purchase")

EXPIRY_INTERVAL = 0.05
"""Seconds between two searches for tickets whose deadline has passed: each search looks at every client."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the lines of one group commit have in common.

    `budget`: of each purchase, from the moment it arrives. `unanswered`: the purchases that are not answered yet.
    `publish` is called with each new stock, and `forget` with the product of a line that has nothing left to serve.
    `keep_events`: what happens is written to the outbox.
    """

    database: Database
    policy: GroupPolicy
    budget: RetryBudget
    backoff: Backoff
    unanswered: Quota
    tally: Tally
    publish: Callable[[Product, Sequence[Shard]], None]
    forget: Callable[[UUID], None]
    keep_events: bool


class Line:
    """The tickets of one product that wait in one process.

    The line serves its clients in turn, and the tickets of one client in their order. A task takes a group of tickets,
    runs its transaction and answers them, until no ticket waits. While its COMMIT is under way, another task can
    execute the next group, with units from another shard.
    """

    def __init__(self, product_id: UUID, terms: Terms, shards: OwnShards) -> None:
        self._product_id = product_id
        self._terms = terms
        self._shards = shards
        self._queue: FairQueue[Ticket] = FairQueue()
        self._size = terms.policy.size
        """Tickets in the next group at most."""
        self.serving: set[asyncio.Task[None]] = set()
        """The tasks that serve the line."""
        self._committing: set[asyncio.Task[None]] = set()
        """Those of them that have waited long for the answer of a COMMIT."""
        self._expiry: asyncio.TimerHandle | None = None
        self._unknown: set[UUID] = set()
        """Ids of orders and restocks that a COMMIT of unknown outcome was to write, and that no transaction has read
        since. Until one reads it, no request for such a row is answered as if nothing was changed. That holds for
        requests that were in no such COMMIT, too."""

    def join(self, ticket: Ticket) -> None:
        """Add a ticket at the end. It is answered Busy at once when there is no room for it."""
        terms = self._terms
        try:
            ticket.claim = terms.unanswered.take(ticket.client, 1, partial(self._give_way, ticket))
        except QuotaSpent:
            self._turn_away(ticket, None)
            return
        self._queue.push(ticket.client, ticket)
        if self._expiry is None:
            self._expiry = asyncio.get_running_loop().call_at(ticket.deadline, self._expire)
        self._serve_more()

    @property
    def _executing(self) -> int:
        """How many transactions are about to begin, or have not waited long for their COMMIT."""
        return len(self.serving) - len(self._committing)

    def _serve_more(self) -> None:
        """Start another task, if a ticket waits and the policy allows another transaction."""
        policy = self._terms.policy
        in_flight = min(policy.in_flight, max(policy.executing, self._shards.groups))
        if len(self._queue) and self._executing < policy.executing and len(self.serving) < in_flight:
            self.serving.add(asyncio.create_task(self._serve(), name="group commit"))

    async def _serve(self) -> None:
        """Take a group, run its transaction, and answer its tickets. After a failure, run the group again, with the
        tickets that have joined meanwhile. Returns when no ticket waits, or another task can take them."""
        terms = self._terms
        shard = self._shards.draw()
        group: list[Ticket] = []
        failures = 0
        in_transaction = False
        try:
            while self._fill(group):
                in_transaction = True
                try:
                    batch = await self._execute(group, shard)
                except GroupFailed as failed:
                    in_transaction = False  # nor while this task waits before the next attempt
                    self._count_failure(group, failed)
                    self._answer_settled(group, failed)
                    if isinstance(failed.error, Conflict):
                        shard = self._shards.move(shard)
                    if isinstance(failed.error, DatabaseError):
                        failures += 1
                        await asyncio.sleep(terms.backoff.delay(failures))
                        self._drop_spent(group, failed.error)
                    else:
                        self._halve(group, failed.error)
                else:
                    self._answer_batch(group, batch)
                    group.clear()
                    failures = 0
                    self._size = min(terms.policy.size, 2 * self._size)
                    if self._executing > terms.policy.executing:
                        break
        finally:
            for ticket in group:  # there are some only when this task was cancelled
                self._answer(ticket, self._stopped(ticket, in_transaction))
            self._shards.keep(shard)
            self._leave()

    async def _execute(self, group: list[Ticket], shard: int) -> Batch:
        """Run the transaction of a group. When its COMMIT takes long, another one can be executed."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        waiting: list[asyncio.TimerHandle] = []

        def committing(shards: int) -> None:
            self._shards.learn(shards)
            waiting.append(loop.call_later(self._terms.policy.short_commit, self._begin_beside, task))

        terms, own = self._terms, self._shards.beside(shard)
        terms.tally.count_group(len(group), len(self._queue))
        begun = loop.time()
        try:
            return await execute_traced(terms.database, self._product_id, group, own, committing, terms.keep_events)
        finally:
            for timer in waiting:
                timer.cancel()
            terms.tally.transaction_seconds.add(loop.time() - begun)
            self._committing.discard(task)

    def _begin_beside(self, task: "asyncio.Task[None]") -> None:
        """Let another task begin beside one that waits for its COMMIT."""
        self._committing.add(task)
        self._serve_more()

    def _fill(self, group: list[Ticket]) -> bool:
        """Move tickets from the queue into the group until it is full. Returns whether the group has any."""
        now = asyncio.get_running_loop().time()
        while len(group) < self._size and len(self._queue):
            _, ticket = self._queue.pop(1)
            ticket.queued = False
            if ticket.answer.done():  # its buyer has hung up, or it has given way
                self._release(ticket)
            elif ticket.deadline <= now:
                self._turn_away(ticket, None)
            else:
                group.append(ticket)
        return bool(group)

    def _halve(self, group: list[Ticket], error: Exception) -> None:
        """Some ticket of this group cannot be executed, or there is a defect. Halve the group until that ticket is
        alone, so that the others do not fail with it. Each success doubles the size of the next group."""
        if len(group) <= 1:
            for ticket in group:
                logger.error(
                    "the request for row %s cannot be executed: report it with this traceback",
                    ticket.request.row_ids[0],
                    exc_info=error,
                )
                self._answer(ticket, ticket.unknown if self._is_unknown(ticket) else error)
            group.clear()
            self._size = 1
            return
        self._drop_spent(group, None)
        half = max(1, len(group) // 2)
        for ticket in reversed(group[half:]):
            ticket.queued = True
            self._queue.put_back(ticket.client, ticket, 1)
        del group[half:]
        if self._expiry is not None:  # a ticket that was put back can have the earliest deadline
            self._expiry.cancel()
        self._expire()
        self._size = half

    def _answer_batch(self, group: list[Ticket], batch: Batch) -> None:
        self._terms.tally.count_transaction(
            self._product_id, batch.region, "sold" if batch.committed else "sold_nothing"
        )
        if batch.committed:
            self._shards.commit()
            assert batch.product is not None, "a product has changed"
            self._terms.publish(batch.product, batch.shards)
        for ticket, decision in zip(group, batch.decisions, strict=True):
            ticket.attempts += 1
            self._answer_decision(ticket, decision, batch.product, batch.region)
        assert all(ticket.answered for ticket in group), "each ticket of a group is answered"

    def _answer_settled(self, group: list[Ticket], failed: GroupFailed) -> None:
        """Answer the tickets whose orders were stored before the transaction that failed."""
        if failed.sale is not None:
            for position, decision in sorted(failed.sale.settled.items(), reverse=True):
                self._answer_decision(group.pop(position), decision, failed.sale.product, failed.region)

    def _answer_decision(
        self, ticket: Ticket, decision: Decision | DropError, product: Product | None, region: str
    ) -> None:
        self._unknown.difference_update(ticket.request.row_ids)
        if isinstance(decision, Confirmed | Held | Replayed):
            region = decision.order.region  # the Region that committed the order, also when a peer found it afterwards
        # The order is this ticket's own if the COMMIT whose answer was lost has written it.
        if isinstance(decision, Replayed) and decision.order.created_at in ticket.written_at:
            assert product is not None, "an order has a product"
            decision = bought(decision.order, product.stock)
        elif isinstance(decision, Paid) and decision.order.confirmed_at in ticket.written_at:
            decision = Paid(decision.order, first=True)
        self._answer(ticket, decision, product, region)

    def _count_failure(self, group: list[Ticket], failed: GroupFailed) -> None:
        self._terms.tally.count_transaction(self._product_id, failed.region, type(failed.error).__name__)
        written: dict[tuple[type[Request], UUID], datetime] = {}
        if failed.unknown is not None:
            now = failed.unknown.snapshot.now
            written = {(Purchase, order.id): now for order in failed.unknown.placed}
            written |= {(ConfirmRequest, order_id): now for order_id in failed.unknown.changed}
            self._unknown |= failed.unknown.written
        for ticket in group:
            ticket.attempts += 1
            # Of several requests for one order, the first was to write it and the others to find it.
            written_at = written.pop((type(ticket.request), ticket.request.row_ids[0]), None)
            if written_at is not None:
                ticket.written_at.append(written_at)

    def _drop_spent(self, group: list[Ticket], error: DatabaseError | None) -> None:
        """Answer the tickets of a group whose budget allows no other transaction, and drop those whose buyers have hung
        up. The others stay in the group."""
        now = asyncio.get_running_loop().time()
        for ticket in list(group):
            if ticket.answer.done():
                group.remove(ticket)
                self._release(ticket)
            elif ticket.attempts >= self._terms.budget.attempts or ticket.deadline <= now:
                group.remove(ticket)
                self._turn_away(ticket, error)

    def _turn_away(self, ticket: Ticket, error: DatabaseError | None) -> None:
        """Answer a ticket that is not tried again. `error` is what its last transaction ended with."""
        if self._is_unknown(ticket):
            self._answer(ticket, ticket.unknown)
        elif isinstance(error, Unavailable):
            self._answer(ticket, error)
        else:
            self._answer(ticket, Busy.now())

    def _give_way(self, ticket: Ticket) -> None:
        """Answer a ticket that waits in the queue, to make room for a client with fewer. A ticket in a transaction
        stays."""
        if ticket.queued and not ticket.answer.done():
            self._turn_away(ticket, None)

    def _expire(self) -> None:
        """Answer the tickets whose deadline passed in the queue, and schedule the next call.

        The tickets of one client are in the order of their deadlines, as all have the same budget. Only a ticket whose
        product had to be looked up first can stay beyond its deadline, for as long as that took.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        for ticket in self._queue.drop_heads(lambda ticket: ticket.answer.done() or ticket.deadline <= now):
            if ticket.answer.done():
                self._release(ticket)
            else:
                self._turn_away(ticket, None)
        earliest = min((ticket.deadline for ticket in self._queue.heads()), default=None)
        when = None if earliest is None else max(earliest, now + EXPIRY_INTERVAL)
        self._expiry = None if when is None else loop.call_at(when, self._expire)

    def _leave(self) -> None:
        """End the current task's service; the last task to leave closes the line."""
        task = asyncio.current_task()
        assert task is not None
        self.serving.discard(task)
        if not self.serving:
            for ticket in self._queue.drop_heads(lambda _: True):
                if not ticket.answered:  # it has not given way
                    self._answer(ticket, self._stopped(ticket, in_transaction=False))
            if self._expiry is not None:
                self._expiry.cancel()
            self._terms.forget(self._product_id)

    def _stopped(self, ticket: Ticket, in_transaction: bool) -> DatabaseError:
        """The error for a request that was still waiting when the server stopped."""
        if in_transaction or self._is_unknown(ticket):
            return OutcomeUnknown("the server stopped before the outcome was known")
        return Unavailable("the server stopped before this request was tried again")

    def _is_unknown(self, ticket: Ticket) -> bool:
        """Whether a COMMIT of unknown outcome was to write the request's row."""
        return not self._unknown.isdisjoint(ticket.request.row_ids)

    def _answer(
        self, ticket: Ticket, answer: Answer | Exception, product: Product | None = None, region: str | None = None
    ) -> None:
        """Answer a ticket and count the answer. `region`: the Region that decided; None for the Region in use."""
        assert not ticket.answered, "a ticket is answered once"
        ticket.answered = True
        region = self._terms.database.region if region is None else region
        self._release(ticket)
        if isinstance(ticket.request, Purchase):
            kind = type(bought(answer.order, 0)) if isinstance(answer, Replayed) else type(answer)
            seconds = asyncio.get_running_loop().time() - ticket.arrived
            self._terms.tally.count_purchase(self._product_id, region, kind.__name__, ticket.attempts, seconds)
        if ticket.answer.done():  # its buyer has hung up
            return
        if isinstance(answer, Exception):
            ticket.answer.set_exception(answer)
        else:
            ticket.answer.set_result(Outcome(answer, product, ticket.attempts, region))

    def _release(self, ticket: Ticket) -> None:
        if ticket.claim is not None:
            self._terms.unanswered.give_back(ticket.claim)
            ticket.claim = None  # the two refer to each other
