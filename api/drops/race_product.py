"""The product of the race that a page lets anyone run: nobody is to miss units of a drop because others play."""

from uuid import UUID, uuid4

from api.drops.drops import Drops
from api.drops.new_product import NewProduct
from api.drops.requests import RestockRequest

# A fixed id: there is one, however many race. The shop's lists leave it out.
RACE = NewProduct(
    id=UUID("0d509e70-0000-4000-8000-0000000000ce"),
    name="Race",
    drop_name="Race",
    stock=100,
    opens_at=None,
    limit_per_buyer=None,
)

LEAST = 40
"""Units with which a race begins at least: two races at once sell as many."""


async def prepare_race(drops: Drops, client: str) -> None:
    """Create the product, or stock it up after other races. Raises Conflict, Unavailable, OutcomeUnknown, and what a
    restock raises."""
    product = await drops.read_product(RACE.id, None, client) or await drops.create_product(RACE)
    if product.stock < LEAST:
        await drops.restock(RestockRequest(uuid4(), RACE.id, RACE.stock - product.stock), client)
