"""What an earlier purchase has bought, found again by its key."""

from typing import Annotated

import strawberry

from api.drops.decisions import Cancelled, Replayed
from api.drops.limits import checked_id, checked_text
from api.drops.orders import get_order
from api.drops.requests import Purchase
from api.drops.ticket import Outcome
from api.graphql.context import Info
from api.graphql.purchase import PurchaseResult, result_of


@strawberry.type
class PurchaseByKeyQueries:
    @strawberry.field(
        description="The order that a purchase under this key has placed, as `purchase` answers when it is sent again: "
        "PurchaseConfirmed or PurchaseHeld with `replayed`, or PurchaseCancelled; `attempts` is 0. Nothing is bought. "
        "Null if nothing has been bought under the key up to now: a request that is still under way may buy."
    )
    async def purchase_by_key(
        self,
        info: Info,
        product_id: Annotated[strawberry.ID, strawberry.argument(description="The product of the purchase.")],
        idempotency_key: Annotated[str, strawberry.argument(description="The key of the purchase.")],
        user_ref: Annotated[
            str | None,
            strawberry.argument(
                description="The buyer: the caller's own subject if left out. Another buyer's is for the operator."
            ),
        ] = None,
    ) -> PurchaseResult | None:
        context = info.context
        user_ref = None if user_ref is None else checked_text("userRef", user_ref)
        purchase = Purchase.checked(
            product_id=checked_id("productId", product_id),
            user_ref=context.caller.subject_for(user_ref),
            quantity=1,  # the id of an order does not depend on it
            idempotency_key=idempotency_key,
        )
        order = await get_order(context.drops.regions, purchase.order_id)
        if order is None:
            return None
        product = await context.drops.read_product(order.product_id, None, context.client)
        decision = Replayed(order) if order.status.has_units else Cancelled(order)
        return result_of(Outcome(decision, product, attempts=0, region=order.region))
