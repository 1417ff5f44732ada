"""Cancelling an order, in the line of its product."""

from dataclasses import dataclass
from uuid import UUID

from api.database.database import Database
from api.database.errors import Conflict
from api.database.retry import RetryBudget, run_again
from api.drops.decisions import Cancellation, CancelRequest
from api.drops.errors import NotFound
from api.drops.group_commit import GroupCommit
from api.drops.orders import Order, OrderStatus, get_order
from api.drops.products import Product, get_product
from api.drops.ticket import Busy


@dataclass(frozen=True, slots=True)
class CancelledOrder:
    """A cancelled order, and its product right after. `first`: this request cancelled it, and no earlier one."""

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
) -> CancelledOrder:
    """Cancel an order and return its units to stock, exactly once however often it is requested.

    A cancellation waits in the line of its product and is decided in a group of its purchases. In a transaction of its
    own it could conflict with theirs.

    `user_ref` is the buyer who sent the request, None for the operator. `client` is charged for it. Raises NotFound,
    also when the order is another buyer's, Conflict when nothing was changed, Unavailable, OutcomeUnknown.
    """

    async def look_up() -> CancelRequest | CancelledOrder:
        order = await get_order(database, order_id)
        if order is None:
            raise NotFound(f"there is no order {order_id}")
        if user_ref is not None and user_ref != order.user_ref:
            raise NotFound(f"there is no order {order_id}")  # that another buyer has it is shown to nobody
        if order.status is OrderStatus.CANCELLED:  # a cancelled order stays cancelled
            return CancelledOrder(order, await get_product(database, order.product_id), first=False)
        return CancelRequest(order_id, order.product_id, order.user_ref, user_ref)

    found = await run_again(look_up, budget, safe_after_lost_commit=True)
    if isinstance(found, CancelledOrder):
        return found
    outcome = await group_commit.submit(found, client)
    if isinstance(outcome.decision, Busy):
        raise Conflict("the line of the product was too long for this cancellation")
    assert isinstance(outcome.decision, Cancellation), "a CancelRequest is decided as a Cancellation"
    assert outcome.product is not None, "an order has a product"
    return CancelledOrder(outcome.decision.order, outcome.product, outcome.decision.first)
