"""What a drop has cost, computed from its orders, is what the stand-in for Aurora DSQL has metered."""

from datetime import timedelta
from uuid import UUID

import pytest

from api.cost.actual import Actual, read_actual
from api.cost.forecast import Plan, forecast
from api.database.pool import Pool
from api.drops.purchase import execute_group
from tests.drops.purchases import kinds, new_group_commit, new_product, purchase, submit_all
from tests.dsql.cluster import Cluster
from tests.dsql.stand_in import StandIn
from tests.engines import DSQL
from tests.patience import PATIENCE
from tests.server import ADMIN_TOKEN, Server

MARGIN = 0.05
"""Of the write DPU."""


@pytest.fixture
def engine() -> str:
    return DSQL


async def sell(pool: Pool, product: UUID) -> None:
    """Sell to sixty buyers at once, and to ten one after the other, one of them with a long name."""
    commits = new_group_commit(pool)
    outcomes = await submit_all([commits], [purchase(product, f"buyer {number}") for number in range(60)])
    for buyer in (*(f"late {number}" for number in range(9)), "a" * 150):
        outcomes.append(await commits.submit(purchase(product, buyer)))
    assert kinds(outcomes).total() == sum(kinds(outcomes)[kind] for kind in ("Confirmed", "Held"))


async def done(server: Server, mutation: str) -> None:
    await server.data(f"mutation {{ {mutation} }}", token=ADMIN_TOKEN)


def line_of(actual: Actual, what: str) -> tuple[float, float]:
    [line] = [line for line in actual.bill.lines if line.what == what]
    return line.times, line.transactions


@pytest.mark.parametrize(("limit", "hold_seconds"), [(None, None), (2, None), (2, 600)])
async def test_the_bill_of_a_drop_is_what_was_metered(
    pool: Pool, peer: StandIn, cluster: Cluster, behind: Pool, limit: int | None, hold_seconds: int | None
) -> None:
    product = await new_product(pool, 200, limit=limit, hold_seconds=hold_seconds)
    before = (await read_actual(behind, product, regions=2)).bill.total
    cluster.meter.clear()
    await sell(pool, product)
    metered = await cluster.meter.dpu()
    actual = await read_actual(behind, product, regions=2)
    assert actual.bill.total.write - before.write == pytest.approx(metered.write, rel=MARGIN)
    assert actual.bill.total.transactions - before.transactions == metered.writing_transactions
    assert line_of(actual, "orders placed")[0] == 70
    assert actual.group == 70 / line_of(actual, "orders placed")[1]


@pytest.mark.parametrize("limit", [None, 2])
async def test_a_forecast_is_what_was_metered_and_what_was_computed(
    pool: Pool, peer: StandIn, cluster: Cluster, behind: Pool, limit: int | None
) -> None:
    product = await new_product(pool, 200, limit=limit)
    before = await read_actual(behind, product, regions=2)
    cluster.meter.clear()
    for group in range(2):
        await execute_group(
            pool, product, [purchase(product, f"{group} {number}") for number in range(50)], [1], PATIENCE
        )
    metered = (await cluster.meter.dpu()).write
    after = await read_actual(behind, product, regions=2)
    plan = Plan(orders=100, purchases=100, limit=limit is not None, group=50, watched=False, hours=0)
    assert forecast(plan).total.write == pytest.approx(metered, rel=MARGIN)
    assert after.bill.total.write - before.bill.total.write == pytest.approx(metered, rel=MARGIN)


async def test_what_became_of_orders_is_on_the_bill(server: Server, behind: Pool) -> None:
    product = await server.create_product(stock=20, holdSeconds=600)
    orders = [(await server.purchase(product, f"buyer {number}"))["order"]["id"] for number in range(4)]
    for number, order in enumerate(orders[:2]):
        await done(server, f'confirmOrder(orderId: "{order}", paymentRef: "p{number}") {{ __typename }}')
    await done(server, f'releaseOrder(orderId: "{orders[2]}") {{ __typename }}')
    await behind.execute("UPDATE orders SET lapsed_at = now(), status = 'CANCELLED' WHERE id = $1", UUID(orders[3]))
    await done(server, f'restock(input: {{ productId: "{product}", delta: 2 }}) {{ stock }}')
    await done(server, f'pauseProduct(productId: "{product}") {{ name }}')
    other = await server.create_product(stock=5)

    actual = await read_actual(behind, UUID(product), regions=2)
    times = {line.what: line.times for line in actual.bill.lines}
    for each in ("further shards of these transactions", "activity of the last seven days"):  # as it happens
        times.pop(each, None)
    assert times == {
        "products created": 1,
        "restocks": 1,
        "changes of products": 1,
        "orders placed": 4,
        "holds paid": 2,
        "holds lapsed": 1,
        "orders cancelled or released": 1,
    }
    everything = await read_actual(behind, None, regions=2)
    assert line_of(everything, "products created")[0] == 2
    assert everything.bill.total.write > actual.bill.total.write
    empty = await read_actual(behind, UUID(int=0), regions=2)
    assert (empty.bill.lines, empty.group) == ([], 0.0)
    assert (await read_actual(behind, UUID(other), regions=1)).bill.total.write == pytest.approx(25 * 128 * 0.00004883)


async def test_events_are_on_the_bill(server: Server, behind: Pool) -> None:
    product = UUID(await server.create_product(stock=5))
    await behind.execute(
        "INSERT INTO events (position, id, type, occurred_at, product_id, data) "
        "SELECT n, gen_random_uuid(), 'order.confirmed', now() + $2::interval, $1, repeat('x', 380) "
        "FROM generate_series(1, 100) AS n",
        product,
        timedelta(0),
    )
    await behind.execute(
        "INSERT INTO activity (product_id, at, process, seconds, data) "
        "SELECT $1, now() + n * interval '2 s', gen_random_uuid(), 2, repeat('x', 500) "
        "FROM generate_series(1, 10) AS n",
        product,
    )
    actual = await read_actual(behind, product, regions=2)
    lines = {line.what: line.write for line in actual.bill.lines}
    assert lines["activity of the last seven days"] == pytest.approx(10 * (564 + 128 + 1000) * 0.00004883 * 2)
    assert lines["events numbered"] == pytest.approx(100 * 460 * 0.00004883 * 2)
    assert any("seven days" in sentence for sentence in actual.bill.assumed)
