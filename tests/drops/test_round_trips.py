"""How many times a group waits for the database, from BEGIN to the answer of COMMIT or ROLLBACK.

They are counted at the stand-in: each statement that it is sent to prepare or to execute is a round trip, as asyncpg
sends none before it has the answer to the last.
"""

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from api.drops.decisions import Confirmed, Held
from api.drops.purchase import Batch, execute_group
from api.drops.requests import CancelRequest, ConfirmRequest, LapseRequest, Purchase, Request, RestockRequest
from tests.drops.purchases import cancel, new_product, purchase
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE, PATIENT_TIMES

WITHOUT_LIMIT = pytest.param(None, 0, id="without a limit")
WITH_LIMIT = pytest.param(1_000, 1, id="with a limit per buyer")
limits = pytest.mark.parametrize(("limit", "more"), [WITHOUT_LIMIT, WITH_LIMIT])
"""The limit per buyer, and the round trips that it adds: the holdings."""


@pytest.fixture
def engine() -> str:
    return "dsql"


@pytest.fixture
async def pool(stand_in: StandIn, tokens: AuthTokens) -> AsyncIterator[Pool]:
    """A single connection, so that a statement that was sent once stays prepared."""
    async with Pool(Endpoint("here", stand_in.url), 1, tokens, PATIENT_TIMES.pool) as pool:
        yield pool


def restock(product_id: UUID, delta: int) -> RestockRequest:
    return RestockRequest.checked(product_id=product_id, delta=delta)


def cancellation(order: Purchase) -> CancelRequest:
    return CancelRequest(order.order_id, order.product_id, order.user_ref, None)


def payment(order: Purchase) -> ConfirmRequest:
    return ConfirmRequest(order.order_id, order.product_id, order.user_ref, "pi_1")


async def bought(pool: Pool, product_id: UUID) -> Purchase:
    """A purchase that has its units: confirmed, or held if the product has holds."""
    request = purchase(product_id, key="click-1")
    batch = await execute_group(pool, product_id, [request], [1], PATIENCE)
    assert isinstance(batch.decisions[0], Confirmed | Held)
    return request


async def round_trips(
    stand_in: StandIn, pool: Pool, product_id: UUID, requests: Sequence[Request]
) -> tuple[int, list[str]]:
    """Run a group. Returns its round trips, and the names of its decisions, each once."""
    before = stand_in.steps
    batch: Batch = await execute_group(pool, product_id, requests, [1], PATIENCE)
    return stand_in.steps - before, sorted({type(decision).__name__ for decision in batch.decisions})


async def warm_up(pool: Pool, limit: int | None) -> None:
    """Send every statement of a group once."""
    product_id = await new_product(pool, stock=10, limit=limit)
    order = await bought(pool, product_id)
    group: list[Request] = [purchase(product_id, "bob"), cancellation(order), restock(product_id, 1)]
    await execute_group(pool, product_id, group, [1], PATIENCE)


@limits
@pytest.mark.parametrize("size", [1, 500])
async def test_a_group_of_purchases_needs_five_round_trips(
    stand_in: StandIn, pool: Pool, size: int, limit: int | None, more: int
) -> None:
    """BEGIN, read, take units, insert orders, write holdings, COMMIT."""
    await warm_up(pool, limit)
    product_id = await new_product(pool, stock=1_000, limit=limit)
    group = [purchase(product_id, f"buyer-{number}") for number in range(size)]

    assert await round_trips(stand_in, pool, product_id, group) == (5 + more, ["Confirmed"])


@limits
async def test_units_from_several_shards_need_no_other_round_trip(
    stand_in: StandIn, pool: Pool, limit: int | None, more: int
) -> None:
    await warm_up(pool, limit)
    product_id = await new_product(pool, stock=100, limit=limit)

    found = await round_trips(stand_in, pool, product_id, [purchase(product_id, "ada", quantity=90)])

    assert found == (5 + more, ["Confirmed"])


@limits
async def test_a_restock_needs_five_round_trips(stand_in: StandIn, pool: Pool, limit: int | None, more: int) -> None:
    """BEGIN, read, add units, insert the restock, COMMIT. It has no buyer, whose holding would be written."""
    await warm_up(pool, limit)
    product_id = await new_product(pool, stock=10, limit=limit)

    for delta in (5, -3):
        found = await round_trips(stand_in, pool, product_id, [restock(product_id, delta)])
        assert found == (5, ["Restocked"])


@limits
async def test_a_cancellation_needs_five_round_trips(
    stand_in: StandIn, pool: Pool, limit: int | None, more: int
) -> None:
    """BEGIN, read, add units, change the order, write the holding, COMMIT."""
    await warm_up(pool, limit)
    product_id = await new_product(pool, stock=10, limit=limit)
    order = await bought(pool, product_id)

    found = await round_trips(stand_in, pool, product_id, [cancellation(order)])

    assert found == (5 + more, ["Cancellation"])


async def test_a_cancellation_looks_up_its_order_first(stand_in: StandIn, pool: Pool) -> None:
    product_id = await new_product(pool, stock=10)
    await warm_up(pool, None)
    orders = [purchase(product_id, f"buyer-{number}") for number in range(2)]
    await execute_group(pool, product_id, orders, [1], PATIENCE)
    await cancel(pool, orders[0].order_id, None)

    before = stand_in.steps
    await cancel(pool, orders[1].order_id, None)

    assert stand_in.steps - before == 1 + 5


@limits
async def test_a_group_of_everything_needs_two_round_trips_more(
    stand_in: StandIn, pool: Pool, limit: int | None, more: int
) -> None:
    """Cancellations change orders, and restocks insert rows of their own."""
    await warm_up(pool, limit)
    product_id = await new_product(pool, stock=10, limit=limit)
    order = await bought(pool, product_id)
    group: list[Request] = [purchase(product_id, "bob"), cancellation(order), restock(product_id, 1)]

    found = await round_trips(stand_in, pool, product_id, group)

    assert found == (7 + more, ["Cancellation", "Confirmed", "Restocked"])


@limits
async def test_a_hold_needs_five_round_trips_as_any_purchase(
    stand_in: StandIn, pool: Pool, limit: int | None, more: int
) -> None:
    await warm_up(pool, limit)
    product_id = await new_product(pool, stock=10, limit=limit, hold_seconds=30)

    found = await round_trips(stand_in, pool, product_id, [purchase(product_id, f"buyer-{n}") for n in range(5)])

    assert found == (5 + more, ["Held"])


@limits
async def test_a_payment_in_time_needs_four_round_trips(
    stand_in: StandIn, pool: Pool, limit: int | None, more: int
) -> None:
    """BEGIN, read, change the order, COMMIT. The units are the buyer's already: neither the stock nor the holding is
    written."""
    await warm_up(pool, limit)
    product_id = await new_product(pool, stock=10, limit=limit, hold_seconds=30)
    order = await bought(pool, product_id)

    assert await round_trips(stand_in, pool, product_id, [payment(order)]) == (4, ["Paid"])
    assert await round_trips(stand_in, pool, product_id, [payment(order)]) == (3, ["Paid"])


@limits
@pytest.mark.parametrize("number", [1, 100])
async def test_a_lapse_needs_five_round_trips(
    stand_in: StandIn, pool: Pool, limit: int | None, more: int, number: int
) -> None:
    """BEGIN, read, add units, change the orders, write the holdings, COMMIT. A late payment needs as many."""
    await warm_up(pool, limit)
    product_id = await new_product(pool, stock=100, limit=limit, hold_seconds=30)
    orders = [purchase(product_id, f"buyer-{each}") for each in range(number)]
    await execute_group(pool, product_id, orders, [1], PATIENCE)
    await pool.execute("UPDATE orders SET held_until = now() WHERE product_id = $1", product_id)
    lapse = LapseRequest(product_id, tuple((order.order_id, order.user_ref) for order in orders))

    assert await round_trips(stand_in, pool, product_id, [lapse]) == (5 + more, ["Lapsed"])
    assert await round_trips(stand_in, pool, product_id, [lapse]) == (3, ["Lapsed"])
    assert await round_trips(stand_in, pool, product_id, [payment(orders[0])]) == (5 + more, ["Paid"])


async def test_events_need_one_round_trip_more(stand_in: StandIn, pool: Pool) -> None:
    """All events of a group are one row of the outbox."""
    await warm_up(pool, None)
    product_id = await new_product(pool, stock=100)
    await execute_group(pool, product_id, [purchase(product_id)], [1], PATIENCE, keep_events=True)
    before = stand_in.steps

    group = [purchase(product_id, f"buyer-{number}") for number in range(50)]
    await execute_group(pool, product_id, group, [1], PATIENCE, keep_events=True)

    assert stand_in.steps - before == 5 + 1
    assert len(await pool.fetch("SELECT FROM outbox")) == 2


@limits
async def test_a_group_that_changes_nothing_needs_three_round_trips(
    stand_in: StandIn, pool: Pool, limit: int | None, more: int
) -> None:
    """BEGIN, read, ROLLBACK."""
    await warm_up(pool, limit)
    product_id = await new_product(pool, stock=1, limit=limit)
    replayed = await bought(pool, product_id)

    assert await round_trips(stand_in, pool, product_id, [replayed]) == (3, ["Replayed"])
    assert await round_trips(stand_in, pool, product_id, [purchase(product_id, "bob")]) == (3, ["SoldOut"])
    both = [replayed, purchase(product_id, "bob")]
    assert await round_trips(stand_in, pool, product_id, both) == (3, ["Replayed", "SoldOut"])


async def test_a_buyer_at_the_limit_needs_three_round_trips(stand_in: StandIn, pool: Pool) -> None:
    await warm_up(pool, 1)
    product_id = await new_product(pool, stock=10, limit=1)
    await bought(pool, product_id)

    assert await round_trips(stand_in, pool, product_id, [purchase(product_id)]) == (3, ["LimitReached"])
