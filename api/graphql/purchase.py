"""The purchase mutation and the outcomes that it answers with."""

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import strawberry
from strawberry.types.arguments import InputContext

from api.drops.decisions import (
    Cancellation,
    Cancelled,
    Closed,
    Confirmed,
    Gone,
    Held,
    Lapsed,
    LimitReached,
    NotOpen,
    Paid,
    Paused,
    Replayed,
    Restocked,
    SoldOut,
)
from api.drops.limits import checked_id, checked_text
from api.drops.orders import Order as StoredOrder
from api.drops.orders import OrderStatus as StoredStatus
from api.drops.products import Product as StoredProduct
from api.drops.requests import Purchase
from api.drops.ticket import Busy, Outcome
from api.graphql.context import Info
from api.graphql.orders import Order
from api.graphql.products import Product


@strawberry.enum(description="What became of a purchase.")
class PurchaseStatus(Enum):
    CONFIRMED = strawberry.enum_value("CONFIRMED", description="Sold to this buyer.")
    HELD = strawberry.enum_value("HELD", description="The buyer's until the hold runs out, and for good once paid.")
    SOLD_OUT = strawberry.enum_value("SOLD_OUT", description="Fewer units are left than were asked for.")
    NOT_OPEN = strawberry.enum_value("NOT_OPEN", description="The drop has not opened yet.")
    PAUSED = strawberry.enum_value("PAUSED", description="The sale is stopped for a while.")
    CLOSED = strawberry.enum_value("CLOSED", description="The sale has ended.")
    LIMIT_REACHED = strawberry.enum_value("LIMIT_REACHED", description="The buyer would hold more than the limit.")
    CANCELLED = strawberry.enum_value(
        "CANCELLED", description="Bought by an earlier request under the same key, and cancelled or lapsed since."
    )
    BUSY = strawberry.enum_value("BUSY", description="Nothing was sold; to be sent again in a while.")


@strawberry.interface(
    description="A business outcome is a result, not an error. "
    "Top-level errors are for faults and for input that can never work."
)
class PurchaseResult:
    status: PurchaseStatus = strawberry.field(description="The outcome, which the type shows as well.")
    message: str = strawberry.field(description="The outcome in an English sentence.")
    attempts: int = strawberry.field(description="Transactions that this purchase went through.")
    region: str = strawberry.field(description="The regional endpoint that decided it.")
    read_product: strawberry.Private[StoredProduct | None]

    @strawberry.field(
        description="The product as the deciding transaction left it, which may have served other buyers too; of "
        "`purchaseByKey`, as it is now. Null only with BUSY, when no transaction has read it."
    )
    def product(self) -> Product | None:
        return None if self.read_product is None else Product.of(self.read_product)

    @classmethod
    def is_type_of(cls, value: object, _: object) -> bool:
        """Whether the value is of this type. Strawberry's own check, of every object, takes three times as long."""
        return isinstance(value, cls)

    @classmethod
    def resolve_type(cls, outcome: "PurchaseResult", *_: object) -> str:
        """The name of the outcome's type. Without this, Strawberry compares each outcome with all types."""
        return type(outcome).__name__


@strawberry.type(description="The buyer has an order.")
class PurchaseConfirmed(PurchaseResult):
    order: Order = strawberry.field(
        description="The order. Its product is as the transaction left it, which may have served other buyers too."
    )
    remaining: int = strawberry.field(
        description="Units left right after this purchase, exactly, in what its transaction had read. Purchases that "
        "commit at the same time do not count each other, and can leave the same number. Of an order that was found "
        "again (`replayed`): units left at the moment when it was found."
    )
    replayed: bool = strawberry.field(
        description="Whether an earlier request under the same idempotency key had bought it; nothing was sold again."
    )


@strawberry.type(
    description="The buyer has an order that has to be paid: a hold. Its units are the buyer's until `heldUntil`. Then "
    "they go back into the stock, unless the order was confirmed."
)
class PurchaseHeld(PurchaseResult):
    order: Order = strawberry.field(description="The order, with its product as in PurchaseConfirmed.")
    remaining: int = strawberry.field(description="Units left right after this purchase; see PurchaseConfirmed.")
    held_until: datetime = strawberry.field(description="When the hold runs out, by the database's clock (see `now`).")
    replayed: bool = strawberry.field(
        description="Whether an earlier request under the same idempotency key had bought it; nothing was held again."
    )


@strawberry.type(
    description="An earlier request under the same idempotency key bought this order, and since then it has been "
    "cancelled, or its hold has run out. Nothing was bought again; a new purchase needs a new key."
)
class PurchaseCancelled(PurchaseResult):
    order: Order = strawberry.field(
        description="The order: its `status` is CANCELLED or LAPSED. Its units have been returned to stock."
    )


@strawberry.type(description="Fewer units are left than were asked for.")
class PurchaseSoldOut(PurchaseResult):
    remaining: int = strawberry.field(
        description="Units left in what the transaction had read, 0 as a rule; fewer than were asked for."
    )


@strawberry.type(description="The drop has not opened yet.")
class PurchaseNotOpen(PurchaseResult):
    opens_at: datetime = strawberry.field(description="When it opens, by the database's clock.")


@strawberry.type(description="The sale is stopped, until the operator resumes it. The same key may be sent again then.")
class PurchasePaused(PurchaseResult):
    pass


@strawberry.type(description="The sale has ended.")
class PurchaseClosed(PurchaseResult):
    closed_at: datetime = strawberry.field(description="When it ended, by the database's clock.")


@strawberry.type(description="The buyer would hold more units than one buyer can.")
class PurchaseLimitReached(PurchaseResult):
    limit: int = strawberry.field(description="Units that one buyer can hold.")
    held: int = strawberry.field(description="Units in this buyer's confirmed and held orders.")


@strawberry.type(
    description="The retry budget, the deadline or the waiting line is spent. "
    "Nothing was sold; the same key may be sent again."
)
class PurchaseBusy(PurchaseResult):
    retry_after_ms: int = strawberry.field(description="Milliseconds to wait before sending it again.")


PURCHASE_RESULTS = (
    PurchaseConfirmed,
    PurchaseHeld,
    PurchaseCancelled,
    PurchaseSoldOut,
    PurchaseNotOpen,
    PurchasePaused,
    PurchaseClosed,
    PurchaseLimitReached,
    PurchaseBusy,
)


@strawberry.input(description="What to buy, and for whom.")
class PurchaseInput:
    product_id: strawberry.ID = strawberry.field(description="The product.")
    user_ref: str | None = strawberry.field(
        default=None,
        description="The buyer: the caller's own subject if left out, see `viewer`. Another buyer's is for the "
        "operator: 1 to 200 characters, kept in Unicode's form NFKC, without blanks at its ends.",
    )
    quantity: int = strawberry.field(default=1, description="Units to buy, 1 or more.")
    region: str | None = strawberry.field(
        default=None,
        description="The regional endpoint to buy through; the server's home Region if left out.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="1 to 200 characters. The same key from the same buyer for the same product is the same "
        "purchase, however often it is sent.",
    )


def _read_input(cls: type[PurchaseInput], value: Mapping[str, Any], _: InputContext) -> PurchaseInput:
    return cls(
        product_id=value["productId"],
        user_ref=value.get("userRef"),
        quantity=value["quantity"],
        region=value.get("region"),
        idempotency_key=value.get("idempotencyKey"),
    )


# graphql-core has checked and coerced the input. Strawberry's own way from there looks up every field's type and name
# anew, which takes 23 us of the 200 us that a purchase takes. Strawberry has this hook for its integrations
# (StrawberryObjectDefinition.from_input); only this input, the hottest, is worth it.
PurchaseInput.__strawberry_definition__.from_input = _read_input  # type: ignore[attr-defined]


@strawberry.type
class PurchaseMutations:
    @strawberry.mutation(description="Buys units of a product: all that were asked for, or none.")
    async def purchase(
        self,
        info: Info,
        input: Annotated[PurchaseInput, strawberry.argument(description="What to buy, and for whom.")],
    ) -> PurchaseResult | None:
        context = info.context
        user_ref = None if input.user_ref is None else checked_text("userRef", input.user_ref)
        purchase = Purchase.checked(
            product_id=checked_id("productId", input.product_id),
            user_ref=context.caller.subject_for(user_ref),
            quantity=input.quantity,
            idempotency_key=input.idempotency_key,
        )
        with context.departure.cancels():
            outcome = await context.drops.purchase(purchase, input.region, context.client, context.span)
        return result_of(outcome)


def result_of(outcome: Outcome) -> PurchaseResult:
    """The outcome of a purchase as clients get it."""
    product = outcome.product
    common: dict[str, Any] = {"attempts": outcome.attempts, "region": outcome.region, "read_product": product}
    match outcome.decision:
        case Confirmed(order, remaining):
            message = f"Confirmed: {order.quantity} bought."
            return _confirmed(Order.of(order, product), message, remaining, common, replayed=False)
        case Held(order, remaining):
            return _held(order, product, remaining, common, replayed=False)
        case Replayed(order):
            assert product is not None, "an order has a product"
            if order.held_until is not None:
                return _held(order, product, product.stock, common, replayed=True)
            message = "This purchase was confirmed before; nothing was bought again."
            return _confirmed(Order.of(order, product), message, product.stock, common, replayed=True)
        case Cancelled(order):
            return _cancelled(order, product, common)
        case SoldOut(remaining):
            return PurchaseSoldOut(
                status=PurchaseStatus.SOLD_OUT,
                message="Sold out." if remaining == 0 else f"Only {remaining} left.",
                **common,
                remaining=remaining,
            )
        case NotOpen(opens_at):
            return PurchaseNotOpen(
                status=PurchaseStatus.NOT_OPEN,
                message=f"Opens at {opens_at.isoformat()}.",
                **common,
                opens_at=opens_at,
            )
        case Paused():
            message = "The sale is paused. Please try again later."
            return PurchasePaused(status=PurchaseStatus.PAUSED, message=message, **common)
        case Closed(closed_at):
            message = f"The sale ended at {closed_at.isoformat(timespec='seconds')}."
            return PurchaseClosed(status=PurchaseStatus.CLOSED, message=message, **common, closed_at=closed_at)
        case LimitReached(limit, held):
            return PurchaseLimitReached(
                status=PurchaseStatus.LIMIT_REACHED,
                message=f"One buyer can hold {limit}; you hold {held}.",
                **common,
                limit=limit,
                held=held,
            )
        case Busy(retry_after_ms):
            return _busy(retry_after_ms, common)
        case Cancellation() | Paid() | Gone() | Lapsed() | Restocked():
            raise TypeError("a purchase was decided as another request")


def _confirmed(
    order: Order, message: str, remaining: int, common: dict[str, Any], *, replayed: bool
) -> PurchaseConfirmed:
    return PurchaseConfirmed(
        status=PurchaseStatus.CONFIRMED,
        message=message,
        **common,
        order=order,
        remaining=remaining,
        replayed=replayed,
    )


def _held(
    order: StoredOrder, product: StoredProduct | None, remaining: int, common: dict[str, Any], *, replayed: bool
) -> PurchaseHeld:
    assert order.held_until is not None, "a hold runs out"
    until = f"until {order.held_until.isoformat(timespec='seconds')}, and for good once the order is paid."
    return PurchaseHeld(
        status=PurchaseStatus.HELD,
        message=f"Held before: {order.quantity} {until}" if replayed else f"Held: {order.quantity} {until}",
        **common,
        order=Order.of(order, product),
        remaining=remaining,
        held_until=order.held_until,
        replayed=replayed,
    )


def _cancelled(order: StoredOrder, product: StoredProduct | None, common: dict[str, Any]) -> PurchaseCancelled:
    since = "its hold has run out" if order.status is StoredStatus.LAPSED else "it has been cancelled"
    return PurchaseCancelled(
        status=PurchaseStatus.CANCELLED,
        message=f"This purchase was made before and {since} since; use a new key to buy again.",
        **common,
        order=Order.of(order, product),
    )


def _busy(retry_after_ms: int, common: dict[str, Any]) -> PurchaseBusy:
    message = "Too many are buying at this moment. This request bought nothing; please try again."
    return PurchaseBusy(status=PurchaseStatus.BUSY, message=message, **common, retry_after_ms=retry_after_ms)
