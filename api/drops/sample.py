"""The sample drop of a new embedded database, so that every page has something to show."""

from uuid import UUID

from api.database.database import Database
from api.drops.new_product import NewProduct, create_product
from api.drops.products import Product, list_products

# A fixed id: two processes that find no product at the same moment create the same one.
SAMPLE = NewProduct(
    id=UUID("0d509e70-0000-4000-8000-000000000001"),
    name="Aurora Tee",
    drop_name="First Light",
    stock=100,
    opens_at=None,
    limit_per_buyer=None,
)


async def create_sample_drop(database: Database) -> Product | None:
    """Create the sample unless there is a product already. Returns it; None if nothing was created.

    Raises Conflict, Unavailable, OutcomeUnknown.
    """
    if (await list_products(database, first=1)).items:
        return None
    return await create_product(database, SAMPLE)
