"""The live stock subscription."""

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter
from typing import Annotated

import strawberry
from graphql import located_error

from api.drops.limits import checked_id
from api.drops.stock import StockChange as Change
from api.graphql.context import Info
from api.graphql.public import PUBLIC

PAUSE = 0.1
"""Seconds between two rounds of changes. Nobody reads a number that changes more often. Without the pause, each watcher
of a product that sells in fifty commits a second would get fifty messages a second."""


@strawberry.type(description="The stock of a product at one version.")
class StockChange:
    product_id: strawberry.ID = strawberry.field(description="The product.")
    stock: int = strawberry.field(description="Units that can be bought: exactly those at this version.")
    sold_out: bool = strawberry.field(description="Whether no unit is left.")
    version: int = strawberry.field(description="Rises with every change of the stock, by one or more.")
    revision: int = strawberry.field(
        description="Rises when an operator changes the product, or pauses its sale: read the product again then."
    )
    stale: bool = strawberry.field(description="Whether this is the last known stock, because the database is away.")

    @property
    def subject(self) -> str:
        """A later change of the same product replaces this one."""
        return self.product_id

    @property
    def is_kept(self) -> bool:
        """A subscriber that joins later begins with it."""
        return True

    @classmethod
    def of(cls, change: Change) -> "StockChange":
        level = change.level
        return cls(
            product_id=strawberry.ID(str(level.product_id)),
            stock=level.stock,
            sold_out=level.stock == 0,
            version=level.version,
            revision=level.revision,
            stale=change.stale,
        )


@strawberry.type
class StockSubscriptions:
    @strawberry.subscription(
        description="The current stock of each product at once, then every change, in order of version. "
        "A client that reads slowly skips to the latest change.",
        metadata=PUBLIC,
    )
    async def stock_changed(
        self,
        info: Info,
        product_ids: Annotated[list[strawberry.ID], strawberry.argument(description="1 to 100 products to watch.")],
    ) -> AsyncIterator[StockChange]:
        try:
            ids = [checked_id("productIds", product_id) for product_id in product_ids]
            publisher = info.context.drops.publisher
            async with publisher.watch(ids) as watcher:
                while True:
                    for change in await watcher.take():
                        # Sending the previous change to thousands took a while; a newer one may have come since.
                        latest = watcher.latest(change)
                        yield StockChange.of(latest)
                        # The broadcast asks for the next change when it has sent this one to its last watcher.
                        publisher.delivery_seconds.add(perf_counter() - latest.since)
                    await asyncio.sleep(PAUSE)
        except Exception as error:
            # graphql-core adds the field to the errors that it raises itself, not to those of a source of events.
            raise located_error(error, path=info.path.as_list()) from error
