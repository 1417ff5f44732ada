"""The protocol graphql-transport-ws on a real server: its messages, its operations, and how they end."""

import asyncio
import contextlib
import logging
from dataclasses import replace
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Close, Frame, Opcode

from api.graphql.watching import MAX_OPERATIONS
from api.settings import Settings, SocketTimes
from tests.graphql.operations import STOCK, stock_of
from tests.graphql.stranger import connection, subscribe
from tests.graphql.subscriptions import BUY, WATCH, until_metrics
from tests.graphql.transport import Client, assert_alive, connected
from tests.patience import short
from tests.server import Server, serving


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture(scope="module")
def settings(shared_server: Server) -> Settings:
    return shared_server.settings


async def test_queries_mutations_and_subscriptions_share_one_socket(server: Server, client: Client) -> None:
    product_id = await server.create_product(stock=2)

    await client.subscribe(WATCH, {"ids": [product_id]}, id="watch")
    assert await client.next("watch") == {"stockChanged": {"stock": 2, "version": 1}}
    await client.subscribe(BUY, {"input": {"productId": product_id, "userRef": "ada"}}, id="buy")
    messages = [await client.receive() for _ in range(3)]
    mine = [message for message in messages if message["id"] == "buy"]
    assert mine == [
        {"id": "buy", "type": "next", "payload": {"data": {"purchase": {"status": "CONFIRMED"}}}},
        {"id": "buy", "type": "complete"},
    ]
    [change] = [message for message in messages if message["id"] == "watch"]
    assert change["payload"] == {"data": {"stockChanged": {"stock": 1, "version": 2}}}
    assert await client.answer(STOCK, {"id": product_id}, id="read") == {"product": {"stock": 1}}


@pytest.mark.parametrize("init", [{}, {"payload": None}, {"payload": {}}, {"payload": {"authorization": 5}}])
async def test_connection_init_is_acknowledged_with_and_without_a_payload(
    newcomer: Client, init: dict[str, Any]
) -> None:
    await newcomer.send({"type": "connection_init", **init})

    assert await newcomer.receive() == {"type": "connection_ack"}


@pytest.mark.parametrize(
    ("ping", "pong"),
    [
        ({"type": "ping"}, {"type": "pong"}),
        ({"type": "ping", "payload": None}, {"type": "pong"}),
        ({"type": "ping", "payload": {}}, {"type": "pong", "payload": {}}),
        (
            {"type": "ping", "payload": {"at": 12.5, "é": ["\0"]}},
            {"type": "pong", "payload": {"at": 12.5, "é": ["\0"]}},
        ),
    ],
)
async def test_a_ping_is_answered_with_its_payload_even_before_init(
    newcomer: Client, ping: dict[str, Any], pong: dict[str, Any]
) -> None:
    await newcomer.send(ping)

    assert await newcomer.receive() == pong


async def test_a_pong_needs_no_ping_and_gets_no_answer(client: Client) -> None:
    await client.send({"type": "pong"})
    await client.send({"type": "pong", "payload": {"at": 1}})

    await assert_alive(client)


async def test_complete_ends_a_subscription_and_frees_its_id(server: Server, client: Client) -> None:
    product_id = await server.create_product(stock=5)
    await client.subscribe(WATCH, {"ids": [product_id]})
    assert await client.next() == {"stockChanged": {"stock": 5, "version": 1}}

    await client.complete()
    await assert_alive(client)
    await server.purchase(product_id)
    await assert_alive(client)  # no change was sent for the purchase

    await client.subscribe(WATCH, {"ids": [product_id]})
    assert await client.next() == {"stockChanged": {"stock": 4, "version": 2}}


async def test_an_id_can_be_used_again_once_its_operation_has_ended(client: Client) -> None:
    for _ in range(3):
        assert await client.answer("{ __typename }", id="again") == {"__typename": "Query"}
        await client.subscribe("{ nonsense }", id="again")
        assert (await client.error("again"))[0] == "GRAPHQL_VALIDATION_FAILED"


async def test_complete_of_an_unknown_operation_is_ignored(client: Client) -> None:
    await client.complete("nobody")

    await assert_alive(client)


async def test_a_purchase_can_be_sent_again_after_its_client_completed_it_or_left(server: Server) -> None:
    """With the same key, each buyer has bought once, whatever became of the first purchase."""
    product_id = await server.create_product(stock=5)
    async with connected(server) as client:
        for buyer in ("ada", "bob"):
            wanted = {"productId": product_id, "userRef": buyer, "idempotencyKey": "click"}
            await client.subscribe(BUY, {"input": wanted}, id=buyer)
        await client.complete("ada")
        client.connection.transport.abort()

    for buyer in ("ada", "bob"):
        assert (await server.purchase(product_id, buyer, idempotencyKey="click"))["status"] == "CONFIRMED"
    assert await stock_of(server, product_id) == 3


@pytest.mark.parametrize(
    ("query", "expected", "code"),
    [
        ("{ products(", "Syntax Error", "GRAPHQL_PARSE_FAILED"),
        ("", "Syntax Error", "GRAPHQL_PARSE_FAILED"),
        ("{ nonsense }", "Cannot query field 'nonsense'", "GRAPHQL_VALIDATION_FAILED"),
        ("query A { __typename } query B { __typename }", "Must provide operation name", "BAD_USER_INPUT"),
        ("query ($id: ID!) { product(id: $id) { id } }", "Variable '$id' has invalid value", "BAD_USER_INPUT"),
        (
            "subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { stock } }",
            "Variable '$ids'",
            "BAD_USER_INPUT",
        ),
        ("{" * 300, "Syntax Error", "GRAPHQL_PARSE_FAILED"),
        ("{ a: __typename " * 500, "Syntax Error", "GRAPHQL_PARSE_FAILED"),
    ],
)
async def test_an_operation_that_cannot_run_ends_alone(client: Client, query: str, expected: str, code: str) -> None:
    """It ends with its error, and the socket stays open."""
    await client.subscribe(query)

    found, message = await client.error()
    assert found == code
    assert expected in message
    await assert_alive(client)


async def test_the_error_of_a_field_comes_beside_the_data(client: Client) -> None:
    await client.subscribe('{ __typename product(id: "x") { id } }')

    message = await client.receive()
    assert message["type"] == "next"
    assert message["payload"]["data"] == {"__typename": "Query", "product": None}
    [error] = message["payload"]["errors"]
    assert error["path"] == ["product"]
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert await client.receive() == {"id": "1", "type": "complete"}


async def test_a_subscription_that_skips_its_only_field_is_refused(client: Client) -> None:
    await client.subscribe('subscription { stockChanged(productIds: ["x"]) @skip(if: true) { stock } }')

    assert (await client.error())[0] == "GRAPHQL_VALIDATION_FAILED"


async def test_answers_to_a_client_that_has_just_left_are_dropped_silently(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    leaving = Frame(Opcode.CLOSE, Close(1012, "").serialize()).serialize(mask=True)
    async with connection(server) as stranger:
        await stranger.open_session()
        queries = b"".join(subscribe("{ __typename }", {}, id=str(number)) for number in range(3))
        stranger.transport.write(queries + leaving)
        await until_metrics(server, sockets=0)

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("offered", ["graphql-ws", "mqtt"])
async def test_another_subprotocol_closes_the_socket(server: Server, offered: str) -> None:
    async with connected(server, init=False, subprotocols=[offered]) as client:
        assert await client.closed() == (4406, "Subprotocol not acceptable; this server speaks graphql-transport-ws")


async def test_the_server_chooses_its_subprotocol_from_several(server: Server) -> None:
    async with connected(server, subprotocols=["graphql-ws", "graphql-transport-ws"]) as client:
        assert client.connection.subprotocol == "graphql-transport-ws"


async def test_the_operations_of_a_socket_are_limited(server: Server, client: Client) -> None:
    product_id = await server.create_product()
    for number in range(MAX_OPERATIONS):
        await client.subscribe(WATCH, {"ids": [product_id]}, id=str(number))
        await client.next(str(number))

    await client.complete("0")
    await client.subscribe(WATCH, {"ids": [product_id]}, id="another")
    assert await client.next("another") == {"stockChanged": {"stock": 10, "version": 1}}

    for one_too_many in ("{ __typename }", WATCH, "no document"):
        await client.subscribe(one_too_many, {"ids": [product_id]}, id="one too many")
        code, message = await client.error("one too many")
        assert (code, message.partition(".")[0]) == (
            "TOO_MANY_OPERATIONS",
            f"A connection can have {MAX_OPERATIONS} operations at a time",
        )

    await server.purchase(product_id)
    others = {(await client.receive())["id"] for _ in range(MAX_OPERATIONS)}
    assert others == {"another", *map(str, range(1, MAX_OPERATIONS))}
    await client.complete("1")
    assert await client.answer("{ __typename }", id="one too many") == {"__typename": "Query"}


async def test_the_sockets_of_a_process_are_limited(settings: Settings) -> None:
    async with serving(replace(settings, sockets=2)) as server:
        async with connected(server), connected(server) as second:
            async with connected(server, init=False) as third:
                assert await third.closed() == (
                    1013,
                    "All 2 sockets of this server are open; try again later",
                )
            await assert_alive(second)
        await until_metrics(server, sockets=0)
        async with connected(server) as client:
            await assert_alive(client)


@pytest.mark.parametrize("leave", ["close", "abort", "malformed", "complete"])
async def test_no_operation_outlives_its_socket(server: Server, leave: str) -> None:
    await until_metrics(server, sockets=0, watchers=0, broadcasts=0)
    product_id = await server.create_product()
    async with connected(server) as client:
        for number in range(20):
            await client.subscribe(WATCH, {"ids": [product_id]}, id=str(number))
            await client.next(str(number))
        await until_metrics(server, sockets=1, watchers=20, broadcasts=1)

        if leave == "close":
            await client.connection.close()
        elif leave == "abort":
            client.connection.transport.abort()
        elif leave == "malformed":
            await client.send("malformed")
        else:
            for number in range(20):
                await client.complete(str(number))

        await until_metrics(server, sockets=int(leave == "complete"), watchers=0, broadcasts=0, watched_products=0)


async def test_a_client_that_does_not_read_is_disconnected(settings: Settings) -> None:
    impatient = replace(settings, socket_times=SocketTimes(send=short(0.2)))
    async with serving(impatient) as server, connected(server) as client:
        product_id = await server.create_product()
        await client.subscribe(WATCH, {"ids": [product_id]})
        await client.next()
        client.connection.transport.pause_reading()
        flood = asyncio.create_task(flood_with_pings(client))

        await until_metrics(server, sockets=0, watchers=0)

        client.connection.transport.abort()
        await flood


async def flood_with_pings(client: Client) -> None:
    """Send pings until the socket is closed. Their pongs are not read, and fill every buffer on the way."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            await client.send({"type": "ping", "payload": {"padding": "x" * 30_000}})


async def test_a_stopping_server_closes_its_sockets(settings: Settings) -> None:
    async with contextlib.AsyncExitStack() as clients:
        async with serving(settings) as server:
            product_id = await server.create_product()
            watching = await clients.enter_async_context(connected(server))
            await watching.subscribe(WATCH, {"ids": [product_id]})
            await watching.next()
            idle = await clients.enter_async_context(connected(server, init=False))

        assert (await watching.closed())[0] == 1012
        assert (await idle.closed())[0] == 1012
