"""Changes of products: the operator's mutations beside creating and restocking."""

import logging
from datetime import datetime
from typing import Annotated

import strawberry
from strawberry import UNSET

from api.drops.limits import MAX_DESCRIPTION, checked_id
from api.drops.operator_log import Action
from api.drops.product_changes import Change, ProductUpdate, archive, pause, resume
from api.drops.products import CHANGEABLE, MAX_HOLD, MIN_HOLD
from api.graphql.context import Info
from api.graphql.details import DescriptionInput, ImageInput, PriceInput, checked_details
from api.graphql.products import Product
from api.identity.caller import Role

logger = logging.getLogger("dropzero.operator")


@strawberry.input(description="New values of a product. A field that is left out stays; null removes a value.")
class UpdateProductInput:
    product_id: strawberry.ID = strawberry.field(description="The product.")
    revision: int = strawberry.field(
        description="The product's `revision`, as you have read it. If it has been changed since, the answer is the "
        "error STALE_REVISION, and nothing is changed."
    )
    name: str | None = strawberry.field(default=UNSET, description="1 to 200 characters; not null.")
    description: str | None = strawberry.field(
        default=UNSET, description=f"What buyers should know, 1 to {MAX_DESCRIPTION} characters in several lines."
    )
    opens_at: datetime | None = strawberry.field(
        default=UNSET, description="When buying begins, with a UTC offset; at once if null."
    )
    closes_at: datetime | None = strawberry.field(
        default=UNSET, description="When buying ends, with a UTC offset, later than `opensAt`; never if null."
    )
    limit_per_buyer: int | None = strawberry.field(
        default=UNSET,
        description="Units that one buyer can hold, 1 or more; no limit if null. Units of earlier "
        "orders count, also where there was no limit then.",
    )
    hold_seconds: int | None = strawberry.field(
        default=UNSET,
        description=f"Seconds that a buyer has to pay, {MIN_HOLD} to {MAX_HOLD}, for purchases from now on; final at "
        "once if null.",
    )
    descriptions: list[DescriptionInput] | None = strawberry.field(
        default=UNSET, description="Descriptions for readers of other languages, in place of all that there are."
    )
    images: list[ImageInput] | None = strawberry.field(
        default=UNSET, description="Pictures, the first one foremost, in place of all that there are."
    )
    price: PriceInput | None = strawberry.field(
        default=UNSET, description="What one unit costs, for purchases from now on; no price if null."
    )
    family: str | None = strawberry.field(
        default=UNSET,
        description="The name that it shares with products of the drop that differ only in their `option`, 1 to 200 "
        "characters.",
    )
    option: str | None = strawberry.field(
        default=UNSET, description="What sets it apart in its family, such as a size, 1 to 200 characters."
    )


@strawberry.type
class ProductChangeMutations:
    @strawberry.mutation(
        description="Operator only. Changes a product, whose `revision` then rises by one. From the answer on, "
        "nothing is sold on the old terms."
    )
    async def update_product(
        self,
        info: Info,
        input: Annotated[UpdateProductInput, strawberry.argument(description="The product and its new values.")],
    ) -> Product | None:
        info.context.caller.require(Role.OPERATOR)
        given = {field: value for field in CHANGEABLE if (value := getattr(input, field)) is not UNSET}
        values = {field: checked_details(CHANGEABLE[field], value) for field, value in given.items()}
        update = ProductUpdate.checked(checked_id("productId", input.product_id), input.revision, values)
        return await _change(info, input.product_id, update.apply, Action.PRODUCT_UPDATED)

    @strawberry.mutation(
        description="Operator only. Stops the sale: from the answer on nothing is sold, and purchases are answered "
        "PurchasePaused. Holds can still be paid. A product that is paused already stays as it is."
    )
    async def pause_product(
        self, info: Info, product_id: Annotated[strawberry.ID, strawberry.argument(description="The product.")]
    ) -> Product | None:
        return await _change(info, product_id, pause, Action.PRODUCT_PAUSED)

    @strawberry.mutation(
        description="Operator only. Sells again a product that is paused or archived. Others stay as they are."
    )
    async def resume_product(
        self, info: Info, product_id: Annotated[strawberry.ID, strawberry.argument(description="The product.")]
    ) -> Product | None:
        return await _change(info, product_id, resume, Action.PRODUCT_RESUMED)

    @strawberry.mutation(
        description="Operator only. Ends the sale, and takes the product off the list `products`. Its orders stay, and "
        "`product` still finds it. `resumeProduct` brings it back."
    )
    async def archive_product(
        self, info: Info, product_id: Annotated[strawberry.ID, strawberry.argument(description="The product.")]
    ) -> Product | None:
        return await _change(info, product_id, archive, Action.PRODUCT_ARCHIVED)


async def _change(info: Info, product_id: str, change: Change, action: Action) -> Product:
    """Raises Unauthenticated, IssuerAway, Forbidden, and the errors of change_product."""
    caller = info.context.caller
    caller.require(Role.OPERATOR)
    only = checked_id("productId", product_id)
    product = await info.context.drops.change_product(only, change, caller.name, action)
    logger.info(
        "%s by %s: the product %s has the revision %d",
        action,
        caller.name,
        product.id,
        product.revision,
        extra=info.context.log_fields,
    )
    return Product.of(product)
