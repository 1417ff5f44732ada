"""Group commit: purchases of one product that wait together are committed together.

While a transaction of a product is in flight, arriving purchases stand in line, and the next transaction takes
the whole line. The published alternative, one transaction per purchase, is the same code with a group of one
and as many transactions at a time as there are rivals; it is kept for comparison.
"""

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import UUID

from api.database.backoff import Backoff
from api.database.errors import DatabaseError, OutcomeUnknown, Unavailable
from api.database.pool import TRANSACTION_TIMEOUT, Pool
from api.database.retry import RetryBudget
from api.drops.errors import DropError
from api.drops.purchase import (
    Confirmed,
    Decisions,
    LimitReached,
    NotOpen,
    Purchase,
    SoldOut,
    execute_purchases,
)
from api.drops.stock import StockLevel

logger = logging.getLogger("dropzero.purchase")

LEAST_TIME = 0.1
"""Seconds that a transaction is given even when the deadlines of all in it have come."""


@dataclass(frozen=True, slots=True)
class GroupPolicy:
    """How purchases of one product are grouped.

    `size`: purchases in one transaction at most. A confirmed order writes a row and three index entries; 500
    of them stay well inside Aurora DSQL's 3,000 changed rows, even if it should count index entries.
    `in_flight`: transactions of one product at a time.
    `waiting`: purchases at one endpoint that are not answered yet, of all products, at most; past it the
    answer is Busy, at once.
    """

    size: int = 500
    in_flight: int = 1
    waiting: int = 20_000


@dataclass(frozen=True, slots=True)
class Busy:
    """Nothing was sold, because the attempts, the deadline or the line are spent. Come back in a while."""

    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a purchase, through how many transactions, and the Region that decided it."""

    decision: Confirmed | SoldOut | NotOpen | LimitReached | Busy
    attempts: int
    region: str


@dataclass(slots=True, eq=False)
class _Waiting:
    """A purchase in line, and the future that its buyer waits on."""

    purchase: Purchase
    deadline: float
    answer: "asyncio.Future[Outcome]"
    attempts: int = 0
    unknown: bool = False
    """A commit that held this purchase was lost: only the database can tell whether it is sold."""


@dataclass(slots=True)
class _Line:
    """The purchases of one product that wait, and the tasks that serve them."""

    waiting: deque[_Waiting] = field(default_factory=deque)
    serving: set["asyncio.Task[None]"] = field(default_factory=set)
    expiry: asyncio.TimerHandle | None = None


class GroupCommit:
    """The lines of all products at one regional endpoint."""

    def __init__(
        self,
        pool: Pool,
        policy: GroupPolicy,
        budget: RetryBudget,
        on_commit: Callable[[StockLevel], None],
        backoff: Backoff = Backoff(),
    ) -> None:
        """`budget` is each purchase's own, from the moment it arrives; `on_commit` hears each new stock."""
        self._pool = pool
        self._policy = policy
        self._budget = budget
        self._on_commit = on_commit
        self._backoff = backoff
        self._lines: dict[UUID, _Line] = {}
        self.waiting = 0
        """Purchases not answered yet, in line and in flight."""
        self.transactions: Counter[str] = Counter()
        """Transactions run, by how they ended: sold, sold_nothing, or the name of an error."""
        self.outcomes: Counter[str] = Counter()
        """Purchases answered, by outcome, or the name of an error."""

    @property
    def region(self) -> str:
        return self._pool.region

    async def submit(self, purchase: Purchase) -> Outcome:
        """Stand in line, and return the outcome once it is known.

        Raises a DropError when the purchase can never be carried out; Unavailable when the database stayed
        away, with nothing sold; OutcomeUnknown when it went away at COMMIT and did not come back in time.
        """
        if self.waiting >= self._policy.waiting:
            self.outcomes["Busy"] += 1
            return Outcome(_busy(), 0, self._pool.region)
        self.waiting += 1
        try:
            return await self._stand_in_line(purchase)
        finally:
            self.waiting -= 1

    def _stand_in_line(self, purchase: Purchase) -> "asyncio.Future[Outcome]":
        loop = asyncio.get_running_loop()
        line = self._lines.setdefault(purchase.product_id, _Line())
        waiting = _Waiting(purchase, loop.time() + self._budget.seconds, loop.create_future())
        line.waiting.append(waiting)
        if line.expiry is None:
            line.expiry = loop.call_at(waiting.deadline, self._expire, line)
        if len(line.serving) < self._policy.in_flight:
            task = asyncio.create_task(self._serve(purchase.product_id, line), name="group commit")
            line.serving.add(task)
        return waiting.answer

    async def close(self, grace: float) -> None:
        """Answer everyone in line; after `grace` seconds, break off what is still in flight."""
        serving = [task for line in self._lines.values() for task in line.serving]
        if serving:
            _, late = await asyncio.wait(serving, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _serve(self, product_id: UUID, line: _Line) -> None:
        """Serve the line until nobody waits: take a group, run its transaction, answer; after a conflict run
        it again with whoever has joined meanwhile."""
        group: list[_Waiting] = []
        size = self._policy.size
        failures = 0
        try:
            while self._fill(group, line, size):
                try:
                    result = await execute_purchases(
                        self._pool, product_id, [waiting.purchase for waiting in group], _time_left(group)
                    )
                except DatabaseError as error:
                    self.transactions[type(error).__name__] += 1
                    failures += 1
                    _count_failure(group, error)
                    await asyncio.sleep(self._backoff.delay(failures))
                    group = [waiting for waiting in group if self._may_try_again(waiting, error)]
                except Exception as error:
                    self.transactions["failed"] += 1
                    _count_failure(group, error)
                    # Not the database's state but one of the purchases, or a defect. Halve the group until it
                    # stands alone, so that it fails none of its neighbours.
                    if len(group) == 1:
                        logger.exception("purchase %s cannot be executed", group[0].purchase.order_id)
                        self._fail(group.pop(), error)
                        size = self._policy.size
                    else:
                        size = len(group) // 2
                        line.waiting.extendleft(reversed(group[size:]))
                        del group[size:]
                else:
                    self.transactions["sold_nothing" if result.level is None else "sold"] += 1
                    self._answer(group, result)
                    group.clear()
                    size = self._policy.size
                    failures = 0
        finally:
            for waiting in group:  # only when this task was cancelled: nobody waits for ever
                self._fail(waiting, OutcomeUnknown("the server stopped before the outcome was known"))
            self._leave(product_id, line)

    def _leave(self, product_id: UUID, line: _Line) -> None:
        """End the current task's service; the last to leave a line closes it."""
        line.serving.discard(asyncio.current_task())
        if not line.serving:
            for waiting in line.waiting:
                self._fail(waiting, Unavailable("the server stopped before this purchase was tried"))
            if line.expiry is not None:
                line.expiry.cancel()
            del self._lines[product_id]

    def _fill(self, group: list[_Waiting], line: _Line, size: int) -> bool:
        """Take from the line, first come first served, until the group has `size`; whether there is a group."""
        while line.waiting and len(group) < size:
            waiting = line.waiting.popleft()
            if not waiting.answer.done():  # its buyer may have hung up
                group.append(waiting)
        return bool(group)

    def _answer(self, group: list[_Waiting], result: Decisions) -> None:
        if result.level is not None:
            self._on_commit(result.level)
        for waiting, decision in zip(group, result.decisions, strict=True):
            waiting.attempts += 1
            if isinstance(decision, DropError):
                self._fail(waiting, decision)
                continue
            if waiting.unknown and isinstance(decision, Confirmed):
                # What it found is its own order, written by the commit whose answer was lost.
                decision = replace(decision, replayed=False)
            self._resolve(waiting, decision)

    def _may_try_again(self, waiting: _Waiting, error: DatabaseError) -> bool:
        """Whether the budget allows another transaction; if not, the purchase is answered here."""
        now = asyncio.get_running_loop().time()
        if waiting.attempts < self._budget.attempts and now < waiting.deadline:
            return True
        self._give_up(waiting, error)
        return False

    def _give_up(self, waiting: _Waiting, error: DatabaseError | None) -> None:
        if waiting.unknown:
            self._fail(
                waiting,
                OutcomeUnknown(
                    f"the connection was lost while order {waiting.purchase.order_id} was committed, and the "
                    "database has not come back yet"
                ),
            )
        elif isinstance(error, Unavailable):
            self._fail(waiting, error)
        else:
            self._resolve(waiting, _busy())

    def _expire(self, line: _Line) -> None:
        """Answer those whose deadline passed in line. All have the same budget, so the first is the next."""
        loop = asyncio.get_running_loop()
        while line.waiting and (line.waiting[0].answer.done() or line.waiting[0].deadline <= loop.time()):
            self._give_up(line.waiting.popleft(), None)
        line.expiry = loop.call_at(line.waiting[0].deadline, self._expire, line) if line.waiting else None

    def _resolve(self, waiting: _Waiting, decision: Confirmed | SoldOut | NotOpen | LimitReached | Busy) -> None:
        self.outcomes[type(decision).__name__] += 1
        if not waiting.answer.done():
            waiting.answer.set_result(Outcome(decision, waiting.attempts, self._pool.region))

    def _fail(self, waiting: _Waiting, error: Exception) -> None:
        self.outcomes[type(error).__name__] += 1
        if not waiting.answer.done():
            waiting.answer.set_exception(error)


def _count_failure(group: list[_Waiting], error: Exception) -> None:
    for waiting in group:
        waiting.attempts += 1
        waiting.unknown = waiting.unknown or isinstance(error, OutcomeUnknown)


def _time_left(group: list[_Waiting]) -> float:
    """Seconds until the last deadline in the group; those before it are not to break off a transaction."""
    last = max(waiting.deadline for waiting in group)
    return min(TRANSACTION_TIMEOUT, max(LEAST_TIME, last - asyncio.get_running_loop().time()))


def _busy() -> Busy:
    # Spread over a second, so that those who were turned away together do not come back together.
    return Busy(retry_after_ms=random.randint(500, 1500))  # noqa: S311
