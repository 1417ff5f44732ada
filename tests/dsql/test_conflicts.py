"""The stand-in's transactions: no writer waits, the first to commit wins, and the others write nothing."""

import asyncio

import asyncpg
import pytest

from tests.clock import pass_time
from tests.dsql.conftest import Connect, Connection
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE

BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ"
CONFLICT = r"change conflicts with another transaction \(OC000\)"
SCHEMA_CHANGED = r"schema has been updated by another transaction \(OC001\)"

pytestmark = pytest.mark.usefixtures("table")


async def values(connection: Connection) -> dict[int, int]:
    return {row["id"]: row["value"] for row in await connection.fetch("SELECT id, value FROM t")}


async def test_two_regions_conflict_as_one_database(home: StandIn, peer: StandIn, connect: Connect) -> None:
    async with connect(home) as first, connect(peer) as second:
        for connection in (first, second):
            await connection.execute(BEGIN)
            assert await connection.fetchval("UPDATE t SET value = value + 1 WHERE id = 1 RETURNING value") == 1
        await second.execute("COMMIT")
        with pytest.raises(asyncpg.SerializationError, match=CONFLICT):
            await first.execute("COMMIT")

        assert not first.is_in_transaction()
        assert await values(first) == {1: 1, 2: 0}
        assert (home.commits, peer.commits) == (0, 1)


async def test_a_transaction_sees_its_own_writes_and_the_snapshot_it_began_with(
    home: StandIn, connect: Connect
) -> None:
    async with connect(home) as connection, connect(home) as rival:
        await connection.execute(BEGIN)
        await connection.execute("UPDATE t SET value = 5 WHERE id = 1")
        await connection.execute("INSERT INTO t SELECT unnest($1::integer[]), value FROM t WHERE id = 1", [3, 4])
        await rival.execute("UPDATE t SET value = 9 WHERE id = 2")
        assert await values(connection) == {1: 5, 2: 0, 3: 5, 4: 5}
        assert await values(rival) == {1: 0, 2: 9}
        await connection.execute("COMMIT")
        assert await values(rival) == {1: 5, 2: 9, 3: 5, 4: 5}


async def test_a_transaction_that_is_rolled_back_or_conflicts_writes_nothing(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        for end in ("ROLLBACK", "SELECT 1/0", None):
            async with connect(home) as quitter:
                await quitter.execute(BEGIN)
                await quitter.execute("UPDATE t SET value = 5 WHERE id = 1")
                if end == "ROLLBACK":
                    await quitter.execute(end)
                elif end is not None:
                    with pytest.raises(asyncpg.DivisionByZeroError):
                        await quitter.execute(end)
                    assert await quitter.execute("COMMIT") == "ROLLBACK"
        assert await values(connection) == {1: 0, 2: 0}


async def test_an_open_transaction_makes_no_other_wait(home: StandIn, connect: Connect, cluster_url: str) -> None:
    async with connect(home) as sleeper, connect(home) as connection:
        await sleeper.execute(BEGIN)
        await sleeper.fetch("SELECT * FROM t WHERE id = $1 FOR UPDATE", 1)
        await sleeper.execute("UPDATE t SET value = $1", 5)
        plain = await asyncpg.connect(cluster_url)
        assert await plain.fetch("SELECT relation FROM pg_locks WHERE relation = 't'::regclass") == []
        await plain.close()
        # With a lock this would wait until the client's timeout.
        await connection.execute("UPDATE t SET value = 1")
        await connection.execute("ALTER TABLE t ADD COLUMN more integer")


async def test_of_two_new_rows_with_one_key_the_later_commit_loses(home: StandIn, connect: Connect) -> None:
    async with connect(home) as first, connect(home) as second:
        for connection in (first, second):
            await connection.execute(BEGIN)
            assert await connection.execute("INSERT INTO t VALUES (3, 3)") == "INSERT 0 1"
        await first.execute("COMMIT")
        with pytest.raises(asyncpg.SerializationError, match=CONFLICT):
            await second.execute("COMMIT")
        with pytest.raises(asyncpg.UniqueViolationError):  # not a conflict: the key existed before
            await second.execute("INSERT INTO t VALUES (3, 3)")


async def test_a_write_without_begin_can_lose_too(home: StandIn, connect: Connect) -> None:
    home.commit_latency = PATIENCE / 2
    async with connect(home) as first, connect(home) as second:
        writing = asyncio.create_task(first.execute("UPDATE t SET value = 1 WHERE id = 1"))
        async with asyncio.timeout(PATIENCE):
            await home.commit_arrived.wait()
        home.commit_latency = 0
        await second.execute("UPDATE t SET value = 2 WHERE id = 1")
        pass_time(PATIENCE / 2)
        with pytest.raises(asyncpg.SerializationError, match=CONFLICT):
            await writing
        assert await values(second) == {1: 2, 2: 0}


async def test_a_transaction_that_only_reads_never_loses(home: StandIn, connect: Connect) -> None:
    async with connect(home) as reader, connect(home) as writer:
        await reader.execute(BEGIN)
        assert await values(reader) == {1: 0, 2: 0}
        await writer.execute("UPDATE t SET value = 1")
        home.conflicts = 1
        assert await values(reader) == {1: 0, 2: 0}
        assert await reader.execute("COMMIT") == "COMMIT"
        assert home.conflicts == 1


async def test_of_many_rivals_in_two_regions_each_winner_is_counted(
    home: StandIn, peer: StandIn, connect: Connect
) -> None:
    async def add_one(endpoint: StandIn) -> bool:
        async with connect(endpoint) as connection:
            await connection.execute(BEGIN)
            try:
                held = await connection.fetchval("SELECT value FROM t WHERE id = 1")
                await connection.execute("UPDATE t SET value = $1 WHERE id = 1", held + 1)
                await connection.execute("COMMIT")
            except asyncpg.SerializationError:
                return False
            return True

    won = sum(await asyncio.gather(*(add_one(endpoint) for endpoint in (home, peer) * 10)))
    async with connect(home) as connection:
        assert await values(connection) == {1: won, 2: 0}
    assert won == home.commits + peer.commits > 0


async def test_several_statements_in_one_message_are_one_transaction(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.execute("UPDATE t SET value = 1; INSERT INTO t VALUES (1, 1)")
        assert await values(connection) == {1: 0, 2: 0}
        await connection.execute("UPDATE t SET value = 1; INSERT INTO t VALUES (3, 1); ")
        assert await values(connection) == {1: 1, 2: 1, 3: 1}
        await connection.executemany("INSERT INTO t VALUES ($1, 0)", [(4,), (5,)])
        assert len(await values(connection)) == 5


async def test_a_statement_with_random_rows_is_refused(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="differently the second time"):
            await connection.fetch("UPDATE t SET value = 1 RETURNING gen_random_uuid()")


async def test_rows_are_counted_over_the_whole_transaction(home: StandIn, connect: Connect) -> None:
    insert = "INSERT INTO t SELECT generate_series($1::integer, $2::integer)"
    async with connect(home) as connection:
        await connection.execute(BEGIN)
        await connection.execute(insert, 11, 3000)
        assert await connection.execute(insert, 3001, 3010) == "INSERT 0 10"
        with pytest.raises(asyncpg.ProgramLimitExceededError, match="transaction row limit exceeded"):
            await connection.execute("UPDATE t SET value = 1 WHERE id = 1")
        assert await connection.execute("COMMIT") == "ROLLBACK"
        with pytest.raises(asyncpg.ProgramLimitExceededError):  # also if the client fetches only some of its rows
            await connection.fetchrow(f"{insert} RETURNING id", 11, 3011)
        assert await values(connection) == {1: 0, 2: 0}


async def test_a_transaction_has_an_age_and_a_size(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        await connection.execute(BEGIN)
        with pytest.raises(asyncpg.ProgramLimitExceededError, match="size limit"):
            await connection.fetchval("UPDATE t SET value = length($1::text)", "x" * 10 * 1024 * 1024)
        await connection.execute("ROLLBACK")
        await connection.execute(BEGIN)
        home.transaction_age = 0
        with pytest.raises(asyncpg.ProgramLimitExceededError, match="age limit"):
            await connection.execute("SELECT 1")


async def test_every_other_session_gets_one_conflict_for_a_schema_change(
    home: StandIn, peer: StandIn, connect: Connect
) -> None:
    async with connect(home) as operator, connect(home) as reader, connect(peer) as writer:
        await writer.execute(BEGIN)
        await writer.execute("UPDATE t SET value = 1 WHERE id = 1")
        await operator.execute("ALTER TABLE t ADD COLUMN more integer")
        assert await operator.fetchval("SELECT count(more) FROM t") == 0

        assert await reader.fetchval("SELECT 1") == 1  # it names no table
        with pytest.raises(asyncpg.SerializationError, match=SCHEMA_CHANGED):
            await reader.fetch("SELECT * FROM t")
        assert await reader.fetchval("SELECT count(more) FROM t") == 0

        with pytest.raises(asyncpg.SerializationError, match=SCHEMA_CHANGED):
            await writer.execute("COMMIT")
        assert await values(writer) == {1: 0, 2: 0}


async def test_the_later_of_two_that_create_one_table_gets_a_conflict(
    home: StandIn, peer: StandIn, connect: Connect
) -> None:
    create = "CREATE TABLE IF NOT EXISTS made (id integer)"
    async with connect(home) as first, connect(peer) as second:
        for connection in (first, second):
            await connection.execute("BEGIN")
            await connection.execute(create)
        await first.execute("COMMIT")
        with pytest.raises(asyncpg.SerializationError, match=SCHEMA_CHANGED):
            await second.execute("COMMIT")
        assert await second.execute(create) == "CREATE TABLE"
        assert await second.fetch("SELECT * FROM made") == []


async def test_ddl_and_dml_do_not_go_together_in_either_order(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        await connection.execute("BEGIN")
        await connection.execute("UPDATE t SET value = 1")
        with pytest.raises(asyncpg.FeatureNotSupportedError, match="ddl and dml are not supported"):
            await connection.execute("GRANT SELECT ON t TO PUBLIC")


async def test_a_function_that_writes_is_done_at_commit(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        await connection.execute(
            "CREATE FUNCTION put(integer) RETURNS void LANGUAGE sql AS 'INSERT INTO t VALUES ($1, 0)'"
        )
        await connection.execute("BEGIN")
        await connection.fetch("SELECT put(3)")
        await connection.execute("COMMIT")
        assert set(await values(connection)) == {1, 2, 3}
