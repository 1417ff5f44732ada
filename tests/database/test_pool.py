"""A pool of connections: which of them are lent again, and what becomes of work whose connection is dropped."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest

from api.database.endpoint import Endpoint
from api.database.errors import Conflict, OutcomeUnknown, Unavailable
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from tests.clock import pass_time
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE, PATIENT_TIMES, short, until
from tests.regions import HOME

FOREVER = 3600.0
TIMES = replace(PATIENT_TIMES.pool, commit=FOREVER)
SOON = short(0.1)
NO_ANSWER = rf"^no answer within {re.escape(f'{SOON:g}')} seconds$"


@pytest.fixture
async def pool(home: StandIn, tokens: AuthTokens) -> AsyncIterator[Pool]:
    async with Pool(Endpoint(HOME, home.url), 2, tokens, TIMES) as pool:
        yield pool


async def read_twice_at_once(pool: Pool) -> list[int]:
    answers = await asyncio.gather(*(pool.fetch("SELECT 1 AS one", timeout=PATIENCE) for _ in range(2)))
    return [row["one"] for rows in answers for row in rows]


async def test_a_connection_is_lent_again_with_nothing_sent_in_between(pool: Pool, home: StandIn) -> None:
    for _ in range(5):
        assert [tuple(row) for row in await pool.fetch("SELECT 1")] == [(1,)]
    async with pool.begin() as transaction:
        await transaction.fetch("SELECT 2")  # left without COMMIT
    with pytest.raises(asyncpg.UndefinedTableError):
        await pool.fetch("SELECT 3 FROM nowhere")
    assert await pool.fetch("SELECT 4")
    # asyncpg's reset at a release would cost the connection: Aurora DSQL refuses a part of it.
    assert (home.connections_opened, home.statements) == (1, 7)


async def test_a_pool_opens_while_its_endpoint_is_away(home: StandIn, tokens: AuthTokens) -> None:
    home.down()
    async with Pool(Endpoint(HOME, home.url), 1, tokens, TIMES) as pool:
        with pytest.raises(Unavailable, match="nothing listens"):
            await pool.warm_up(1)
        with pytest.raises(Unavailable, match="nothing listens"):
            await pool.fetch("SELECT 1")
        with pytest.raises(Unavailable, match="nothing listens"):
            await pool.execute("SELECT 1")  # never sent, so its outcome is known
        await home.up()
        assert await pool.fetch("SELECT 1")


async def test_warm_up_opens_no_more_connections_than_the_pool_may_have(pool: Pool, home: StandIn) -> None:
    await pool.warm_up(5)
    assert (home.connections_open, home.connections_opened) == (2, 2)


async def test_a_connection_past_its_age_is_replaced_before_it_is_lent(pool: Pool, home: StandIn) -> None:
    await pool.warm_up(1)
    pass_time(TIMES.connect.lifetime[1])
    for _ in range(5):
        await pool.fetch("SELECT 1")
    assert home.connections_opened == 2
    await until(lambda: home.connections_open == 1)  # the old one is closed


async def test_connections_that_the_server_drops_cost_no_read(pool: Pool, home: StandIn) -> None:
    home.statement_latency = FOREVER
    reading = asyncio.create_task(read_twice_at_once(pool))
    await until(lambda: home.statements == 2)
    home.statement_latency = 0.0
    home.drop()
    assert await reading == [1, 1]
    for opened in (6, 8):
        home.drop()  # while they are idle
        assert await read_twice_at_once(pool) == [1, 1]
        assert home.connections_opened == opened


async def test_a_connection_that_was_dropped_while_idle_costs_a_transaction_nothing(pool: Pool, home: StandIn) -> None:
    dropped = asyncio.Event()
    async with pool.begin() as transaction:
        transaction._connection.add_termination_listener(lambda _: dropped.set())
    home.drop()
    async with asyncio.timeout(PATIENCE):
        await dropped.wait()
    async with pool.begin() as transaction:
        assert await transaction.fetch("SELECT 1")
    assert home.connections_opened == 2


async def test_dropping_all_connections_ends_work_that_waits_at_once(pool: Pool, home: StandIn) -> None:
    await pool.warm_up(2)
    home.statement_latency = FOREVER

    async def in_a_transaction() -> None:
        async with pool.begin(timeout=FOREVER) as transaction:
            await transaction.fetch("SELECT 1")

    waiting = [asyncio.create_task(pool.fetch_once("SELECT 1", ())), asyncio.create_task(in_a_transaction())]
    await until(lambda: home.statements == 2)
    pool.drop_connections()
    async with asyncio.timeout(PATIENCE):
        results = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable, Unavailable]

    home.statement_latency = 0.0
    assert await pool.fetch_once("SELECT 1", ())
    assert home.connections_opened == 3, "connections that open afterwards are not affected"


async def test_dropping_all_connections_leaves_a_commit_s_outcome_unknown(pool: Pool, home: StandIn) -> None:
    home.hang_at_commit = 1

    async def commit() -> None:
        async with pool.begin() as transaction:
            await transaction.execute("DELETE FROM products")
            await transaction.commit()

    committing = asyncio.create_task(commit())
    async with asyncio.timeout(PATIENCE):
        await home.commit_arrived.wait()
        pool.drop_connections()
        with pytest.raises(OutcomeUnknown, match="no answer to COMMIT"):
            await committing


async def test_idle_connections_are_not_lent_after_drop_connections(pool: Pool, home: StandIn) -> None:
    await pool.warm_up(2)
    home.hang()  # a statement on one of them waits
    pool.drop_connections()
    home.release()
    await asyncio.gather(*(pool.fetch_once("SELECT 1", ()) for _ in range(2)))
    assert home.connections_opened == 4
    await asyncio.gather(*(pool.fetch_once("SELECT 1", ()) for _ in range(2)))
    assert home.connections_opened == 4


async def test_a_transaction_past_its_time_is_unavailable_and_its_connection_dropped(pool: Pool, home: StandIn) -> None:
    await pool.warm_up(1)
    home.statement_latency = FOREVER
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(Unavailable, match=NO_ANSWER):
            async with pool.begin(timeout=SOON) as transaction:
                await transaction.fetch("SELECT 1")
    home.statement_latency = 0.0
    async with asyncio.timeout(PATIENCE), pool.begin() as transaction:
        assert await transaction.fetch("SELECT 1")
    assert home.connections_opened == 2


async def test_a_read_past_its_time_is_unavailable_despite_its_retries(pool: Pool, home: StandIn) -> None:
    home.statement_latency = FOREVER
    with pytest.raises(Unavailable, match=NO_ANSWER):
        await pool.fetch("SELECT 1", timeout=SOON)


async def test_the_wait_for_a_connection_ends(pool: Pool, home: StandIn) -> None:
    async with pool.begin(FOREVER) as first, pool.begin(FOREVER) as second:
        waiting = asyncio.create_task(pool.fetch_once("SELECT 1", ()))
        await asyncio.sleep(0)
        pass_time(TIMES.acquire)
        with pytest.raises(Unavailable, match=f"no connection: none within {TIMES.acquire:g} seconds"):
            await waiting
        assert await first.fetch("SELECT 1") == await second.fetch("SELECT 1")


async def test_one_statement_commits_once_and_raises_what_is_known_of_it(
    pool: Pool, behind: Pool, home: StandIn
) -> None:
    put = "INSERT INTO products (id, name, drop_name) VALUES (gen_random_uuid(), 'Tee', 'Drop')"

    async def put_so_far() -> int:
        return len(await behind.fetch("SELECT FROM products"))

    home.conflicts = 1
    with pytest.raises(Conflict):
        await pool.execute(put)
    assert await put_so_far() == 0
    home.cut_before_commit = 1
    with pytest.raises(OutcomeUnknown):
        await pool.execute(put)
    assert await put_so_far() == 0
    home.cut_after_commit = 1
    with pytest.raises(OutcomeUnknown):
        await pool.execute(put)
    assert await put_so_far() == 1
    home.statement_latency = FOREVER
    with pytest.raises(OutcomeUnknown):
        await pool.execute(put, timeout=SOON)
    home.statement_latency = 0.0
    await pool.execute(put)
    assert await put_so_far() == 2


async def test_connections_that_do_not_end_are_dropped_when_the_pool_closes(home: StandIn, tokens: AuthTokens) -> None:
    pool = Pool(Endpoint(HOME, home.url), 2, tokens, replace(TIMES, close=SOON))
    await pool.open()
    await pool.warm_up(2)
    home.hang()
    async with asyncio.timeout(PATIENCE):
        await pool.close()
    home.release()
    await until(lambda: home.connections_open == 0)
