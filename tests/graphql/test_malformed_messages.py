"""Messages that break graphql-transport-ws close the socket, with the code that the protocol has for each."""

import json
from dataclasses import replace

import pytest
from websockets.frames import Frame, Opcode

from api.server import MAX_MESSAGE
from api.settings import Settings, SocketTimes
from tests.graphql.stranger import connection, subscribe
from tests.graphql.subscriptions import WATCH, until_metrics
from tests.graphql.transport import Client, assert_alive, connected
from tests.patience import short
from tests.server import Server, serving


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture(scope="module")
def settings(shared_server: Server) -> Settings:
    return shared_server.settings


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
async def test_a_malformed_message_closes_the_socket_with_4400(server: Server, acknowledged: bool) -> None:
    for text in MALFORMED:
        async with connected(server, init=acknowledged) as client:
            await client.connection.send(text)

            code, reason = await client.closed()
            assert (code, bool(reason)) == (4400, True), text[:100]


async def test_a_message_that_is_too_large_closes_the_socket_with_1009(server: Server) -> None:
    for size, code in ((MAX_MESSAGE, 4400), (MAX_MESSAGE + 1, 1009)):
        async with connected(server) as client:
            await client.connection.send("x" * size)
            assert (await client.closed())[0] == code


async def test_a_binary_frame_closes_the_socket_with_4400(client: Client) -> None:
    await client.connection.send(json.dumps({"type": "ping"}).encode())

    assert await client.closed() == (4400, "Message must be text")


async def test_text_that_is_not_utf8_closes_the_socket_with_1007(client: Client) -> None:
    connection = client.connection
    frame = Frame(Opcode.TEXT, b'{"type": "\xff\xfe"}').serialize(mask=True)
    connection.transport.write(frame)

    assert (await client.closed())[0] == 1007


async def test_text_that_is_not_utf8_behind_a_subscription_leaves_no_watcher(server: Server) -> None:
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


async def test_an_operation_before_init_closes_the_socket(newcomer: Client) -> None:
    await newcomer.subscribe("{ __typename }")

    assert await newcomer.closed() == (4401, "Unauthorized: send connection_init first")


async def test_a_second_init_closes_the_socket(client: Client) -> None:
    await client.send({"type": "connection_init"})

    assert await client.closed() == (4429, "Too many initialisation requests")


async def test_a_socket_without_init_is_closed_in_time(settings: Settings) -> None:
    impatient = replace(settings, socket_times=SocketTimes(initialise=short(1.0)))
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
