"""Cancelling and releasing an order, in the line of its product."""

from dataclasses import dataclass
from uuid import UUID

from api.database.database import Database
from api.database.errors import Conflict
from api.database.retry import RetryBudget
from api.drops.decisions import Cancellation
from api.drops.group_commit import GroupCommit
from api.drops.orders import Order, find_order
from api.drops.products import Product
from api.drops.requests import CancelRequest, ReleaseRequest
from api.drops.ticket import Busy


@dataclass(frozen=True, slots=True)
class CancelledOrder:
    """An order that was to be cancelled or released, as it is then, and its product right after; see Cancellation.
    `first`: this request cancelled it, and no earlier one."""

    order: Order
    product: Product
    first: bool


async def cancel_order(
    database: Database,
    group_commit: GroupCommit,
    order_id: UUID,
    user_ref: str | None,
    client: str,
    budget: RetryBudget,
    operator: str | None = None,
) -> CancelledOrder:
    """Cancel an order, confirmed or held, and return its units to stock, exactly once however often it is requested.
    An order that has lapsed stays as it is.

    A cancellation waits in the line of its product and is decided in a group of its purchases. In a transaction of its
    own it could conflict with theirs.

    `user_ref` is the buyer who sent the request, None for the operator. `client` is charged for it. `operator` is the
    name that the operator log has, None for a buyer. Raises NotFound,
    also when the order is another buyer's, Conflict when nothing was changed, Unavailable, OutcomeUnknown.
    """
    order = await find_order(database, order_id, user_ref, budget)
    request = CancelRequest(order_id, order.product_id, order.user_ref, user_ref, operator)
    return await _submit(group_commit, request, client)


async def release_order(
    database: Database,
    group_commit: GroupCommit,
    order_id: UUID,
    user_ref: str | None,
    client: str,
    budget: RetryBudget,
    operator: str | None = None,
) -> CancelledOrder:
    """Cancel an order that is held, as cancel_order does. An order that has been paid meanwhile stays confirmed."""
    order = await find_order(database, order_id, user_ref, budget)
    request = ReleaseRequest(order_id, order.product_id, order.user_ref, user_ref, operator)
    return await _submit(group_commit, request, client)


async def _submit(group_commit: GroupCommit, request: CancelRequest, client: str) -> CancelledOrder:
    outcome = await group_commit.submit(request, client)
    if isinstance(outcome.decision, Busy):
        raise Conflict("the line of the product was too long for this cancellation")
    assert isinstance(outcome.decision, Cancellation), "a CancelRequest is decided as a Cancellation"
    assert outcome.product is not None, "an order has a product"
    return CancelledOrder(outcome.decision.order, outcome.product, outcome.decision.first)
