"""The stand-in's transactions that will lose: they go on by their snapshot, and their COMMIT is a conflict."""

import asyncio

import asyncpg
import pytest

from tests.dsql.conftest import Connect, Connection
from tests.dsql.private_copies import LARGEST
from tests.dsql.stand_in import StandIn
from tests.dsql.test_conflicts import BEGIN, CONFLICT, values

pytestmark = pytest.mark.usefixtures("table")


async def test_a_rival_that_has_committed_shows_at_commit_and_not_at_a_statement(
    home: StandIn, peer: StandIn, connect: Connect
) -> None:
    async with connect(home) as late, connect(peer) as early:
        await late.execute(BEGIN)
        assert await values(late) == {1: 0, 2: 0}
        await early.execute("UPDATE t SET value = 9 WHERE id = 1")
        await early.execute("DELETE FROM t WHERE id = 2")

        assert await late.execute("UPDATE t SET value = value + 1 WHERE id = ANY($1::integer[])", [1, 2]) == "UPDATE 2"
        assert await late.fetchval("UPDATE t SET value = value + 1 WHERE id = 1 AND value = 1 RETURNING value") == 2
        assert await late.execute("INSERT INTO t SELECT unnest($1::integer[]), 7", [3, 4]) == "INSERT 0 2"
        assert await values(late) == {1: 2, 2: 1, 3: 7, 4: 7}
        with pytest.raises(asyncpg.SerializationError, match=CONFLICT):
            await late.execute("COMMIT")
        assert await values(late) == {1: 9}


async def test_statements_between_a_rivals_commit_and_the_own_one_follow_the_snapshot(
    home: StandIn, connect: Connect
) -> None:
    upsert = "INSERT INTO t VALUES (3, $1) ON CONFLICT (id) DO UPDATE SET value = t.value + $1 RETURNING value"
    async with connect(home) as late, connect(home) as early:
        for _ in range(2):  # the second time each statement has been prepared, with and without a rival
            await late.execute(BEGIN)
            assert await late.fetchval("UPDATE t SET value = value + 1 WHERE id = 1 RETURNING value") == 1
            assert await late.fetchval(upsert, 5) == 5
            await early.execute("UPDATE t SET value = 8 WHERE id = 1")
            assert await early.fetchval(upsert, 6) == 6
            assert await late.fetchval(upsert, 5) == 10
            assert await late.fetchval("SELECT value FROM t WHERE id = 2 FOR UPDATE") == 0
            assert await values(late) == {1: 1, 2: 0, 3: 10}
            with pytest.raises(asyncpg.SerializationError, match=CONFLICT):
                await late.execute("COMMIT")
            assert await values(late) == {1: 8, 2: 0, 3: 6}
            await late.execute("UPDATE t SET value = 0 WHERE id = 1")
            await late.execute("DELETE FROM t WHERE id = 3")


async def test_a_transaction_can_lose_in_one_table_after_the_other(
    home: StandIn, connect: Connect, cluster_url: str
) -> None:
    plain = await asyncpg.connect(cluster_url)
    await plain.execute("CREATE TABLE u (id integer PRIMARY KEY)")
    async with connect(home) as late:
        for key in (1, 2, 3):
            await late.execute(BEGIN)
            await values(late)
            await plain.execute("UPDATE t SET value = value + 1 WHERE id = 1")
            await plain.execute("INSERT INTO u VALUES ($1)", key)
            assert await late.execute("UPDATE t SET value = 9 WHERE id = 1") == "UPDATE 1"
            assert await late.execute("INSERT INTO u VALUES ($1)", key) == "INSERT 0 1"
            assert await late.fetch("SELECT * FROM t, u WHERE u.id = $1 AND value = 9", key) != []
            with pytest.raises(asyncpg.SerializationError, match=CONFLICT):
                await late.execute("COMMIT")
        assert await late.execute("INSERT INTO u VALUES ($1)", 4) == "INSERT 0 1"
        assert await plain.fetchval("SELECT array_agg(id) FROM u") == [1, 2, 3, 4]
    await plain.close()


async def test_a_new_row_conflicts_with_a_key_that_its_snapshot_does_not_show(home: StandIn, connect: Connect) -> None:
    insert = "INSERT INTO t VALUES ($1, 3)"
    async with connect(home) as late, connect(home) as early:
        await late.execute(BEGIN)
        assert await values(late) == {1: 0, 2: 0}
        await early.execute(insert, 3)
        assert await late.execute(insert, 3) == "INSERT 0 1"
        with pytest.raises(asyncpg.SerializationError, match=CONFLICT):
            await late.execute("COMMIT")
        await late.execute(BEGIN)
        with pytest.raises(asyncpg.UniqueViolationError):
            await late.execute(insert, 3)
        assert await late.execute("COMMIT") == "ROLLBACK"


async def test_a_transaction_that_will_lose_makes_no_other_wait(
    home: StandIn, connect: Connect, cluster_url: str
) -> None:
    async with connect(home, role="app") as late, connect(home) as early:
        await late.execute(BEGIN)
        await values(late)
        await early.execute("UPDATE t SET value = 1")
        assert await late.execute("UPDATE t SET value = 2") == "UPDATE 2"
        plain = await asyncpg.connect(cluster_url)
        locks = "SELECT relation FROM pg_locks JOIN pg_database ON database = oid WHERE datname = current_database()"
        assert await plain.fetch(f"{locks} AND pid <> pg_backend_pid()") == []
        await plain.close()
        await early.execute("UPDATE t SET value = 3")
        await early.execute("ALTER TABLE t ADD COLUMN more integer")


async def test_rivals_that_write_rows_in_opposite_order_show_at_commit_too(home: StandIn, connect: Connect) -> None:
    async def move(number: int) -> bool:
        first, second = (1, 2) if number % 2 else (2, 1)
        async with connect(home, role="app") as connection:
            await connection.execute(BEGIN)
            await connection.execute("UPDATE t SET value = value + 1 WHERE id = $1", first)
            # It takes long enough for rivals to lock their first row as well.
            await connection.execute("INSERT INTO t SELECT generate_series($1::integer, $1 + 1999)", number * 2000)
            await connection.execute("UPDATE t SET value = value + 1 WHERE id = $1", second)
            try:
                await connection.execute("COMMIT")
            except asyncpg.SerializationError:
                return False
            return True

    won = sum(await asyncio.gather(*(move(number) for number in range(1, 13))))
    async with connect(home) as connection:
        rows = await connection.fetch("SELECT value FROM t WHERE id <= 2")
    assert [row["value"] for row in rows] == [won, won]
    assert won > 0


@pytest.mark.parametrize(("rows", "end"), [(LARGEST // 2000, "COMMIT"), (LARGEST // 1000, "UPDATE")])
async def test_a_rival_in_a_large_table_shows_at_the_statement(
    home: StandIn, connect: Connect, cluster_url: str, rows: int, end: str
) -> None:
    plain = await asyncpg.connect(cluster_url)
    await plain.execute("CREATE TABLE large (id integer PRIMARY KEY, more text)")
    await plain.execute("INSERT INTO large SELECT generate_series(1, $1::integer), repeat('x', 1000)", rows)
    async with connect(home) as late:
        await late.execute(BEGIN)
        assert await late.fetchval("SELECT count(*) FROM large") == rows
        await plain.execute("UPDATE large SET more = 'y' WHERE id = 1")
        conflict = await first_conflict(late, "UPDATE large SET more = 'z' WHERE id = 1", "COMMIT")
    await plain.close()
    assert conflict.startswith(end)


async def first_conflict(connection: Connection, *statements: str) -> str:
    """Execute the statements until one is answered with a conflict. Return that statement."""
    for statement in statements:
        try:
            await connection.execute(statement)
        except asyncpg.SerializationError:
            return statement
    return "no statement"
