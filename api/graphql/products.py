"""Products: the type, and the operator's mutations."""

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, cast
from uuid import UUID

import strawberry

from api.drops.details import MAX_DESCRIPTIONS, MAX_IMAGES, described_in
from api.drops.errors import InvalidInput
from api.drops.limits import MAX_DESCRIPTION, checked_id
from api.drops.new_product import NewProduct
from api.drops.products import MAX_HOLD, MIN_HOLD
from api.drops.products import Product as StoredProduct
from api.drops.requests import RestockRequest
from api.drops.shards import DEFAULT_SHARDS, MAX_SHARDS
from api.graphql.catalogue import Availability
from api.graphql.context import Info
from api.graphql.cost import LONG
from api.graphql.details import (
    Description,
    DescriptionInput,
    Image,
    ImageInput,
    Price,
    PriceInput,
    checked_details,
)
from api.graphql.node import Node
from api.graphql.public import PUBLIC
from api.identity.caller import Role

if TYPE_CHECKING:
    from api.graphql.drops import Drop

logger = logging.getLogger("dropzero.operator")


@strawberry.type(description="Something that is sold in a drop, with its stock at the moment of reading.")
class Product(Node):
    id: strawberry.ID = strawberry.field(description="A UUID.")
    name: str = strawberry.field(description="What is sold, 1 to 200 characters.")
    drop_name: str = strawberry.field(description="The drop it belongs to, 1 to 200 characters.")
    stock: int = strawberry.field(description="Units that can be bought: exactly those at the moment of reading.")
    sold_out: bool = strawberry.field(description="Whether no unit is left.")
    stocked: int = strawberry.field(
        description="Units put in and not taken back: the stock, the units held and the units sold."
    )
    version: int = strawberry.field(
        description="Rises with every change of the stock, by one or more; the same as `version` in `stockChanged`."
    )
    opens_at: datetime | None = strawberry.field(
        description="When buying begins, by the database's clock (see `now`); null when it began with the creation."
    )
    closes_at: datetime | None = strawberry.field(
        description="When buying ends, by the database's clock; null when no end is set."
    )
    paused_at: datetime | None = strawberry.field(
        description="Since when the operator has paused the sale; null when it is not paused."
    )
    archived_at: datetime | None = strawberry.field(
        description="When the operator archived it, and its sale ended for good; null when it is not archived."
    )
    revision: int = strawberry.field(
        description="Rises by one when an operator changes the product, or pauses its sale; `updateProduct` needs it."
    )
    limit_per_buyer: int | None = strawberry.field(
        description="Units that one buyer can hold in confirmed and held orders; null for no limit."
    )
    hold_seconds: int | None = strawberry.field(
        description="Seconds that a buyer has to pay: a purchase is held until then. Null when it is final at once."
    )
    created_at: datetime = strawberry.field(description="When the operator created it.")
    price: Price | None = strawberry.field(description="What one unit costs; null when the shop shows no price.")
    family: str | None = strawberry.field(
        description="The name that it shares with products of the same drop that differ only in their `option`, and "
        "that have a stock of their own each; null for a product that has no variants."
    )
    option: str | None = strawberry.field(description="What sets it apart in its family, such as a size or a colour.")
    stored: strawberry.Private[StoredProduct]

    @property
    def subject(self) -> str:
        """As an event of `productsChanged`, a later one of the same product replaces it."""
        return self.id

    @property
    def is_kept(self) -> bool:
        """A subscriber to `productsChanged` gets changes from then on."""
        return False

    @strawberry.field(description="Pictures of it, the first one foremost.", metadata=PUBLIC)
    def images(
        self,
        first: Annotated[
            int | None, strawberry.argument(description=f"Pictures at most, 1 to {MAX_IMAGES}.")
        ] = MAX_IMAGES,
    ) -> list[Image]:
        most = MAX_IMAGES if first is None else first
        if most < 1:
            raise InvalidInput(f"first must be between 1 and {MAX_IMAGES}, not {most}", "first")
        return [Image.of(image) for image in self.stored.images[:most]]

    @strawberry.field(
        description=f"The descriptions that are for one language each; {MAX_DESCRIPTIONS} at most.", metadata=PUBLIC
    )
    def descriptions(self) -> list[Description]:
        return [Description.of(description) for description in self.stored.descriptions]

    @strawberry.field(
        description="What buyers should know, in several lines of plain text; null if there is nothing. In the "
        "`language`, if it has a description of its own.",
        metadata={**PUBLIC, **LONG},
    )
    def description(
        self,
        language: Annotated[
            str | None, strawberry.argument(description="The reader's language: its tag of BCP 47, such as pt-BR.")
        ] = None,
    ) -> str | None:
        return described_in(language, self.stored.descriptions, self.stored.description)

    @strawberry.field(
        description="Units in held orders, for the operator, support and payments; null for all others. It is read "
        "after the stock, and can be a moment newer."
    )
    def held(self, info: Info) -> int | None:
        if not info.context.caller.has(Role.SUPPORT, Role.PAYMENTS):
            return None
        # An awaitable, which is awaited. An `async` resolver would make a task for each row of a stranger's page, too.
        return cast("int | None", info.context.drops.held_units.of(UUID(self.id)))

    @strawberry.field(
        description="Whether it can be bought at the moment of reading, by the database's clock.", metadata=PUBLIC
    )
    def availability(self) -> Availability:
        return Availability(self.stored.availability.value)

    @strawberry.field(description="The drop that it belongs to.", metadata=PUBLIC)
    def drop(self, info: Info) -> Annotated["Drop", strawberry.lazy("api.graphql.drops")]:
        from api.graphql.drops import drop_of  # the two modules need each other

        return cast("Drop", drop_of(self.stored, info.context.drops.drop_reads))

    @classmethod
    def of(cls, product: StoredProduct) -> "Product":
        return cls(
            id=strawberry.ID(str(product.id)),
            name=product.name,
            drop_name=product.drop_name,
            stock=product.stock,
            sold_out=product.stock == 0,
            stocked=product.stocked,
            version=product.version,
            opens_at=product.opens_at,
            closes_at=product.closes_at,
            paused_at=product.paused_at,
            archived_at=product.archived_at,
            revision=product.revision,
            limit_per_buyer=product.limit_per_buyer,
            hold_seconds=product.hold_seconds,
            created_at=product.created_at,
            price=Price.of(product.price),
            family=product.family,
            option=product.option,
            stored=product,
        )


@strawberry.input(description="A new product.")
class CreateProductInput:
    name: str = strawberry.field(description="1 to 200 characters.")
    drop_name: str = strawberry.field(description="The drop it belongs to, 1 to 200 characters.")
    stock: int = strawberry.field(description="Units to put in, 0 or more.")
    opens_at: datetime | None = strawberry.field(
        default=None, description="When buying begins, with a UTC offset; at once if left out."
    )
    closes_at: datetime | None = strawberry.field(
        default=None, description="When buying ends, with a UTC offset, later than `opensAt`; never if left out."
    )
    description: str | None = strawberry.field(
        default=None,
        description=f"What buyers should know, 1 to {MAX_DESCRIPTION} characters in several lines of plain text.",
    )
    descriptions: list[DescriptionInput] | None = strawberry.field(
        default=None, description="Descriptions for readers of other languages."
    )
    images: list[ImageInput] | None = strawberry.field(default=None, description="Pictures, the first one foremost.")
    price: PriceInput | None = strawberry.field(default=None, description="What one unit costs.")
    family: str | None = strawberry.field(
        default=None,
        description="The name that it shares with products of the drop that differ only in their `option`, 1 to 200 "
        "characters.",
    )
    option: str | None = strawberry.field(
        default=None, description="What sets it apart in its family, such as a size, 1 to 200 characters."
    )
    limit_per_buyer: int | None = strawberry.field(
        default=None, description="Units that one buyer can hold, 1 or more; no limit if left out."
    )
    hold_seconds: int | None = strawberry.field(
        default=None,
        description=f"Seconds that a buyer has to pay, {MIN_HOLD} to {MAX_HOLD}: a purchase is held until it is paid. "
        "It is final at once if left out.",
    )
    shards: int | None = strawberry.field(
        default=DEFAULT_SHARDS,
        description=f"Rows that its stock is spread over, 1 to {MAX_SHARDS}. Purchases through different servers and "
        "Regions do not wait for each other when they take units from different rows.",
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="1 to 200 characters. The same key is the same product, however often it is sent.",
    )


@strawberry.input(description="Units to add to a product, or to take back from it.")
class RestockInput:
    product_id: strawberry.ID = strawberry.field(description="The product.")
    delta: int = strawberry.field(
        description="Units to add; a negative number takes back units that nobody has bought. Not 0."
    )
    idempotency_key: str | None = strawberry.field(
        default=None,
        description="1 to 200 characters. The same key for the same product is the same restock, however often it is "
        "sent.",
    )


@strawberry.type
class ProductMutations:
    @strawberry.mutation(description="Operator only (bearer token). Creates a product with its stock.")
    async def create_product(
        self,
        info: Info,
        input: Annotated[CreateProductInput, strawberry.argument(description="The new product.")],
    ) -> Product | None:
        caller = info.context.caller
        caller.require(Role.OPERATOR)
        product = NewProduct.checked(
            name=input.name,
            drop_name=input.drop_name,
            stock=input.stock,
            opens_at=input.opens_at,
            closes_at=input.closes_at,
            description=input.description,
            descriptions=checked_details("descriptions", input.descriptions or ()),
            images=checked_details("images", input.images or ()),
            price=checked_details("price", input.price),
            family=input.family,
            option=input.option,
            limit_per_buyer=input.limit_per_buyer,
            hold_seconds=input.hold_seconds,
            shards=DEFAULT_SHARDS if input.shards is None else input.shards,
            idempotency_key=input.idempotency_key,
        )
        created = await info.context.drops.create_product(product, caller.name)
        logger.info(
            "%s created the product %s (%s) with %d units",
            caller.name,
            created.id,
            created.name,
            input.stock,
            extra=info.context.log_fields,
        )
        return Product.of(created)

    @strawberry.mutation(
        description="Operator only. Adds units to the stock; a negative delta takes units back, never below zero."
    )
    async def restock(
        self,
        info: Info,
        input: Annotated[RestockInput, strawberry.argument(description="The product and the units.")],
    ) -> Product | None:
        caller = info.context.caller
        caller.require(Role.OPERATOR)
        request = RestockRequest.checked(
            product_id=checked_id("productId", input.product_id),
            delta=input.delta,
            operator=caller.name,
            idempotency_key=input.idempotency_key,
        )
        product = await info.context.drops.restock(request, info.context.client)
        logger.info(
            "%s restocked the product %s by %+d units",
            caller.name,
            product.id,
            input.delta,
            extra=info.context.log_fields,
        )
        return Product.of(product)
