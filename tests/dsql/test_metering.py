"""The cost of transactions in DPU, by the formulas of Aurora DSQL."""

import asyncpg
import pytest

from tests.dsql.cluster import Cluster
from tests.dsql.conftest import Connect
from tests.dsql.metering import Dpu
from tests.dsql.stand_in import StandIn

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ"
LEAST = 1024 * 0.00004883
"""Of a transaction that writes: 0.05 DPU."""

pytestmark = pytest.mark.usefixtures("table")


def written(items: int, size: int = 128) -> float:
    return items * size * 0.00004883


async def cost(home: StandIn, connect: Connect, cluster: Cluster, *statements: str) -> Dpu:
    """What the statements cost, in a transaction each."""
    cluster.meter.clear()
    async with connect(home) as connection:
        for statement in statements:
            await connection.execute(statement)
    return await cluster.meter.dpu()


async def test_a_transaction_that_writes_little_costs_the_least(
    home: StandIn, connect: Connect, cluster: Cluster
) -> None:
    dpu = await cost(home, connect, cluster, *["UPDATE t SET value = value + 1"] * 10)

    assert dpu.write == pytest.approx(10 * LEAST)
    assert pytest.approx(0.05, abs=0.0001) == LEAST
    assert (dpu.writing_transactions, dpu.rows, dpu.index_entries) == (10, 20, 0)


async def test_a_second_region_doubles_what_is_written(
    home: StandIn, peer: StandIn, connect: Connect, cluster: Cluster
) -> None:
    dpu = await cost(peer, connect, cluster, "INSERT INTO t SELECT generate_series(11, 110)")

    assert dpu.write == pytest.approx(2 * written(100))


async def test_each_index_costs_an_entry_for_each_row(
    home: StandIn, connect: Connect, cluster: Cluster, cluster_url: str
) -> None:
    plain = await asyncpg.connect(cluster_url)
    await plain.execute("CREATE INDEX ON t (value); CREATE UNIQUE INDEX ON t (value, id)")
    await plain.close()

    dpu = await cost(home, connect, cluster, "INSERT INTO t SELECT generate_series(11, 1010)")
    assert dpu.write == pytest.approx(written(3 * 1000))
    assert (dpu.rows, dpu.index_entries) == (1000, 2000)

    dpu = await cost(home, connect, cluster, "DELETE FROM t WHERE id > 10")
    assert dpu.write == pytest.approx(written(3 * 1000))


async def test_an_update_costs_the_entries_of_the_columns_that_it_sets(
    home: StandIn, connect: Connect, cluster: Cluster, cluster_url: str
) -> None:
    plain = await asyncpg.connect(cluster_url)
    await plain.execute("ALTER TABLE t ADD COLUMN other integer")
    await plain.execute("INSERT INTO t SELECT generate_series(3, 100)")
    await plain.execute("CREATE INDEX ON t (value); CREATE INDEX ON t (abs(other))")
    await plain.execute("CREATE INDEX ON t (id) WHERE value > 50")
    await plain.close()

    neither = await cost(home, connect, cluster, "UPDATE t SET id = id + 1000 WHERE id > 900")
    assert (neither.write, neither.rows) == (0, 0)

    one = await cost(home, connect, cluster, "UPDATE t SET other = 1")
    assert one.write == pytest.approx(written(100 + 2 * 100))
    assert (one.rows, one.index_entries) == (100, 200)

    half = await cost(home, connect, cluster, "UPDATE t SET value = id")  # 50 rows are in the partial index
    assert half.write == pytest.approx(written(100 + 2 * 100 + 2 * 50))
    assert half.index_entries == 300

    moved = await cost(home, connect, cluster, "UPDATE t SET id = -id")
    assert moved.write == pytest.approx(written(2 * 100 + 2 * 100 + 2 * 100 + 2 * 50))


async def test_a_large_row_costs_its_bytes(home: StandIn, connect: Connect, cluster: Cluster) -> None:
    async with connect(home) as connection:
        await connection.execute("CREATE TABLE large (id integer PRIMARY KEY, more text)")

    dpu = await cost(home, connect, cluster, "INSERT INTO large SELECT generate_series(1, 100), repeat('x', 992)")

    assert dpu.write == pytest.approx(written(100, 4 + 4 + 992))


async def test_only_what_was_committed_is_a_write(home: StandIn, connect: Connect, cluster: Cluster) -> None:
    insert = "INSERT INTO t SELECT generate_series(11, 1010)"
    home.conflicts = 1
    cluster.meter.clear()
    async with connect(home) as connection:
        with pytest.raises(asyncpg.SerializationError):
            await connection.execute(insert)
        await connection.execute(f"{BEGIN}; {insert}; ROLLBACK")
        await connection.execute(f"{BEGIN}; {insert}; UPDATE t SET value = 1 WHERE id = 1; COMMIT")

    dpu = await cluster.meter.dpu()
    assert (dpu.writing_transactions, dpu.rows) == (1, 1001)
    assert dpu.write == pytest.approx(written(1001))
    assert dpu.read == pytest.approx(3 * 0.00375, abs=0.0001)


async def test_rows_that_are_read_cost_their_bytes_at_the_least(
    home: StandIn, connect: Connect, cluster: Cluster
) -> None:
    few = await cost(home, connect, cluster, "SELECT * FROM t")
    many = await cost(home, connect, cluster, "SELECT repeat('x', 10000) FROM t")

    assert few.write == many.write == 0
    assert few.read == pytest.approx(0.00375, abs=0.0001)
    assert many.read == pytest.approx(20000 * 0.00000183105, rel=0.01)


ORDERS = """
CREATE TABLE orders (
    id uuid PRIMARY KEY, product_id uuid NOT NULL, user_ref text NOT NULL, quantity integer NOT NULL,
    status text NOT NULL, region text NOT NULL, created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON orders (user_ref, created_at, id);
CREATE INDEX ON orders (product_id, created_at, id);
CREATE INDEX ON orders (created_at, id);
CREATE INDEX ON orders (user_ref, product_id);
"""


async def test_a_thousand_orders_in_two_regions_cost_what_was_published(
    home: StandIn, peer: StandIn, connect: Connect, cluster: Cluster, cluster_url: str
) -> None:
    plain = await asyncpg.connect(cluster_url)
    await plain.execute(ORDERS)
    await plain.close()
    insert = """
        INSERT INTO orders
        SELECT md5(number::text)::uuid, md5('product')::uuid, 'buyer-' || number, 1, 'CONFIRMED', 'ap-northeast-1'
        FROM generate_series({}, {}) AS number
    """

    dpu = await cost(home, connect, cluster, insert.format(1, 500), insert.format(501, 1000))

    assert dpu.write == pytest.approx(62.5, abs=0.1)
