"""What holds cost on Aurora DSQL, by its formulas, in two Regions and in groups: the table of docs/holds.md.

The stand-in's meter sees the entries that a partial index has afterwards. So it misses the entry of `orders_by_hold`
that a payment, a release or a lapse removes. And for an update of an indexed column it counts two entries, while a
cancellation, a release or a lapse adds one to `orders_returned`. Of a release and a lapse the two cancel each other.
"""

from collections.abc import Sequence
from pathlib import Path

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from api.drops.purchase import execute_group
from api.drops.requests import CancelRequest, ConfirmRequest, LapseRequest, Purchase, ReleaseRequest, Request
from tests.drops.purchases import new_product, purchase
from tests.dsql.cluster import Cluster
from tests.patience import PATIENCE, PATIENT_TIMES

PAGE = Path(__file__).parent.parent.parent / "docs" / "holds.md"

NUMBER = 500
"""Requests of each kind: one group."""

ENTRIES = 12.5
"""DPU of 1,000 index entries that the meter misses, or counts and nobody writes."""


@pytest.fixture
def engine() -> str:
    return "dsql"


def documented() -> dict[str, list[float]]:
    """What docs/holds.md has: the DPU of 1,000 of each kind, without a limit per buyer and with one."""
    rows = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| a ")]
    return {row[1].strip(): [float(row[3]), float(row[4])] for row in rows}


async def cost(cluster: Cluster, pool: Pool, requests: Sequence[Request]) -> float:
    """The DPU of 1,000 such requests; or of the orders of one request that ends NUMBER of them."""
    cluster.meter.clear()
    await execute_group(pool, requests[0].product_id, requests, [1], PATIENCE)
    return (await cluster.meter.dpu()).write * 1000 / NUMBER


def payment(order: Purchase) -> ConfirmRequest:
    return ConfirmRequest(order.order_id, order.product_id, order.user_ref, "pi_1")


def cancellation(order: Purchase) -> CancelRequest:
    return CancelRequest(order.order_id, order.product_id, order.user_ref, None)


def release(order: Purchase) -> ReleaseRequest:
    return ReleaseRequest(order.order_id, order.product_id, order.user_ref, None)


def lapse(orders: Sequence[Purchase]) -> LapseRequest:
    return LapseRequest(orders[0].product_id, tuple((order.order_id, order.user_ref) for order in orders))


@pytest.mark.parametrize(("column", "limit"), [(0, None), (1, 5)], ids=["without a limit", "with a limit per buyer"])
async def test_holds_cost_what_the_page_has(
    cluster: Cluster, endpoints: tuple[Endpoint, ...], tokens: AuthTokens, behind: Pool, column: int, limit: int | None
) -> None:
    async with Pool(endpoints[0], 5, tokens, PATIENT_TIMES.pool) as pool:

        async def placed(hold_seconds: int | None) -> tuple[list[Purchase], float]:
            """Orders of a new product, and what they cost. There are no other orders."""
            await behind.execute("DELETE FROM orders")
            product_id = await new_product(pool, 10_000, limit=limit, shards=2, hold_seconds=hold_seconds)
            orders = [purchase(product_id, f"buyer-{number}") for number in range(NUMBER)]
            return orders, await cost(cluster, pool, orders)

        _, final = await placed(None)
        orders, held = await placed(30)
        confirmed = await cost(cluster, pool, [payment(order) for order in orders]) + ENTRIES
        cancelled = await cost(cluster, pool, [cancellation(order) for order in orders]) - ENTRIES
        orders, _ = await placed(30)
        released = await cost(cluster, pool, [release(order) for order in orders])
        orders, _ = await placed(30)
        await behind.execute("UPDATE orders SET held_until = now()")
        lapsed = await cost(cluster, pool, [lapse(orders)])

    found = [final, held, confirmed, released, lapsed, cancelled]
    pages = {kind: dpu[column] for kind, dpu in documented().items()}
    wanted = [
        pages["a purchase that is final at once"],
        pages["a hold"],
        pages["a confirmation"],
        *[pages["a release, or a lapse"]] * 2,
        pages["a cancellation of a confirmed order"],
    ]
    assert found == [pytest.approx(dpu, abs=0.1) for dpu in wanted]
