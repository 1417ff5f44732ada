"""The span of a group's transaction, where one of its purchases is traced."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from api.database.database import Database
from api.database.traced import TracedDatabase
from api.drops.purchase import Batch, GroupFailed, execute_group
from api.drops.ticket import Ticket, time_left

if TYPE_CHECKING:
    from api.tracing.span import Span


async def execute_traced(
    database: Database,
    product_id: UUID,
    group: Sequence[Ticket],
    own: Sequence[int],
    committing: Callable[[int], None],
    keep_events: bool,
) -> Batch:
    """Execute a group; see execute_group. If a ticket of it is traced, the transaction has a span.

    The span is within the first traced ticket's, so that the trace of that purchase is whole. The other tickets' spans
    are of other traces, and link to it.
    """
    requests, timeout = [ticket.request for ticket in group], time_left(group)
    traced = [ticket.span for ticket in group if ticket.span is not None]
    if not traced:
        return await execute_group(database, product_id, requests, own, timeout, committing, keep_events)
    span = traced[0].child("transaction", {"dropzero.product.id": str(product_id), "dropzero.group.size": len(group)})
    for each in traced:
        each.link(span)
    observed = TracedDatabase(database, span)
    try:
        batch = await execute_group(observed, product_id, requests, own, timeout, committing, keep_events)
        span.set("dropzero.transaction.end", "sold" if batch.committed else "sold_nothing")
    except GroupFailed as failed:
        _note_failure(span, failed)
        raise
    finally:
        span.end()
    return batch


def _note_failure(span: "Span", failed: GroupFailed) -> None:
    kind = type(failed.error).__name__
    span.set("dropzero.transaction.end", kind)
    span.fail(kind)
