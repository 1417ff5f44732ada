"""What the tests of holds share: orders in every state, and what is sent about them, through lines of their own."""

from uuid import UUID

from api.database.pool import Pool
from api.drops.decisions import Held
from api.drops.group_commit import GroupCommit
from api.drops.lapsing import Lapsing
from api.drops.orders import Order, get_order
from api.drops.requests import CancelRequest, ConfirmRequest, LapseRequest, ReleaseRequest
from tests.drops.purchases import new_group_commit, new_product, purchase

HOLD = 3600
"""Seconds of the holds: longer than any test. `run_out` ends them."""


async def new_held_product(pool: Pool, stock: int = 10, *, limit: int | None = None, shards: int = 16) -> UUID:
    return await new_product(pool, stock, limit=limit, shards=shards, hold_seconds=HOLD)


async def hold(group_commit: GroupCommit, product_id: UUID, user_ref: str = "ada", quantity: int = 1) -> Order:
    """Buy, and return the order, which is held."""
    decision = (await group_commit.submit(purchase(product_id, user_ref, quantity))).decision
    assert isinstance(decision, Held), decision
    return decision.order


def payment(order: Order, payment_ref: str = "pi_1") -> ConfirmRequest:
    return ConfirmRequest(order.id, order.product_id, order.user_ref, payment_ref)


def release(order: Order) -> ReleaseRequest:
    return ReleaseRequest(order.id, order.product_id, order.user_ref, order.user_ref)


def cancellation(order: Order) -> CancelRequest:
    return CancelRequest(order.id, order.product_id, order.user_ref, None)


def lapse(*orders: Order) -> LapseRequest:
    return LapseRequest(orders[0].product_id, tuple((order.id, order.user_ref) for order in orders))


async def run_out(behind: Pool, *orders: Order) -> None:
    """The time to pay of these orders is over. Nothing has ended their holds yet."""
    query = (
        "UPDATE orders SET held_until = now() - interval '1 s' WHERE id = ANY($1::uuid[]) AND held_until IS NOT NULL"
    )
    await behind.execute(query, [order.id for order in orders])


async def end_holds(pool: Pool) -> int:
    """End the holds that have run out, as a process of its own does in one look. Returns how many."""
    lapsing = Lapsing(pool, new_group_commit(pool))
    await lapsing.end_holds()
    return lapsing.lapsed


async def now(pool: Pool, order: Order) -> Order:
    """The order as it is stored now."""
    found = await get_order(pool, order.id)
    assert found is not None
    return found
