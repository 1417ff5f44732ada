"""The clock by which drops open: the query `now`."""

from datetime import datetime

import strawberry

from api.drops.clock import read_clock
from api.graphql.context import Info
from api.graphql.public import PUBLIC


@strawberry.type
class ClockQueries:
    @strawberry.field(
        description="The time of the database's clock. Drops open by it, so a countdown need not depend on the buyer's "
        "own clock.",
        metadata=PUBLIC,
    )
    async def now(self, info: Info) -> datetime:
        return await read_clock(info.context.drops.regions)
