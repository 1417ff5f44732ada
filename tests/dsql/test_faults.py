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


async def begin_commit(endpoint: StandIn, connection: Connection, row: int) -> "asyncio.Task[str]":
    """Write a row and send COMMIT. Return when the COMMIT has arrived and waits for its latency."""
    await connection.execute("BEGIN")
    await connection.execute("UPDATE t SET value = value + 1 WHERE id = $1", row)
    endpoint.commit_arrived.clear()
    committing = asyncio.create_task(connection.execute("COMMIT"))
    async with asyncio.timeout(PATIENCE):
        await endpoint.commit_arrived.wait()
    return committing


async def test_commits_take_their_latency_at_the_same_time(home: StandIn, connect: Connect) -> None:
    home.commit_latency = PATIENCE / 2
    async with connect(home) as first, connect(home) as second, connect(home) as rival:
        commits = [
            await begin_commit(home, connection, row) for connection, row in ((first, 1), (second, 2), (rival, 1))
        ]
        pass_time(PATIENCE / 2)  # once, for all of them
        async with asyncio.timeout(PATIENCE / 4):
            ends = await asyncio.gather(*commits, return_exceptions=True)
        home.commit_latency = 0

        assert ends[1] == "COMMIT"
        winner, loser = (ends[0], ends[2]) if ends[0] == "COMMIT" else (ends[2], ends[0])
        assert winner == "COMMIT"
        assert isinstance(loser, asyncpg.SerializationError)
        assert home.commits == 2


async def test_each_region_has_its_own_latency(home: StandIn, peer: StandIn, connect: Connect) -> None:
    home.commit_latency, peer.commit_latency = PATIENCE / 4, PATIENCE / 2
    async with connect(home) as near, connect(peer) as far:
        distant = await begin_commit(peer, far, 1)
        close = await begin_commit(home, near, 2)
        pass_time(home.commit_latency)
        assert await close == "COMMIT"
        assert not distant.done()
        pass_time(peer.commit_latency - home.commit_latency)
        assert await distant == "COMMIT"
        assert (home.commits, peer.commits) == (1, 1)


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
