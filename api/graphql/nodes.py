"""Nodes by their ids, for clients that keep everything by id: Relay, and the normalised caches of Apollo and urql."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

import strawberry

from api.drops.catalogue import drops_by_id
from api.drops.limits import checked_id, checked_ids
from api.drops.products import get_products
from api.graphql.context import Context, Info
from api.graphql.drops import Drop
from api.graphql.node import Node
from api.graphql.orders import Order, visible_orders
from api.graphql.products import Product


@strawberry.type
class NodeQueries:
    @strawberry.field(
        description="The product, the drop or the order of this id, an order only if the caller may see it; null when "
        "there is none."
    )
    async def node(
        self, info: Info, id: Annotated[strawberry.ID, strawberry.argument(description="The UUID of the node.")]
    ) -> Node | None:
        context, node_id = info.context, checked_id("id", id)
        product = await context.drops.read_product(node_id, None, context.client)
        if product is not None:
            return Product.of(product)
        return (await _other_nodes(context, [node_id])).get(node_id)

    @strawberry.field(
        description="Products, drops and orders of the caller by their ids, in the order of the ids; null for an id of "
        "which there is none."
    )
    async def nodes(
        self,
        info: Info,
        ids: Annotated[list[strawberry.ID], strawberry.argument(description="1 to 100 UUIDs of nodes.")],
    ) -> list[Node | None]:
        context, node_ids = info.context, checked_ids("ids", ids)
        products = await get_products(context.drops.regions, node_ids)
        found: dict[UUID, Node] = {product_id: Product.of(product) for product_id, product in products.items()}
        missing = [node_id for node_id in dict.fromkeys(node_ids) if node_id not in found]
        if missing:
            found |= await _other_nodes(context, missing)
        return [found.get(node_id) for node_id in node_ids]


async def _other_nodes(context: Context, ids: Sequence[UUID]) -> dict[UUID, Node]:
    """The nodes of these ids that are no products, each kind in one read. Raises Unauthenticated, IssuerAway, Conflict,
    Unavailable."""
    drops = await drops_by_id(context.drops.regions, ids)
    found: dict[UUID, Node] = {drop_id: Drop.of(drop) for drop_id, drop in drops.items()}
    missing = [node_id for node_id in ids if node_id not in found]
    if missing:
        found |= {order.id: Order.of(order) for order in await visible_orders(context, missing)}
    return found
