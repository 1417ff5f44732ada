"""The protocol graphql-transport-ws, against a real server: what clients may send, and what they are told when not."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Close, Frame, Opcode

from api.graphql.origins import REFUSED_ORIGINS
from api.graphql.websocket import MAX_OPERATIONS
from api.identity.caller import FREE_GUESSES
from api.server import MAX_MESSAGE
from api.settings import Settings, SocketTimes, read_settings
from tests.graphql.stranger import connection, subscribe
from tests.graphql.subscriptions import BUY, WATCH, until_metrics
from tests.graphql.transport import Client, connected
from tests.patience import short
from tests.server import ADMIN_TOKEN, Server, serving

CREATE = """
mutation { createProduct(input: { name: "Cap", dropName: "Second Light", stock: 3 }) { name stock } }
"""


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture(scope="module")
def settings(shared_server: Server) -> Settings:
    return shared_server.settings


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """An acknowledged socket."""
    async with connected(server) as client:
        yield client


@pytest.fixture
async def stranger(server: Server) -> AsyncIterator[Client]:
    """A socket that has not sent connection_init."""
    async with connected(server, init=False) as client:
        yield client


async def assert_alive(client: Client) -> None:
    """The socket still answers; what was sent before has been handled, for messages are handled in order."""
    await client.send({"type": "ping"})
    assert await client.receive() == {"type": "pong"}


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
    read = await client.answer("query ($id: ID!) { product(id: $id) { stock } }", {"id": product_id}, id="read")
    assert read == {"product": {"stock": 1}}


@pytest.mark.parametrize("init", [{}, {"payload": None}, {"payload": {}}, {"payload": {"authorization": 5}}])
async def test_connection_init_is_acknowledged_with_and_without_a_payload(
    stranger: Client, init: dict[str, Any]
) -> None:
    await stranger.send({"type": "connection_init", **init})

    assert await stranger.receive() == {"type": "connection_ack"}


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
async def test_ping_is_answered_with_its_payload_even_before_init(
    stranger: Client, ping: dict[str, Any], pong: dict[str, Any]
) -> None:
    await stranger.send(ping)

    assert await stranger.receive() == pong


async def test_pong_needs_no_ping_and_no_answer(client: Client) -> None:
    await client.send({"type": "pong"})
    await client.send({"type": "pong", "payload": {"at": 1}})

    await assert_alive(client)


async def test_complete_stops_a_subscription_and_frees_its_id(server: Server, client: Client) -> None:
    product_id = await server.create_product(stock=5)
    await client.subscribe(WATCH, {"ids": [product_id]})
    assert await client.next() == {"stockChanged": {"stock": 5, "version": 1}}

    await client.complete()
    await assert_alive(client)
    await server.purchase(product_id)
    await assert_alive(client)  # and nothing was told of the purchase in between

    await client.subscribe(WATCH, {"ids": [product_id]})
    assert await client.next() == {"stockChanged": {"stock": 4, "version": 2}}


async def test_an_id_can_be_used_again_once_its_operation_has_ended(client: Client) -> None:
    for _ in range(3):
        assert await client.answer("{ __typename }", id="again") == {"__typename": "Query"}
        await client.subscribe("{ nonsense }", id="again")
        assert (await client.error("again"))[0] == "BAD_USER_INPUT"


async def test_complete_of_an_unknown_operation_is_ignored(client: Client) -> None:
    await client.complete("nobody")

    await assert_alive(client)


async def test_a_purchase_whose_client_says_complete_or_leaves_is_still_carried_out(server: Server) -> None:
    product_id = await server.create_product(stock=5)
    async with connected(server) as client:
        for buyer in ("ada", "bob"):
            wanted = {"productId": product_id, "userRef": buyer, "idempotencyKey": "click"}
            await client.subscribe(BUY, {"input": wanted}, id=buyer)
        await client.complete("ada")
        client.connection.transport.abort()

    for buyer in ("ada", "bob"):  # asking again under the same key is safe, whatever had become of the first
        assert (await server.purchase(product_id, buyer, idempotencyKey="click"))["status"] == "CONFIRMED"
    stock = await server.data("query ($id: ID!) { product(id: $id) { stock } }", {"id": product_id})
    assert stock == {"product": {"stock": 3}}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("{ products(", "Syntax Error"),
        ("", "Syntax Error"),
        ("{ nonsense }", "Cannot query field 'nonsense'"),
        ("query A { __typename } query B { __typename }", "Must provide operation name"),
        ("query ($id: ID!) { product(id: $id) { id } }", "Variable '$id' has invalid value"),
        ("subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { stock } }", "Variable '$ids'"),
        ("{" * 300, "Syntax Error"),
        ("{ a: __typename " * 500, "Syntax Error"),
    ],
)
async def test_an_operation_that_cannot_run_ends_with_its_error_and_not_with_the_socket(
    client: Client, query: str, expected: str
) -> None:
    await client.subscribe(query)

    code, message = await client.error()
    assert code == "BAD_USER_INPUT"
    assert expected in message
    await assert_alive(client)


async def test_a_field_that_fails_is_told_beside_the_data(client: Client) -> None:
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

    assert (await client.error())[0] == "BAD_USER_INPUT"


MALFORMED = [
    "[]",
    "null",
    "5",
    '"connection_init"',
    "true",
    "{}",
    '{"type": null}',
    '{"type": 5}',
    '{"type": []}',
    '{"type": {}}',
    '{"type": "start"}',
    '{"type": "connection_ack"}',
    '{"type": "next", "id": "1", "payload": {}}',
    '{"type": "ping", "payload": "x"}',
    '{"type": "ping", "payload": [1]}',
    '{"type": "pong", "payload": 5}',
    '{"type": "connection_init", "payload": "x"}',
    '{"type": "connection_init", "payload": []}',
    '{"type": "complete"}',
    '{"type": "complete", "id": 1}',
    '{"type": "complete", "id": ["1"]}',
    '{"type": "subscribe"}',
    '{"type": "subscribe", "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": "", "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": 1, "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": null, "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": ["1"], "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": "' + "x" * 201 + '", "payload": {"query": "{ __typename }"}}',
    '{"type": "subscribe", "id": "1"}',
    '{"type": "subscribe", "id": "1", "payload": null}',
    '{"type": "subscribe", "id": "1", "payload": "{ __typename }"}',
    '{"type": "subscribe", "id": "1", "payload": []}',
    '{"type": "subscribe", "id": "1", "payload": {}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": null}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": ["{ __typename }"]}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "operationName": 5}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "variables": []}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "variables": "x"}}',
    '{"type": "subscribe", "id": "1", "payload": {"query": "{ __typename }", "extensions": []}}',
    "",
    "{",
    "not JSON",
    '{"type": "ping"} {"type": "ping"}',
    '{"type": "ping", "payload": {"lone": "\\ud800"}}',
    '{"type": "ping", "payload": {"number": NaN}}',
    "[" * 30_000,
    '{"type": "ping", "payload": ' + '{"a": ' * 500 + "1" + "}" * 501,
]


@pytest.mark.parametrize("acknowledged", [False, True])
async def test_a_malformed_message_closes_the_socket_as_a_bad_request(server: Server, acknowledged: bool) -> None:
    for text in MALFORMED:
        async with connected(server, init=acknowledged) as client:
            await client.connection.send(text)

            code, reason = await client.closed()
            assert (code, bool(reason)) == (4400, True), text[:100]


async def test_a_message_that_is_too_large_closes_the_socket_as_websockets_have_it(server: Server) -> None:
    for size, code in ((MAX_MESSAGE, 4400), (MAX_MESSAGE + 1, 1009)):
        async with connected(server) as client:
            await client.connection.send("x" * size)
            assert (await client.closed())[0] == code


async def test_a_binary_frame_closes_the_socket_as_a_bad_request(client: Client) -> None:
    await client.connection.send(json.dumps({"type": "ping"}).encode())

    assert await client.closed() == (4400, "Message must be text")


async def test_text_that_is_not_utf8_closes_the_socket_as_websockets_have_it(client: Client) -> None:
    connection = client.connection
    frame = Frame(Opcode.TEXT, b'{"type": "\xff\xfe"}').serialize(mask=True)
    connection.transport.write(frame)

    assert (await client.closed())[0] == 1007


async def test_text_that_is_not_utf8_behind_a_subscription_leaves_nobody_subscribed(server: Server) -> None:
    product_id = await server.create_product()
    async with connected(server) as watching:
        await watching.subscribe(WATCH, {"ids": [product_id]})
        await watching.next()
        async with connection(server) as stranger:
            await stranger.open_session()
            garbled = Frame(Opcode.TEXT, b"\xff\xfe").serialize(mask=True)
            stranger.transport.write(subscribe(WATCH, {"ids": [product_id]}) + garbled)
            await until_metrics(server, sockets=1, watchers=1)
    await until_metrics(server, sockets=0, watchers=0, broadcasts=0)


async def test_answers_to_a_client_that_has_just_left_are_nobodys_error(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    leaving = Frame(Opcode.CLOSE, Close(1012, "").serialize()).serialize(mask=True)
    async with connection(server) as stranger:
        await stranger.open_session()
        queries = b"".join(subscribe("{ __typename }", {}, id=str(number)) for number in range(3))
        stranger.transport.write(queries + leaving)
        await until_metrics(server, sockets=0)

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_an_operation_before_init_is_unauthorized(stranger: Client) -> None:
    await stranger.subscribe("{ __typename }")

    assert await stranger.closed() == (4401, "Unauthorized: send connection_init first")


async def test_a_second_init_is_one_too_many(client: Client) -> None:
    await client.send({"type": "connection_init"})

    assert await client.closed() == (4429, "Too many initialisation requests")


async def test_a_socket_without_init_is_closed_in_time(settings: Settings) -> None:
    impatient = replace(settings, socket_times=SocketTimes(initialise=short(0.3)))
    async with serving(impatient) as server, connected(server) as active, connected(server, init=False) as idle:
        assert await idle.closed() == (4408, "Connection initialisation timeout")

        await assert_alive(active)


@pytest.mark.parametrize("id", ["1", "x" * 200, "é" * 200, "\0\n"])
async def test_an_id_in_use_closes_the_socket(server: Server, client: Client, id: str) -> None:  # noqa: A002
    product_id = await server.create_product()
    await client.subscribe(WATCH, {"ids": [product_id]}, id=id)
    await client.next(id)

    await client.subscribe("{ __typename }", id=id)

    code, reason = await client.closed()
    assert code == 4409
    assert reason.startswith("Subscriber for ")


@pytest.mark.parametrize("offered", ["graphql-ws", "mqtt"])
async def test_another_subprotocol_is_not_acceptable(server: Server, offered: str) -> None:
    async with connected(server, init=False, subprotocols=[offered]) as client:
        assert await client.closed() == (4406, "Subprotocol not acceptable; this server speaks graphql-transport-ws")


async def test_our_subprotocol_is_taken_from_among_several(server: Server) -> None:
    async with connected(server, subprotocols=["graphql-ws", "graphql-transport-ws"]) as client:
        assert client.connection.subprotocol == "graphql-transport-ws"


async def test_operations_of_one_socket_are_limited(server: Server, client: Client) -> None:
    product_id = await server.create_product()
    for number in range(MAX_OPERATIONS):
        await client.subscribe(WATCH, {"ids": [product_id]}, id=str(number))
        await client.next(str(number))

    await client.complete("0")
    await client.subscribe(WATCH, {"ids": [product_id]}, id="another")
    assert await client.next("another") == {"stockChanged": {"stock": 10, "version": 1}}

    await client.subscribe("{ __typename }", id="one too many")
    assert await client.closed() == (1008, f"A socket can have {MAX_OPERATIONS} operations at a time")


async def test_sockets_of_one_process_are_limited(settings: Settings) -> None:
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


@pytest.mark.parametrize("name", ["authorization", "Authorization"])
async def test_the_operators_token_is_taken_from_connection_init(stranger: Client, name: str) -> None:
    await stranger.init({name: f"Bearer {ADMIN_TOKEN}"})

    assert await stranger.answer(CREATE) == {"createProduct": {"name": "Cap", "stock": 3}}


async def test_the_operators_token_is_taken_from_the_handshake(server: Server) -> None:
    async with connected(server, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as client:
        assert await client.answer(CREATE) == {"createProduct": {"name": "Cap", "stock": 3}}


@pytest.mark.parametrize("payload", [None, {"authorization": "Bearer wrong"}, {"authorization": ADMIN_TOKEN}, {"é": 1}])
async def test_without_the_operators_token_nobody_is_the_operator(
    stranger: Client, payload: dict[str, Any] | None
) -> None:
    await stranger.init(payload)

    await stranger.subscribe(CREATE)

    refusal = await stranger.receive()
    assert [error["extensions"]["code"] for error in refusal["payload"]["errors"]] == ["UNAUTHENTICATED"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1.evil.example:80"]
)
async def test_a_page_of_another_origin_is_refused(server: Server, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connected(server, origin=origin):
            pass

    assert refusal.value.response.status_code == 403
    assert refusal.value.response.body == b"pages of this origin may not connect\n"


async def test_refused_origins_are_counted_and_logged_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(settings) as server:
        for _ in range(5):
            with pytest.raises(InvalidStatus):
                async with connected(server, origin="https://evil.example/" + "e" * 5_000):
                    pass
        lines = [record.getMessage() for record in caplog.records if "evil.example" in record.getMessage()]
        assert len(lines) == 1
        assert len(lines[0]) < 300
        async with server.session.get(f"{server.url}/metrics") as response:
            assert f'dropzero_refusals_total{{what="{REFUSED_ORIGINS}"}} 5.0' in await response.text()


async def test_a_socket_whose_client_guesses_the_operators_token_is_closed(settings: Settings) -> None:
    async with serving(settings) as server:
        for _ in range(FREE_GUESSES):
            async with connected(server, init=False) as client:
                await client.init({"Authorization": "Bearer a-wrong-guess"})
        for headers in ({}, {"authorization": f"Bearer {ADMIN_TOKEN}"}):
            async with connected(server, init=False, headers=headers) as client:
                if not headers:
                    await client.send(
                        {"type": "connection_init", "payload": {"authorization": f"Bearer {ADMIN_TOKEN}"}}
                    )
                code, reason = await client.closed()
            assert code == 1013
            assert "too many wrong operator's tokens" in reason
        async with connected(server) as client:
            await assert_alive(client)
        assert (await server.metrics())["dropzero_refused_tokens_total"] == FREE_GUESSES + 2


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:5173", "https://localhost"])
async def test_a_page_of_localhost_may_connect_on_a_laptop(server: Server, origin: str) -> None:
    async with connected(server, origin=origin) as client:
        await assert_alive(client)


async def test_where_endpoints_are_configured_only_named_origins_and_ones_own_may_connect(settings: Settings) -> None:
    configured = read_settings(
        {
            "DROPZERO_ENDPOINTS": "us-east-1=postgresql://nobody@localhost/nothing",
            "DROPZERO_ALLOWED_ORIGINS": "https://shop.example",
        }
    )
    async with serving(replace(settings, allowed_origins=configured.allowed_origins)) as server:
        for origin in ("https://shop.example", f"http://{urlsplit(server.url).netloc}"):
            async with connected(server, origin=origin) as client:
                await assert_alive(client)
        for origin in ("http://localhost:3000", "https://shop.example.evil.example", "http://shop.example"):
            with pytest.raises(InvalidStatus):
                async with connected(server, origin=origin):
                    pass


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


async def test_a_client_that_reads_nothing_is_given_up(settings: Settings) -> None:
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
    """Ask for pongs until the socket is gone; unread, they fill every buffer on the way."""
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
