"""The purchase mutation and the outcomes that it answers with."""

from datetime import datetime
from enum import Enum
from typing import Annotated, Any

import strawberry
from graphql import GraphQLResolveInfo, GraphQLSchema

from api.drops.limits import checked_id
from api.drops.line import Busy, Outcome
from api.drops.orders import Cancellation
from api.drops.purchase import Cancelled, Confirmed, LimitReached, NotOpen, Purchase, SoldOut
from api.graphql.context import Context, Info
from api.graphql.orders import Order


@strawberry.enum(description="What became of a purchase.")
class PurchaseStatus(Enum):
    CONFIRMED = strawberry.enum_value("CONFIRMED", description="Sold to this buyer.")
    SOLD_OUT = strawberry.enum_value("SOLD_OUT", description="Fewer units are left than were asked for.")
    NOT_OPEN = strawberry.enum_value("NOT_OPEN", description="The drop has not opened yet.")
    LIMIT_REACHED = strawberry.enum_value("LIMIT_REACHED", description="The buyer would hold more than the limit.")
    CANCELLED = strawberry.enum_value(
        "CANCELLED", description="Bought by an earlier request under the same key, and cancelled since."
    )
    BUSY = strawberry.enum_value("BUSY", description="Nothing was sold; to be sent again in a while.")


@strawberry.interface(
    description="A business outcome is a result, not an error. "
    "Top-level errors are for faults and for input that can never work."
)
class PurchaseResult:
    status: PurchaseStatus = strawberry.field(description="The outcome, also told by the type.")
    message: str = strawberry.field(description="The outcome in an English sentence.")
    attempts: int = strawberry.field(description="Transactions that this purchase went through.")
    region: str = strawberry.field(description="The regional endpoint that decided it.")


@strawberry.type(description="The buyer has an order.")
class PurchaseConfirmed(PurchaseResult):
    order: Order = strawberry.field(
        description="The order. Its product is as the transaction left it, which may have served other buyers too."
    )
    remaining: int = strawberry.field(
        description="Units left right after this purchase. Of an order that was found again (`replayed`): units left "
        "at the moment when it was found."
    )
    replayed: bool = strawberry.field(
        description="Whether an earlier request under the same idempotency key had bought it; nothing was sold again."
    )


@strawberry.type(
    description="An earlier request under the same idempotency key bought this order, and it has been cancelled since. "
    "Nothing was bought again; a new purchase needs a new key."
)
class PurchaseCancelled(PurchaseResult):
    order: Order = strawberry.field(description="The cancelled order. Its units have been returned to stock.")


@strawberry.type(description="Fewer units are left than were asked for.")
class PurchaseSoldOut(PurchaseResult):
    remaining: int = strawberry.field(description="Units left, 0 as a rule.")


@strawberry.type(description="The drop has not opened yet.")
class PurchaseNotOpen(PurchaseResult):
    opens_at: datetime = strawberry.field(description="When it opens, by the database's clock.")


@strawberry.type(description="The buyer would hold more units than one buyer can.")
class PurchaseLimitReached(PurchaseResult):
    limit: int = strawberry.field(description="Units that one buyer can hold.")
    held: int = strawberry.field(description="Units that this buyer holds in confirmed orders.")


@strawberry.type(
    description="The retry budget, the deadline or the waiting line is spent. "
    "Nothing was sold; the same key may be sent again."
)
class PurchaseBusy(PurchaseResult):
    retry_after_ms: int = strawberry.field(description="Milliseconds to wait before sending it again.")


PURCHASE_RESULTS = (
    PurchaseConfirmed,
    PurchaseCancelled,
    PurchaseSoldOut,
    PurchaseNotOpen,
    PurchaseLimitReached,
    PurchaseBusy,
)


@strawberry.input(description="What to buy, and for whom.")
class PurchaseInput:
    product_id: strawberry.ID = strawberry.field(description="The product.")
    user_ref: str = strawberry.field(
        description="The buyer, 1 to 200 characters. It is kept in Unicode's form NFKC, without blanks at its ends."
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


@strawberry.type
class PurchaseMutations:
    @strawberry.mutation(description="Buys units of a product: all that were asked for, or none.")
    async def purchase(
        self,
        info: Info,
        input: Annotated[PurchaseInput, strawberry.argument(description="What to buy, and for whom.")],
    ) -> PurchaseResult | None:
        raise NotImplementedError("the schema says this field here, and read_purchase_input_as_it_is resolves it")


def read_purchase_input_as_it_is(schema: GraphQLSchema) -> None:
    """Let the purchase's resolver take its input as graphql-core has checked and coerced it.

    Strawberry would make a PurchaseInput of it first, looking every field's type and name up anew: a quarter of
    the time of a purchase up to its transaction. Only this one field, the hottest, is worth it.
    """

    async def resolve(_: None, info: GraphQLResolveInfo[Context], input: dict[str, Any]) -> PurchaseResult:
        return await _purchase(
            info.context,
            input["productId"],
            input["userRef"],
            input["quantity"],
            input.get("region"),
            input.get("idempotencyKey"),
        )

    assert schema.mutation_type is not None  # noqa: S101
    schema.mutation_type.fields["purchase"].resolve = resolve


async def _purchase(
    context: Context, product_id: str, user_ref: str, quantity: int, region: str | None, idempotency_key: str | None
) -> PurchaseResult:
    wanted = Purchase.checked(
        product_id=checked_id("productId", product_id),
        user_ref=user_ref,
        quantity=quantity,
        idempotency_key=idempotency_key,
    )
    with context.departure.cancels():
        outcome = await context.drops.purchase(wanted, region, context.client)
    return _result(outcome)


def _result(outcome: Outcome) -> PurchaseResult:
    reached: dict[str, Any] = {"attempts": outcome.attempts, "region": outcome.region}
    match outcome.decision:
        case Confirmed(order, product, remaining, replayed):
            return PurchaseConfirmed(
                status=PurchaseStatus.CONFIRMED,
                message="This purchase was confirmed before; nothing was bought again."
                if replayed
                else f"Confirmed: {order.quantity} bought.",
                **reached,
                order=Order.of(order, product),
                remaining=remaining,
                replayed=replayed,
            )
        case Cancelled(order, product):
            return PurchaseCancelled(
                status=PurchaseStatus.CANCELLED,
                message="This purchase was confirmed before and has been cancelled since; use a new key to buy again.",
                **reached,
                order=Order.of(order, product),
            )
        case SoldOut(remaining):
            return PurchaseSoldOut(
                status=PurchaseStatus.SOLD_OUT,
                message="Sold out." if remaining == 0 else f"Only {remaining} left.",
                **reached,
                remaining=remaining,
            )
        case NotOpen(opens_at):
            return PurchaseNotOpen(
                status=PurchaseStatus.NOT_OPEN,
                message=f"Opens at {opens_at.isoformat()}.",
                **reached,
                opens_at=opens_at,
            )
        case LimitReached(limit, held):
            return PurchaseLimitReached(
                status=PurchaseStatus.LIMIT_REACHED,
                message=f"One buyer can hold {limit}; you hold {held}.",
                **reached,
                limit=limit,
                held=held,
            )
        case Busy(retry_after_ms):
            return _busy(retry_after_ms, reached)
        case Cancellation():
            raise TypeError("a purchase was answered as a cancellation")


def _busy(retry_after_ms: int, reached: dict[str, Any]) -> PurchaseBusy:
    message = "Too many are buying at this moment. This request bought nothing; please try again."
    return PurchaseBusy(status=PurchaseStatus.BUSY, message=message, **reached, retry_after_ms=retry_after_ms)
