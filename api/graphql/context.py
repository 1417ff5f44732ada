"""What resolvers are given: the drops, who is calling, and a loader that gathers reads of products."""

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from api.drops.drops import Drops
from api.drops.products import Product, get_products
from api.graphql.caller import Caller


@dataclass(frozen=True, slots=True)
class Context:
    """One operation's context."""

    drops: Drops
    caller: Caller
    products: DataLoader[UUID, Product | None]


Info: TypeAlias = strawberry.Info[Context, None]


def make_context(drops: Drops, caller: Caller) -> Context:
    """A context for one operation. The loader batches and never caches: on a long subscription it would go stale."""

    async def load(ids: list[UUID]) -> list[Product | None]:
        found = await get_products(drops.regions.home, ids)
        return [found.get(product_id) for product_id in ids]

    return Context(drops, caller, DataLoader(load_fn=load, cache=False))
