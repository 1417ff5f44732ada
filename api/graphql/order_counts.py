"""How many orders a product has, by their status."""

from typing import Annotated

import strawberry

from api.drops.errors import NotFound
from api.drops.limits import checked_id
from api.drops.order_counts import OrderCount as StoredCount
from api.graphql.context import Info
from api.identity.caller import Role


@strawberry.type(description="Orders of one status.")
class OrderCount:
    orders: int = strawberry.field(description="How many there are.")
    units: int = strawberry.field(description="The units in them.")

    @classmethod
    def of(cls, count: StoredCount) -> "OrderCount":
        return cls(orders=count.orders, units=count.units)


@strawberry.type(
    description="The orders of a product by their status, all counted at one moment. Its stock and the units held and "
    "confirmed are the units put in (`stocked`)."
)
class OrderCounts:
    held: OrderCount = strawberry.field(description="Orders that wait for their payment.")
    confirmed: OrderCount = strawberry.field(description="Orders whose units are the buyers'.")
    cancelled: OrderCount = strawberry.field(description="Orders that were cancelled or released.")
    lapsed: OrderCount = strawberry.field(description="Orders that were not paid in time.")


@strawberry.type
class OrderCountQueries:
    @strawberry.field(
        description="How many orders a product has, and their units, for the operator and support. Every order is "
        "read: ask every few seconds at most."
    )
    async def order_counts(
        self, info: Info, product_id: Annotated[strawberry.ID, strawberry.argument(description="The product.")]
    ) -> OrderCounts:
        info.context.caller.require(Role.SUPPORT)
        drops, id_ = info.context.drops, checked_id("productId", product_id)
        counts = await drops.order_counts.of(id_)
        if not any(count.orders for count in counts.values()) and await drops.product_reads.get(id_) is None:
            raise NotFound(f"there is no product {id_}")
        return OrderCounts(**{status.value.lower(): OrderCount.of(count) for status, count in counts.items()})
