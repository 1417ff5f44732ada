"""The live stock subscription."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

import strawberry
from graphql import located_error

from api.drops import stock as live
from api.drops.limits import checked_id
from api.graphql.context import Info

PAUSE = 0.1
"""Seconds between two rounds of changes: nobody reads a number that changes more often, and a product that sells in
fifty commits a second would have fifty messages sent to each of its watchers."""


@strawberry.type(description="The stock of a product at one version.")
class StockChange:
    product_id: strawberry.ID = strawberry.field(description="The product.")
    stock: int = strawberry.field(description="Units that can be bought.")
    sold_out: bool = strawberry.field(description="Whether no unit is left.")
    version: int = strawberry.field(description="Rises by one with every change of the stock.")
    stale: bool = strawberry.field(description="The database is away; this is the last value known before.")

    @classmethod
    def of(cls, change: live.StockChange) -> "StockChange":
        level = change.level
        return cls(
            product_id=strawberry.ID(str(level.product_id)),
            stock=level.stock,
            sold_out=level.stock == 0,
            version=level.version,
            stale=change.stale,
        )


@strawberry.type(
    description="What is pushed, over a websocket (graphql-transport-ws) or as server-sent events (graphql-sse)."
)
class Subscription:
    @strawberry.subscription(
        description="The current stock of each product at once, then every change, in order of version; "
        "a slow reader skips to the latest."
    )
    async def stock_changed(
        self,
        info: Info,
        product_ids: Annotated[list[strawberry.ID], strawberry.argument(description="1 to 100 products to watch.")],
    ) -> AsyncIterator[StockChange]:
        try:
            ids = [checked_id("productIds", product_id) for product_id in product_ids]
            async with info.context.drops.publisher.watch(ids) as watcher:
                while True:
                    for change in await watcher.take():
                        # Telling thousands of the one before took its time.
                        yield StockChange.of(watcher.latest(change))
                    await asyncio.sleep(PAUSE)
        except Exception as error:
            # Graphql-core names the field only in errors of its own making, not in those of a source of events.
            raise located_error(error, path=info.path.as_list()) from error
