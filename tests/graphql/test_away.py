"""The answers of the API while the database is away, and what becomes of purchases."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from api.database.endpoint import Endpoint
from api.database.pool import READ_TIMEOUT, Transaction
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.settings import Settings
from tests.engines import on_both_engines
from tests.faults import Faulty
from tests.graphql.operations import ORDERS, PRODUCTS, RESTOCK, stock_of
from tests.patience import PATIENCE, short
from tests.regions import PEER
from tests.server import ADMIN_TOKEN, PURCHASE, Server, serving

DEADLINE = RetryBudget(attempts=1_000_000, seconds=short(0.5))
"""A budget that only its deadline can use up."""

ATTEMPTS = RetryBudget(attempts=3, seconds=PATIENCE)
"""A budget that only its attempts can use up."""


def go_away_after_the_commit(monkeypatch: pytest.MonkeyPatch, database: Faulty) -> None:
    """Take the database away after the next COMMIT of this process, whether its answer comes or not."""
    commit = Transaction.commit

    async def commit_and_go_away(transaction: Transaction) -> None:
        try:
            await commit(transaction)
        finally:
            database.down()

    monkeypatch.setattr(Transaction, "commit", commit_and_go_away)


@pytest.fixture
async def server(settings: Settings, faulty: Faulty) -> AsyncIterator[Server]:
    """A server whose home endpoint can go away. Its peer stays."""
    endpoints = (Endpoint("us-east-1", faulty.url), settings.endpoints[1])
    async with serving(replace(settings, endpoints=endpoints)) as server:
        yield server


def alone(settings: Settings, database: Faulty, budget: RetryBudget) -> Settings:
    """Settings of a server whose only endpoint can go away."""
    return replace(settings, endpoints=(Endpoint("us-east-1", database.url),), budget=budget)


@pytest.fixture
async def lone_server(settings: Settings, faulty: Faulty) -> AsyncIterator[Server]:
    """A server with three attempts, whose only endpoint can go away."""
    async with serving(alone(settings, faulty, ATTEMPTS)) as server:
        yield server


def assert_shows_nothing_of_the_inside(message: str, database: Faulty) -> None:
    assert not re.search(r"127\.0\.0\.1|postgres|asyncpg|Errno|Traceback|08\d{3}|password", message)
    assert str(urlsplit(database.url).port) not in message


@on_both_engines
async def test_reads_are_answered_as_unavailable_and_recover(lone_server: Server, faulty: Faulty) -> None:
    server = lone_server
    product_id = await server.create_product(10)
    faulty.down()
    for query, variables in (
        ("query ($id: ID!) { product(id: $id) { stock } }", {"id": product_id}),
        ("query ($id: ID!) { order(id: $id) { id } }", {"id": product_id}),
        (PRODUCTS, {}),
        (ORDERS, {"userRef": "ada"}),
    ):
        async with asyncio.timeout(READ_TIMEOUT):
            code, message = await server.refusal(query, variables)
        assert code == "SERVICE_UNAVAILABLE"
        assert message.startswith("The database cannot be reached right now")
        assert_shows_nothing_of_the_inside(message, faulty)
    regions = (await server.data("{ regions { name home healthy latencyMs } }"))["regions"]
    assert regions == [{"name": "us-east-1", "home": True, "healthy": False, "latencyMs": None}]
    await faulty.up()
    assert await stock_of(server, product_id) == 10


@on_both_engines
@pytest.mark.slow
async def test_a_purchase_is_answered_as_unavailable_at_its_deadline(
    settings: Settings, lone_server: Server, faulty: Faulty
) -> None:
    product_id = await lone_server.create_product(10)
    wanted = {"productId": product_id, "userRef": "ada", "idempotencyKey": "click-1"}
    async with serving(alone(settings, faulty, DEADLINE)) as server:
        faulty.down()
        async with asyncio.timeout(PATIENCE):
            answers = await asyncio.gather(*(server.refusal(PURCHASE, {"input": wanted}) for _ in range(5)))
    nothing = (
        "The database cannot be reached right now, and nothing was changed by this request. Try again in a moment."
    )
    assert answers == [("SERVICE_UNAVAILABLE", nothing)] * 5
    await faulty.up()
    assert await stock_of(lone_server, product_id) == 10
    bought = await lone_server.purchase(product_id, "ada", idempotencyKey="click-1")
    assert (bought["status"], bought["replayed"]) == ("CONFIRMED", False)


@on_both_engines
async def test_a_purchase_with_a_lost_commit_is_found_and_confirmed(server: Server, faulty: Faulty) -> None:
    product_id = await server.create_product(10)
    faulty.cut_after_commit = 1000  # every commit arrives, and its answer never does
    bought = await server.purchase(product_id, "ada", idempotencyKey="click-1")
    faulty.cut_after_commit = 0
    assert (bought["status"], bought["attempts"], bought["replayed"]) == ("CONFIRMED", 2, False)
    assert (await server.purchase(product_id, "ada", idempotencyKey="click-1"))["replayed"]
    assert await stock_of(server, product_id) == 9


@on_both_engines
async def test_a_purchase_with_a_lost_commit_that_cannot_be_found_is_not_known_yet(
    lone_server: Server, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer may not claim that nothing was changed."""
    server = lone_server
    product_id = await server.create_product(10)
    wanted = {"productId": product_id, "userRef": "ada", "idempotencyKey": "click-1"}
    go_away_after_the_commit(monkeypatch, faulty)
    faulty.cut_after_commit = 1
    code, message = await server.refusal(PURCHASE, {"input": wanted})
    monkeypatch.undo()
    await faulty.up()

    assert code == "SERVICE_UNAVAILABLE"
    assert "it is not known yet whether this was done" in message
    assert "nothing was changed" not in message
    assert await stock_of(server, product_id) == 9


@on_both_engines
async def test_a_buyer_who_disconnects_at_commit_has_bought(server: Server, faulty: Faulty) -> None:
    product_id = await server.create_product(10)
    wanted = {"productId": product_id, "userRef": "ada", "idempotencyKey": "impatient"}
    body = orjson.dumps({"query": PURCHASE, "variables": {"input": wanted}})
    head = b"POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    faulty.commit_arrived.clear()
    _, writer = await asyncio.open_connection("127.0.0.1", int(server.url.rpartition(":")[2]))
    writer.write(head % len(body) + body)
    async with asyncio.timeout(PATIENCE):
        await faulty.commit_arrived.wait()
    writer.transport.abort()

    again = await server.purchase(product_id, "ada", idempotencyKey="impatient")

    assert (again["status"], again["replayed"]) == ("CONFIRMED", True)
    assert await stock_of(server, product_id) == 9


async def test_a_purchase_through_a_peer_is_answered_in_full_while_home_is_away(server: Server, faulty: Faulty) -> None:
    product_id = await server.create_product(10)
    faulty.down()
    bought = await server.purchase(product_id, "ada", region=PEER)
    assert (bought["status"], bought["region"]) == ("CONFIRMED", PEER)
    assert bought["order"]["product"] == {"id": product_id, "stock": 9}


@pytest.mark.parametrize("operation", ["purchase", "restock", "createProduct"])
async def test_a_change_is_answered_though_the_database_goes_away_after_its_commit(
    server: Server, faulty: Faulty, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    product_id = await server.create_product(10)
    go_away_after_the_commit(monkeypatch, faulty)
    if operation == "purchase":
        bought = await server.purchase(product_id)
        assert (bought["status"], bought["order"]["product"]["stock"]) == ("CONFIRMED", 9)
    elif operation == "restock":
        restock = {"input": {"productId": product_id, "delta": 5}}
        restocked = await server.data(RESTOCK, restock, token=ADMIN_TOKEN)
        assert restocked == {"restock": {"stock": 15}}
    else:
        product_id = await server.create_product(15)
    monkeypatch.undo()
    await faulty.up()

    assert await stock_of(server, product_id) == {"purchase": 9, "restock": 15, "createProduct": 15}[operation]


async def test_a_field_that_cannot_be_read_has_an_error_of_its_own(
    lone_server: Server, faulty: Faulty, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = lone_server
    await server.purchase(await server.create_product(10), "ada")
    fetch = Regions.fetch

    async def fetch_and_go_away(*arguments: Any) -> Any:
        rows = await fetch(*arguments)
        faulty.down()
        return rows

    monkeypatch.setattr(Regions, "fetch", fetch_and_go_away)
    answer = await server.ask('{ orders(userRef: "ada") { edges { node { product { stock } } } } }')

    assert answer["data"] is None
    [error] = answer["errors"]
    assert error["path"] == ["orders", "edges", 0, "node", "product"]
    assert error["extensions"] == {"code": "SERVICE_UNAVAILABLE"}
    assert "this part of the answer could not be read" in error["message"]
    assert "nothing was changed" not in error["message"]


async def test_a_region_whose_endpoint_refuses_connections_is_unavailable(settings: Settings) -> None:
    away = Endpoint("us-east-2", "postgresql://operator:hunter2@127.0.0.1:1/dropzero")
    endpoints = (settings.endpoints[0], away)
    async with serving(replace(settings, endpoints=endpoints, budget=DEADLINE)) as server:
        product_id = await server.create_product(10)
        wanted = {"productId": product_id, "userRef": "ada", "region": "us-east-2"}
        async with asyncio.timeout(PATIENCE):
            code, message = await server.refusal(PURCHASE, {"input": wanted})
        assert code == "SERVICE_UNAVAILABLE"
        assert "hunter2" not in message
        assert "127.0.0.1" not in message
        assert await stock_of(server, product_id) == 10
