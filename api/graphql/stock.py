"""The live stock subscription."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from time import perf_counter
from typing import Annotated

import strawberry
from graphql import located_error
from strawberry.types.nodes import SelectedField, Selection

from api.drops.limits import checked_id
from api.drops.stock_changes import StockChange as Change
from api.graphql.context import Info
from api.graphql.expiry import before_expiry
from api.graphql.products import Product
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
    change: strawberry.Private[Change]

    @strawberry.field(
        description="The product at exactly this version. Select its `id`, and a normalised cache has the new stock.",
        metadata=PUBLIC,
    )
    def product(self) -> Product:
        return Product.of(self.change.product)

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
            change=change,
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
            with_products = any(_selects(field.selections, "product") for field in info.selected_fields)
            async with publisher.watch(ids, with_products=with_products) as watcher:
                while True:
                    # The caller matters if fields of the product are not public, such as the units that are held.
                    for change in await before_expiry(info.context.caller, watcher.take()):
                        # Sending the previous change to thousands took a while; a newer one may have come since.
                        latest = watcher.latest(change)
                        yield StockChange.of(latest)
                        # The broadcast asks for the next change when it has sent this one to its last watcher.
                        publisher.delivery_seconds.add(perf_counter() - latest.since)
                    await asyncio.sleep(PAUSE)
        except Exception as error:
            # graphql-core adds the field to the errors that it raises itself, not to those of a source of events.
            raise located_error(error, path=info.path.as_list()) from error


def _selects(selections: Iterable[Selection], name: str) -> bool:
    """Whether a field of this name is among the selections, those of fragments included, whatever @skip and @include
    say."""
    return any(
        selection.name == name if isinstance(selection, SelectedField) else _selects(selection.selections, name)
        for selection in selections
    )
