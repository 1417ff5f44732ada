"""Confirming an order that was paid, in the line of its product."""

from dataclasses import dataclass
from uuid import UUID

from api.database.database import Database
from api.database.errors import Conflict
from api.database.retry import RetryBudget
from api.drops.decisions import Gone, Paid
from api.drops.group_commit import GroupCommit
from api.drops.limits import checked_text
from api.drops.orders import Order, find_order
from api.drops.products import Product
from api.drops.requests import ConfirmRequest
from api.drops.ticket import Busy


@dataclass(frozen=True, slots=True)
class PaidOrder:
    """An order whose payment was reported, and its product right after. `decision`: whether the order is confirmed for
    this payment, or gone, and the payment has to be refunded."""

    decision: Paid | Gone
    product: Product

    @property
    def order(self) -> Order:
        return self.decision.order


async def confirm_order(
    database: Database,
    group_commit: GroupCommit,
    order_id: UUID,
    payment_ref: str,
    client: str,
    budget: RetryBudget,
) -> PaidOrder:
    """Confirm an order for a payment, once however often it is requested. An order that has lapsed takes its units
    again, if there are enough and the buyer's limit allows it; otherwise it is gone for ever.

    `payment_ref` names the payment. `client` is charged for the request. Raises InvalidInput, NotFound,
    AlreadyConfirmed when the order was confirmed without this payment, Conflict when nothing was changed, Unavailable,
    OutcomeUnknown.
    """
    payment_ref = checked_text("paymentRef", payment_ref)
    order = await find_order(database, order_id, None, budget)
    request = ConfirmRequest(order_id, order.product_id, order.user_ref, payment_ref)
    outcome = await group_commit.submit(request, client)
    if isinstance(outcome.decision, Busy):
        raise Conflict("the line of the product was too long for this confirmation")
    assert isinstance(outcome.decision, Paid | Gone), "a ConfirmRequest is decided as Paid or Gone"
    assert outcome.product is not None, "an order has a product"
    return PaidOrder(outcome.decision, outcome.product)
