"""The stand-in's faults happen when they are set, and as often as their count."""

import asyncio

import asyncpg
import pytest

from tests.clock import pass_time
from tests.dsql.conftest import Connect, Connection
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE, short, until

LOST = (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, ConnectionError)

pytestmark = pytest.mark.usefixtures("table")


async def update(connection: Connection) -> None:
    async with connection.transaction(isolation="repeatable_read"):
        await connection.execute("UPDATE t SET value = value + 1 WHERE id = 1")


async def value(home: StandIn, connect: Connect) -> int:
    async with connect(home) as connection:
        found: int = await connection.fetchval("SELECT value FROM t WHERE id = 1")
        return found


async def test_a_commit_with_the_fault_of_a_conflict_writes_nothing(home: StandIn, connect: Connect) -> None:
    home.conflicts = 2
    async with connect(home) as connection:
        with pytest.raises(asyncpg.SerializationError, match="OC000"):
            await update(connection)
        with pytest.raises(asyncpg.SerializationError, match="OC000"):
            await connection.execute("UPDATE t SET value = value + 1 WHERE id = $1", 1)
        assert await value(home, connect) == 0
        await update(connection)
    assert await value(home, connect) == 1


@pytest.mark.parametrize(("fault", "written"), [("cut_before_commit", 0), ("cut_after_commit", 1)])
@pytest.mark.parametrize("explicit", [True, False])
async def test_a_connection_is_cut_before_or_after_its_commit(
    home: StandIn, connect: Connect, fault: str, written: int, explicit: bool
) -> None:
    setattr(home, fault, 1)
    async with connect(home) as connection:
        write = update(connection) if explicit else connection.execute("UPDATE t SET value = 1 WHERE id = 1")
        with pytest.raises(LOST):
            await write
    assert getattr(home, fault) == 0
    assert await value(home, connect) == written


async def test_a_commit_hangs_until_its_client_gives_up(home: StandIn, connect: Connect) -> None:
    home.hang_at_commit = 1
    async with connect(home) as connection, connect(home) as rival:
        hanging = asyncio.create_task(update(connection))
        async with asyncio.timeout(PATIENCE):
            await home.commit_arrived.wait()
        await update(rival)  # nothing is locked
        assert not hanging.done()
        connection.terminate()
        with pytest.raises(LOST):
            await hanging
    assert await value(home, connect) == 1


async def test_statements_and_commits_take_their_latency(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        home.statement_latency = home.commit_latency = PATIENCE / 2
        updating = asyncio.create_task(update(connection))
        await until(lambda: home.statements == 1)
        assert not home.commit_arrived.is_set()
        pass_time(home.statement_latency)
        await until(home.commit_arrived.is_set)
        assert (home.commits, updating.done()) == (0, False)
        pass_time(home.commit_latency)
        await updating
        assert home.commits == 1


async def test_an_endpoint_that_hangs_answers_when_it_is_released(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection:
        home.hang()
        reading = asyncio.create_task(connection.fetchval("SELECT 1"))
        with pytest.raises(TimeoutError):
            async with connect(home, timeout=short(0.1)):
                pass
        assert not reading.done()
        home.release()
        assert await reading == 1
    assert await value(home, connect) == 0


async def test_an_endpoint_that_is_down_drops_its_connections_and_comes_up_again(
    home: StandIn, peer: StandIn, connect: Connect
) -> None:
    async with connect(home) as connection, connect(peer) as elsewhere:
        await connection.execute("BEGIN")
        await connection.execute("UPDATE t SET value = 1")
        home.down()
        with pytest.raises(LOST):
            await connection.execute("COMMIT")
        with pytest.raises(OSError, match="Connect call failed"):
            async with connect(home):
                pass
        assert await elsewhere.fetchval("SELECT sum(value) FROM t") == 0

        await home.up()
        assert await value(home, connect) == 0


async def test_connections_statements_and_commits_are_counted(home: StandIn, connect: Connect) -> None:
    async with connect(home) as connection, connect(home):
        await update(connection)
        assert (home.connections_opened, home.connections_open, home.statements, home.commits) == (2, 2, 1, 1)
    assert await value(home, connect) == 1
    assert home.connections_opened == 3
