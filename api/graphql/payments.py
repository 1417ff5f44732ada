"""Payments: the shop's backend confirms an order that was paid."""

import logging
from typing import Annotated, TypeAlias

import strawberry

from api.drops.decisions import Paid
from api.drops.limits import checked_id
from api.drops.orders import OrderStatus
from api.graphql.context import Context, Info
from api.graphql.orders import Order
from api.identity.caller import Role

logger = logging.getLogger("dropzero.operator")


@strawberry.type(description="The order is paid, and its units are the buyer's for good.")
class OrderConfirmed:
    order: Order = strawberry.field(description="The order.")
    replayed: bool = strawberry.field(
        description="Whether an earlier request with the same payment had confirmed it; nothing was done again."
    )


@strawberry.type(
    description="The payment came too late: refund it. The order was cancelled, or its hold had run out and its units "
    "could not be taken again. It stays gone for every payment, whatever becomes of the stock."
)
class OrderGone:
    order: Order = strawberry.field(description="The order: its `status` is CANCELLED or LAPSED.")
    message: str = strawberry.field(description="What became of the order, in an English sentence.")


ConfirmResult: TypeAlias = Annotated[
    OrderConfirmed | OrderGone, strawberry.union("ConfirmResult", description="What became of a payment.")
]


@strawberry.type
class PaymentMutations:
    @strawberry.mutation(
        description="Operator and payments only (bearer token). Confirms an order that was paid: once, and for the "
        "same `paymentRef` ever after. An order whose hold has run out takes its units again, if there are enough and "
        "the buyer's limit allows it. Another `paymentRef` for a confirmed order is the error ALREADY_CONFIRMED."
    )
    async def confirm_order(
        self,
        info: Info,
        order_id: Annotated[strawberry.ID, strawberry.argument(description="The order.")],
        payment_ref: Annotated[
            str,
            strawberry.argument(
                description="The payment, by the name that the shop's payment provider has for it: 1 to 200 "
                "characters, kept in Unicode's form NFKC, without blanks at its ends."
            ),
        ],
    ) -> ConfirmResult | None:
        caller = info.context.caller
        caller.require(Role.PAYMENTS)
        paid = await info.context.drops.confirm_order(checked_id("orderId", order_id), payment_ref, info.context.client)
        order = Order.of(paid.order, paid.product)
        if isinstance(paid.decision, Paid):
            if paid.decision.first:
                _log(info.context, "confirmed", order, payment_ref)
            return OrderConfirmed(order=order, replayed=not paid.decision.first)
        _log(info.context, "reported a payment too late for", order, payment_ref)
        if paid.order.status is OrderStatus.CANCELLED:
            why = "The order has been cancelled."
        else:
            why = "The order's hold had run out, and its units could not be taken again."
        return OrderGone(order=order, message=f"{why} Refund the payment: the order stays gone.")


def _log(context: Context, done: str, order: Order, payment_ref: str) -> None:
    logger.info(
        "%s %s the order %s of %s (payment %.50a)",
        context.caller.name,
        done,
        order.id,
        order.user_ref,
        payment_ref,
        extra=context.log_fields,
    )
