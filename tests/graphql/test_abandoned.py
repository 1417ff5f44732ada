"""Operations that a websocket's client abandons: queries run to their end, and purchases that wait leave their line."""

import asyncio
from typing import Any

import pytest

from api.database.pool import Pool
from api.database.regions import Regions
from api.graphql.execution import Executor
from api.graphql.watching import MAX_OPERATIONS
from tests.graphql.operations import ORDER, UNKNOWN_ID, stock_of
from tests.graphql.several import until_waiting
from tests.graphql.subscriptions import BUY, WATCH, streaming, until_metrics
from tests.graphql.transport import assert_alive, connected
from tests.locks import connections, stock_held, table_locked, until_blocked
from tests.patience import PATIENCE, until
from tests.server import Server

SOME_ID = {"id": UNKNOWN_ID}


@pytest.fixture(autouse=True)
def patient_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reads wait for as long as a test locks their table."""
    original = Regions.fetch

    async def fetch(self: Regions, statement: str, *arguments: Any, timeout: float = PATIENCE) -> Any:
        return await original(self, statement, *arguments, timeout=PATIENCE)

    monkeypatch.setattr(Regions, "fetch", fetch)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts of the documents whose execution has ended."""
    texts: list[str] = []
    original = Executor.execute

    async def execute(self: Executor, document: Any, *arguments: Any) -> Any:
        try:
            return await original(self, document, *arguments)
        finally:
            texts.append(document.text)

    monkeypatch.setattr(Executor, "execute", execute)
    return texts


async def test_a_completed_query_runs_to_its_end_and_is_not_answered(
    server: Server, behind: Pool, ended: list[str]
) -> None:
    """No connection to the database is closed for it."""
    async with connected(server) as client:
        await client.answer(ORDER, SOME_ID)
        async with table_locked(behind, "orders"):
            await client.subscribe(ORDER, SOME_ID, id="left")
            await until_blocked(behind)
            before = await connections(behind)
            await client.complete("left")
            await assert_alive(client)
            await until_blocked(behind)
            assert len(ended) == 1
        await until(lambda: len(ended) == 2)

        assert await client.answer("{ __typename }", id="left") == {"__typename": "Query"}
    assert await connections(behind) >= before


async def test_a_socket_that_closes_amid_a_query_costs_no_connection(
    server: Server, behind: Pool, ended: list[str]
) -> None:
    async with table_locked(behind, "orders"):
        async with connected(server) as client:
            await client.subscribe(ORDER, SOME_ID)
            await until_blocked(behind)
            before = await connections(behind)
            client.connection.transport.abort()
        await until_blocked(behind)
        assert ended == []
    await until(lambda: len(ended) == 1)

    assert await connections(behind) >= before


async def test_a_completed_query_counts_until_it_has_ended(server: Server, behind: Pool, ended: list[str]) -> None:
    async with connected(server) as client:
        async with table_locked(behind, "orders"):
            for number in range(MAX_OPERATIONS):
                await client.subscribe(ORDER, SOME_ID, id=str(number))
                await client.complete(str(number))
            await client.subscribe("{ __typename }", id="one more")
            assert (await client.error("one more"))[0] == "TOO_MANY_OPERATIONS"
        await until(lambda: len(ended) == MAX_OPERATIONS)

        assert await client.answer("{ __typename }", id="one more") == {"__typename": "Query"}


async def test_the_id_of_a_completed_query_can_be_used_again_at_once(
    server: Server, behind: Pool, ended: list[str]
) -> None:
    async with connected(server) as client:
        async with table_locked(behind, "orders"):
            await client.subscribe(ORDER, SOME_ID, id="same")
            await client.complete("same")
            assert await client.answer("{ __typename }", id="same") == {"__typename": "Query"}
            await client.subscribe(ORDER, SOME_ID, id="same")
            await until_blocked(behind, 2)
        assert await client.next("same") == {"order": None}
        assert await client.receive() == {"id": "same", "type": "complete"}
        await until(lambda: len(ended) == 3)


async def test_a_completed_purchase_leaves_its_line(server: Server, behind: Pool) -> None:
    product_id = await server.create_product(stock=10)

    def wanted(buyer: str) -> dict[str, Any]:
        return {"input": {"productId": product_id, "userRef": buyer}}

    async with connected(server) as client:
        async with stock_held(behind, product_id):
            first = asyncio.create_task(server.data(BUY, wanted("first")))
            await until_blocked(behind)
            for buyer in ("leaves", "stays"):
                await client.subscribe(BUY, wanted(buyer), id=buyer)
            await until_waiting(server, 3)
            before = await connections(behind)
            await client.complete("leaves")
            await assert_alive(client)

        assert await client.next("stays") == {"purchase": {"status": "CONFIRMED"}}
        assert await client.receive() == {"id": "stays", "type": "complete"}
        assert await first == {"purchase": {"status": "CONFIRMED"}}
        await until_waiting(server, 0)
    assert await stock_of(server, product_id) == 8
    assert await server.data('{ orders(userRef: "leaves") { edges { cursor } } }') == {"orders": {"edges": []}}
    assert await connections(behind) >= before


async def test_a_watcher_that_leaves_at_once_costs_no_connection(server: Server, behind: Pool) -> None:
    product_ids = [await server.create_product(stock=5) for _ in range(10)]
    async with connected(server) as client:
        async with table_locked(behind, "stock_shards"):
            await client.subscribe(WATCH, {"ids": product_ids[:1]}, id="first")
            await until_blocked(behind)
            before = await connections(behind)
            await client.complete("first")
            for number in range(100):
                await client.subscribe(WATCH, {"ids": [product_ids[number % 10]]}, id="fickle")
                await client.complete("fickle")
            for number in range(10):
                async with streaming(server, WATCH, {"ids": [product_ids[number]]}) as stream:
                    stream.response.close()
            await until_metrics(server, watchers=0, watched_products=0, sockets=1)
            await until_blocked(behind)

        await client.subscribe(WATCH, {"ids": product_ids[-1:]}, id="stays")
        assert await client.next("stays") == {"stockChanged": {"stock": 5, "version": 1}}
    assert await connections(behind) >= before
