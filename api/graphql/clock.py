"""The time by which drops open."""

from datetime import datetime

import strawberry

from api.drops.clock import read_clock
from api.graphql.context import Info


@strawberry.type
class ClockQueries:
    @strawberry.field(
        description="What the database's clock shows, by which drops open: for a countdown that does not depend on "
        "the buyer's own clock."
    )
    async def now(self, info: Info) -> datetime:
        return await read_clock(info.context.drops.regions)
