"""Orders: the type, its connection, the queries, the cancellation and the release."""

import logging
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from typing import Annotated
from uuid import UUID

import strawberry

from api.drops.keyset import Page
from api.drops.limits import checked_id, checked_text
from api.drops.order_search import OrderSearch, list_orders
from api.drops.orders import Order as StoredOrder
from api.drops.orders import OrderStatus as StoredStatus
from api.drops.orders import get_orders
from api.drops.products import Product as StoredProduct
from api.graphql.context import Context, Info
from api.graphql.details import Price
from api.graphql.node import Node
from api.graphql.pagination import After, Before, First, Last, PageInfo
from api.graphql.products import Product
from api.identity.caller import Role

logger = logging.getLogger("dropzero.operator")


@strawberry.enum(description="What has become of an order.")
class OrderStatus(Enum):
    HELD = strawberry.enum_value("HELD", description="The buyer has its units until the hold runs out or is paid.")
    CONFIRMED = strawberry.enum_value("CONFIRMED", description="The buyer has its units.")
    CANCELLED = strawberry.enum_value("CANCELLED", description="Its units were returned to stock.")
    LAPSED = strawberry.enum_value("LAPSED", description="It was not paid in time; its units were returned to stock.")


@strawberry.type(description="Units of one product that one buyer bought.")
class Order(Node):
    id: strawberry.ID = strawberry.field(description="A UUID; derived from the idempotency key, if there was one.")
    user_ref: str = strawberry.field(description="The buyer: the subject of the caller who bought, see `viewer`.")
    quantity: int = strawberry.field(description="Units bought.")
    status: OrderStatus = strawberry.field(description="What has become of the order.")
    region: str = strawberry.field(description="The regional endpoint that committed the purchase.")
    created_at: datetime = strawberry.field(description="When it was bought, by the database's clock.")
    held_until: datetime | None = strawberry.field(
        description="When its hold runs out, by the database's clock (see `now`); null unless it is held."
    )
    confirmed_at: datetime | None = strawberry.field(
        description="When it was paid, or bought if it needed no payment; null if it never was confirmed."
    )
    price: Price | None = strawberry.field(
        description="What one unit cost when it was bought; null if the product had no price then."
    )
    stored: strawberry.Private[StoredOrder]
    read_product: strawberry.Private[StoredProduct | None] = None

    @strawberry.field(description="The product, with its stock at the moment of reading.")
    async def product(self, info: Info) -> Product:
        product = self.read_product or await info.context.drops.product_reads.get(self.stored.product_id)
        assert product is not None  # products are never deleted
        return Product.of(product)

    @strawberry.field(
        description="A short code for people, such as K7QM-2XRD-9HTV, without characters that look alike. It follows "
        "from the id: among 100,000 orders, two have the same with a probability of 1 to 7 million."
    )
    def reference(self) -> str:
        return self.stored.reference

    @strawberry.field(
        description="The payment that confirmed it, for the operator, support and payments; null for all others. Of a "
        "LAPSED order it is the payment that came too late, and has to be refunded."
    )
    def payment_ref(self, info: Info) -> str | None:
        caller = info.context.caller
        return self.stored.payment_ref if caller.has(Role.SUPPORT, Role.PAYMENTS) else None

    @classmethod
    def of(cls, order: StoredOrder, product: StoredProduct | None = None) -> "Order":
        """`product`, if it was read together with the order: a second read could fail, and the answer would lack the
        order."""
        return cls(
            id=strawberry.ID(str(order.id)),
            user_ref=order.user_ref,
            quantity=order.quantity,
            status=OrderStatus(order.status.value),
            region=order.region,
            created_at=order.created_at,
            held_until=order.held_until,
            confirmed_at=order.confirmed_at,
            price=Price.of(order.price),
            stored=order,
            read_product=product,
        )


@strawberry.type(description="An order and its place in the list.")
class OrderEdge:
    cursor: str = strawberry.field(description="The order's place in the list; pass it as `after` or `before`.")
    node: Order = strawberry.field(description="The order.")


@strawberry.type(description="A page of orders, newest first.")
class OrderConnection:
    edges: list[OrderEdge] = strawberry.field(description="The orders of this page, with their cursors.")
    nodes: list[Order] = strawberry.field(description="The orders of this page.")
    page_info: PageInfo = strawberry.field(description="The place of this page in the list.")

    @classmethod
    def of(cls, page: Page[StoredOrder]) -> "OrderConnection":
        cursors = [order.cursor.encode() for order in page.items]
        nodes = [Order.of(order) for order in page.items]
        edges = [OrderEdge(cursor=cursor, node=node) for cursor, node in zip(cursors, nodes, strict=True)]
        return cls(edges=edges, nodes=nodes, page_info=PageInfo.of(page, cursors))


@strawberry.input(description="An order to cancel, and the buyer who cancels it.")
class CancelOrderInput:
    order_id: strawberry.ID = strawberry.field(description="The order.")
    user_ref: str | None = strawberry.field(
        default=None, description="The buyer who placed it: the caller if left out. Another's is for the operator."
    )


async def visible_orders(context: Context, ids: Sequence[UUID]) -> list[StoredOrder]:
    """Those of the orders that exist and that the caller may see, in one read. Raises Unauthenticated, IssuerAway,
    Conflict, Unavailable."""
    context.caller.require_valid_token()  # to a buyer whose token has expired, no order would seem to be there
    orders = await get_orders(context.drops.regions, ids)
    return [order for order in orders if context.caller.may_see(order.user_ref)]


@strawberry.type
class OrderQueries:
    @strawberry.field(
        description="Orders, newest first, in pages (Relay cursor connections): the caller's own. For the operator "
        "those of the buyer `userRef`, and of all buyers without it."
    )
    async def orders(
        self,
        info: Info,
        first: First = None,
        after: After = None,
        last: Last = None,
        before: Before = None,
        user_ref: Annotated[
            str | None, strawberry.argument(description="The buyer: the caller if left out, or all for the operator.")
        ] = None,
        product_id: Annotated[
            strawberry.ID | None, strawberry.argument(description="Only orders of this product.")
        ] = None,
        reference: Annotated[
            str | None,
            strawberry.argument(
                description="Only orders of this code, such as K7QM-2XRD-9HTV: in upper or lower case, with or without "
                "hyphens and blanks."
            ),
        ] = None,
        status: Annotated[
            OrderStatus | None,
            strawberry.argument(
                description="Only orders of this status. CONFIRMED, CANCELLED and LAPSED need a `productId` or a "
                "`userRef` as well, except for the caller's own orders."
            ),
        ] = None,
        since: Annotated[
            datetime | None, strawberry.argument(description="Only orders that were bought at this moment or later.")
        ] = None,
        until: Annotated[
            datetime | None, strawberry.argument(description="Only orders that were bought before this moment.")
        ] = None,
    ) -> OrderConnection:
        search = OrderSearch(
            info.context.caller.orders_of(None if user_ref is None else checked_text("userRef", user_ref)),
            None if product_id is None else checked_id("productId", product_id),
            reference,
            None if status is None else StoredStatus(status.value),
            since,
            until,
        )
        page = await list_orders(info.context.drops.regions, first, after, search, last=last, before=before)
        return OrderConnection.of(page)

    @strawberry.field(description="One order; null when the caller has no order of this id.")
    async def order(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The order's UUID.")]
    ) -> Order | None:
        return next((Order.of(order) for order in await visible_orders(info.context, [checked_id("id", id)])), None)


@strawberry.type
class OrderMutations:
    @strawberry.mutation(
        description="Cancels an order, confirmed or held, for the buyer who placed it, the operator or support. "
        "Returns its units to stock exactly once. A lapsed order stays as it is."
    )
    async def cancel_order(
        self,
        info: Info,
        input: Annotated[CancelOrderInput, strawberry.argument(description="The order, and the buyer who cancels it.")],
    ) -> Order | None:
        order_id = checked_id("orderId", input.order_id)
        caller = info.context.caller
        buyer = caller.orders_of(None if input.user_ref is None else checked_text("userRef", input.user_ref))
        operator = caller.name if caller.roles else None
        cancellation = await info.context.drops.cancel_order(order_id, buyer, info.context.client, operator)
        if cancellation.first and caller.roles:
            logger.info(
                "%s cancelled the order %s of %s",
                caller.name,
                order_id,
                cancellation.order.user_ref,
                extra=info.context.log_fields,
            )
        return Order.of(cancellation.order, cancellation.product)

    @strawberry.mutation(
        description="Cancels an order if it is still held, for the buyer who placed it, the operator, support or "
        "payments. Returns its units to stock exactly once. An order that has been paid meanwhile stays CONFIRMED, and "
        "one that has lapsed LAPSED."
    )
    async def release_order(
        self,
        info: Info,
        order_id: Annotated[strawberry.ID, strawberry.argument(description="The order.")],
        user_ref: Annotated[
            str | None,
            strawberry.argument(
                description="The buyer who placed it: the caller if left out. Another's is for the operator, support "
                "and payments."
            ),
        ] = None,
    ) -> Order | None:
        caller = info.context.caller
        buyer = caller.holds_of(None if user_ref is None else checked_text("userRef", user_ref))
        operator = caller.name if caller.roles else None
        release = await info.context.drops.release_order(
            checked_id("orderId", order_id), buyer, info.context.client, operator
        )
        if release.first and caller.roles:
            logger.info(
                "%s released the order %s of %s",
                caller.name,
                release.order.id,
                release.order.user_ref,
                extra=info.context.log_fields,
            )
        return Order.of(release.order, release.product)
