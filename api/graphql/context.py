"""The context of resolvers: the drops, the caller, and a loader that gathers reads of products."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias
from uuid import UUID

import strawberry
from strawberry.dataloader import DataLoader

from api.database.database import Database
from api.drops.drops import Drops
from api.drops.products import Product, get_products
from api.graphql.departure import Departure
from api.identity.caller import Caller
from api.identity.gate import Gate
from api.identity.guests import GuestToken
from api.identity.joint_turns import JointTurns
from api.identity.turns import Turns


@dataclass(frozen=True)
class Context:
    """The context of one operation.

    `client`: who is charged for the operation, see client_key. `turns`: for work of the operation that takes more than
    a moment. `gate`: charges the client with all of the operation's work. `departure`: of the client, which can leave
    early. `new_guest`: makes a guest's token for the address that the request came from; None in a subscription.
    """

    drops: Drops
    caller: Caller
    client: str
    turns: Turns | JointTurns
    gate: Gate
    departure: Departure = field(default_factory=Departure)
    new_guest: Callable[[], GuestToken] | None = None

    @cached_property
    def products(self) -> DataLoader[UUID, Product | None]:
        """Gathers reads of products. It does not cache: a subscription lasts for hours."""
        return _loader(self.drops.regions)

    def products_through(self, region: str | None) -> DataLoader[UUID, Product | None]:
        """Gathers reads through one Region, home for None. Raises UnknownRegion."""
        if region is None:
            return self.products
        pool = self.drops.regions.pool(region)
        return self._regional.setdefault(pool.region, _loader(pool))

    @cached_property
    def _regional(self) -> dict[str, DataLoader[UUID, Product | None]]:
        return {}


def _loader(database: Database) -> DataLoader[UUID, Product | None]:
    async def load(ids: list[UUID]) -> list[Product | None]:
        found = await get_products(database, ids)
        return [found.get(product_id) for product_id in ids]

    return DataLoader(load_fn=load, cache=False)


Info: TypeAlias = strawberry.Info[Context, None]
