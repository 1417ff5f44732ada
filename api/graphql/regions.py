"""The regional endpoints: the type and the query."""

import strawberry

from api.database.regions import RegionHealth
from api.graphql.context import Info
from api.graphql.public import PUBLIC


@strawberry.type(description="A regional endpoint of the one database.")
class Region:
    name: str = strawberry.field(description="The Region's name; pass it as `region` of a purchase.")
    home: bool = strawberry.field(description="Whether purchases that name no Region go through it.")
    healthy: bool = strawberry.field(description="Whether it answered just now.")
    latency_ms: float | None = strawberry.field(
        description="Milliseconds of one round trip just now; null when it did not answer."
    )

    @classmethod
    def of(cls, region: RegionHealth) -> "Region":
        return cls(name=region.name, home=region.home, healthy=region.healthy, latency_ms=region.latency_ms)


@strawberry.type
class RegionQueries:
    @strawberry.field(description="The regional endpoints that this server uses, home first.", metadata=PUBLIC)
    async def regions(self, info: Info) -> list[Region]:
        return [Region.of(region) for region in await info.context.drops.regions.health()]
