"""Cancelling an order, in the line of its product."""

from uuid import UUID

from api.database.database import Database
from api.database.errors import Conflict
from api.database.retry import RetryBudget, run_again
from api.drops.errors import Forbidden, NotFound
from api.drops.group_commit import GroupCommit
from api.drops.line import Busy
from api.drops.orders import Cancellation, OrderStatus, get_order
from api.drops.products import get_product
from api.drops.purchase import CancelRequest


async def cancel_order(
    database: Database, lines: GroupCommit, order_id: UUID, user_ref: str | None, client: str, budget: RetryBudget
) -> Cancellation:
    """Cancel an order and return its units to stock, exactly once however often it is asked.

    A cancellation changes the same row as the purchases of its product. In a transaction of its own it would make
    theirs start over, and the other way round, so it goes with them.

    `user_ref` is the buyer who sent the request, None for the operator. `client` is the one that it came from. Raises
    NotFound, Forbidden when the order is another buyer's, Conflict when nothing was changed, Unavailable,
    OutcomeUnknown.
    """

    async def look_up() -> CancelRequest | Cancellation:
        order = await get_order(database, order_id)
        if order is None:
            raise NotFound(f"there is no order {order_id}")
        if user_ref is not None and user_ref != order.user_ref:
            raise Forbidden("this order was placed by another buyer; only that buyer or the operator can cancel it")
        if order.status is OrderStatus.CANCELLED:  # which it will stay
            return Cancellation(order, await get_product(database, order.product_id), first=False)
        return CancelRequest(order_id, order.product_id, user_ref)

    found = await run_again(look_up, budget, safe_after_lost_commit=True)
    if isinstance(found, Cancellation):
        return found
    outcome = (await lines.submit(found, client)).decision
    if isinstance(outcome, Busy):
        raise Conflict("the line of the product was too long for this cancellation")
    assert isinstance(outcome, Cancellation)  # noqa: S101 - what a CancelRequest is decided as
    return outcome
