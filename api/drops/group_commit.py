"""Group commit: purchases of one product that wait together are committed together.

While a transaction of a product is executed, arriving purchases wait in the product's line, and the next transaction
takes all of them. It begins when the first one sends its COMMIT. The published alternative, one transaction per
purchase, is the same code with groups of one and as many transactions at a time as there are rivals; it is kept for
comparison.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.retry import RetryBudget
from api.drops.group_policy import GroupPolicy
from api.drops.line import Line, Terms
from api.drops.products import Product
from api.drops.requests import Request
from api.drops.shards import OwnShards, Shard
from api.drops.tally import Tally
from api.drops.ticket import Outcome, Ticket, traced_outcome
from api.identity.quota import Quota

if TYPE_CHECKING:
    from api.tracing.span import Span


class GroupCommit:
    """The lines of all products through one `Database`: a single Region, or all of them."""

    def __init__(
        self,
        database: Database,
        policy: GroupPolicy,
        budget: RetryBudget,
        publish: Callable[[Product, Sequence[Shard]], None],
        backoff: Backoff = Backoff(),
        keep_events: bool = False,
    ) -> None:
        """`budget`: of each purchase, from the moment it arrives. `publish` is called with each new stock.
        `keep_events`: what happens is written to the outbox."""
        self._lines: dict[UUID, Line] = {}
        self._shards: dict[UUID, OwnShards] = {}
        """Of each product that was sold here, also while it has no line: its next line finds its shards again."""
        unanswered = Quota(policy.max_unanswered)
        self._terms = Terms(database, policy, budget, backoff, unanswered, Tally(), publish, self._forget, keep_events)

    @property
    def unanswered(self) -> int:
        """Purchases not answered yet, in line and in flight."""
        return self._terms.unanswered.taken

    @property
    def region(self) -> str:
        """The Region that the next transaction would go through."""
        return self._terms.database.region

    @property
    def transactions(self) -> Counter[tuple[str, str]]:
        """See Tally.transactions."""
        return self._terms.tally.transactions

    @property
    def outcomes(self) -> Counter[tuple[str, str]]:
        """See Tally.outcomes."""
        return self._terms.tally.outcomes

    @property
    def tally(self) -> Tally:
        return self._terms.tally

    async def submit(
        self, request: Request, client: str = "", deadline: float | None = None, span: "Span | None" = None
    ) -> Outcome:
        """Put a request into the line of its product, and return the outcome once it is known. A transaction that is
        in flight at the deadline is awaited, until the latest deadline in its group.

        The line serves its clients in turn: `client` is where the request came from. `deadline` is by the event loop's
        clock; without one, all of the budget is left. `span` is what the request's own span is within; None for a
        request that is not traced.

        Raises a DropError when the request can never be executed; Unavailable when the database did not answer, with
        nothing sold; OutcomeUnknown when the connection was lost at COMMIT and the database did not answer in time.
        """
        loop = asyncio.get_running_loop()
        now = loop.time()
        deadline = now + self._terms.budget.seconds if deadline is None else deadline
        ticket = Ticket(request, client, now, deadline, loop.create_future())
        if span is not None:
            ticket.span = span.child("wait in line", {"dropzero.product.id": str(request.product_id)})
        line = self._lines.get(request.product_id)
        if line is None:
            shards = self._shards.setdefault(request.product_id, OwnShards())
            line = Line(request.product_id, self._terms, shards)
        line.join(ticket)
        if line.serving:
            self._lines[request.product_id] = line
        return await (ticket.answer if ticket.span is None else traced_outcome(ticket, ticket.span))

    async def close(self, grace: float) -> None:
        """Answer every request in line; cancel the transactions that are still in flight after `grace` seconds."""
        serving = [task for line in self._lines.values() for task in line.serving]
        if serving:
            _, late = await asyncio.wait(serving, timeout=grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _forget(self, product_id: UUID) -> None:
        del self._lines[product_id]
