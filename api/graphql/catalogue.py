"""The filter and the order of a list of products."""

from datetime import datetime
from enum import Enum

import strawberry

from api.drops.availability import Availability as StoredAvailability
from api.drops.drop_reads import DropReads
from api.drops.product_search import MAX_EXAMINED, ProductSearch
from api.drops.product_search import ProductSort as StoredSort


@strawberry.enum(description="Whether a product can be bought.")
class Availability(Enum):
    ON_SALE = strawberry.enum_value("ON_SALE", description="It has opened, and has units left. It may be paused.")
    COMING = strawberry.enum_value("COMING", description="It opens in the future.")
    GONE = strawberry.enum_value("GONE", description="It is sold out, closed or archived.")


@strawberry.enum(description="The order of a list of products.")
class ProductSort(Enum):
    NEWEST = strawberry.enum_value("NEWEST", description="Those that were created last come first.")
    OLDEST = strawberry.enum_value("OLDEST", description="Those that were created first come first.")
    OPENS_AT = strawberry.enum_value(
        "OPENS_AT",
        description="Those that open first come first; a product without `opensAt` opened with its creation.",
    )


@strawberry.input(
    description="What the products of a list have in common. Without a field, it does not matter. A page examines "
    f"{MAX_EXAMINED} products at most: it can have fewer than `first`, or none, although `hasNextPage` is true. Go on "
    "from its `endCursor`."
)
class ProductFilter:
    availability: Availability | None = strawberry.field(
        default=None, description="Whether they can be bought, at the moment of reading, by the database's clock."
    )
    drop: str | None = strawberry.field(default=None, description="The slug of their drop.")
    family: str | None = strawberry.field(default=None, description="Their `family`.")
    opens_before: datetime | None = strawberry.field(
        default=None,
        description="They open before this moment, with a UTC offset. A product without `opensAt` opened with its "
        "creation.",
    )
    opens_after: datetime | None = strawberry.field(
        default=None, description="They open later than this moment, with a UTC offset."
    )


async def search_of(
    drop_name: str | None, archived: bool, chosen: ProductFilter | None, sort: ProductSort | None, reads: DropReads
) -> ProductSearch:
    """The search of these arguments. Raises Conflict, Unavailable."""
    chosen = chosen or ProductFilter()
    drop_names: list[str | None] = [] if drop_name is None else [drop_name]
    if chosen.drop is not None:
        drop = await reads.by_slug(chosen.drop)
        drop_names.append(None if drop is None else drop.name)
    return ProductSearch(
        None if chosen.availability is None else StoredAvailability[chosen.availability.name],
        tuple(drop_names),
        chosen.family,
        chosen.opens_before,
        chosen.opens_after,
        StoredSort.NEWEST if sort is None else StoredSort[sort.name],
        archived,
    )
