"""The subscription to what operators create and change."""

from collections.abc import AsyncIterator

import strawberry
from graphql import located_error

from api.graphql.context import Info
from api.graphql.expiry import before_expiry
from api.graphql.products import Product
from api.graphql.public import PUBLIC


@strawberry.type
class ProductFeedSubscriptions:
    @strawberry.subscription(
        description="Every product that an operator creates, changes, pauses, resumes or archives from now on, about a "
        "second later. Purchases and restocks change no product: see `stockChanged` for those. A client that reads "
        "slowly skips to the latest change of each product. A client that misses changes gets an error: subscribe "
        "again, and then read the products again.",
        metadata=PUBLIC,
    )
    async def products_changed(self, info: Info) -> AsyncIterator[Product]:
        try:
            async with info.context.drops.product_feed.follow() as follower:
                while True:
                    yield Product.of(await before_expiry(info.context.caller, follower.take()))
        except Exception as error:
            # graphql-core adds the field to the errors that it raises itself, not to those of a source of events.
            raise located_error(error, path=info.path.as_list()) from error
