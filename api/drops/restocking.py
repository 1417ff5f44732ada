"""Restocking a product, in the line of its purchases."""

from api.database.errors import Conflict
from api.drops.decisions import Restocked
from api.drops.group_commit import GroupCommit
from api.drops.products import Product
from api.drops.requests import RestockRequest
from api.drops.ticket import Busy


async def restock(
    group_commit: GroupCommit, request: RestockRequest, client: str = "", deadline: float | None = None
) -> Product:
    """Add units to the stock, or remove unsold units, exactly once however often the request is sent. Returns the
    product right after.

    A restock waits in the line of its product and is decided in a group of its purchases. In a transaction of its own
    it could conflict with theirs.

    `client` is where the request came from, and `deadline` is by the event loop's clock. Raises InvalidInput, NotFound,
    IdempotencyKeyReused, Conflict when nothing was changed, Unavailable, OutcomeUnknown.
    """
    outcome = await group_commit.submit(request, client, deadline)
    if isinstance(outcome.decision, Busy):
        raise Conflict("the line of the product was too long for this restock")
    assert isinstance(outcome.decision, Restocked), "a RestockRequest is decided as Restocked"
    assert outcome.product is not None, "a restock has a product"
    return outcome.product
