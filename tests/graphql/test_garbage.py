"""Connections leave no reference cycles.

The server's garbage collector is set to run seldom. Objects that only the collector can free would grow with every
visit.
"""

import asyncio
import contextlib
import gc
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from api.graphql.documents import KEPT_LENGTH
from tests.graphql.garbage import LEFT, VISITS, servers_objects
from tests.graphql.subscriptions import BUY, WATCH, streaming, until_metrics
from tests.graphql.test_event_session import reserved
from tests.graphql.transport import connected
from tests.patience import until
from tests.server import Server

BUY_ONE = 'mutation ($id: ID!) { purchase(input: {productId: $id, userRef: "ada"}) { status } }'
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


async def watch_over_a_socket(server: Server, product_id: str) -> None:
    async with connected(server) as client:
        await client.subscribe(WATCH, {"ids": [product_id]})
        await client.next()


async def buy_over_a_socket(server: Server, product_id: str) -> None:
    async with connected(server) as client:
        await client.answer(BUY, {"input": {"productId": product_id, "userRef": "ada"}})


async def break_the_protocol(server: Server, product_id: str) -> None:
    async with connected(server) as client:
        await client.subscribe(WATCH, {"ids": [product_id]})
        await client.next()  # wait: asyncio leaves a cycle when a connection to the database is dropped while it opens
        await client.send("malformed")
        await client.connection.wait_closed()


async def watch_over_events(server: Server, product_id: str) -> None:
    async with streaming(server, WATCH, {"ids": [product_id]}) as stream:
        await stream.next()


async def watch_and_ask_over_one_stream(server: Server, product_id: str) -> None:
    page = await reserved(server)
    async with page.stream() as stream:
        await page.post(WATCH, {"ids": [product_id]}, id="watch")
        await page.post(unkept("{ __typename }"))
        for _ in range(3):
            await stream.event()


def unkept(document: str) -> str:
    """The document, padded so that the server does not keep it for the next request."""
    return document.ljust(KEPT_LENGTH + 1)


async def buy_what_does_not_exist(server: Server, product_id: str) -> None:
    assert (await server.refusal(BUY_ONE, {"id": str(uuid4())}))[0] == "NOT_FOUND"


async def send_a_document_that_is_not_valid(server: Server, product_id: str) -> None:
    assert (await server.refusal(unkept(f"{{ nothing{next(NUMBERS)} }}")))[0] == "GRAPHQL_VALIDATION_FAILED"


async def send_a_new_document(server: Server, product_id: str) -> None:
    await server.data(unkept(f"query Q{next(NUMBERS)} {{ products(first: 20) {{ edges {{ node {{ id }} }} }} }}"))


async def reset(server: Server, product_id: str) -> None:
    """Send a request, and reset the connection."""
    reader, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await reader.readline()
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize(
    "visit",
    [
        watch_over_a_socket,
        buy_over_a_socket,
        buy_what_does_not_exist,
        send_a_document_that_is_not_valid,
        send_a_new_document,
        break_the_protocol,
        watch_over_events,
        watch_and_ask_over_one_stream,
        reset,
    ],
)
async def test_a_visit_leaves_nothing_to_the_garbage_collector(
    server: Server, visit: Callable[[Server, str], Awaitable[None]]
) -> None:
    product_id = await server.create_product(stock=1_000)
    await visit(server, product_id)
    await until_metrics(server, sockets=0)
    gc.collect()
    gc.disable()
    try:
        before = servers_objects()

        def left() -> dict[str, int]:
            return {kind: number for kind, number in (servers_objects() - before).items() if number >= LEFT}

        for _ in range(VISITS):
            await visit(server, product_id)
        # The connections end one by one. Only objects that are never freed stay.
        with contextlib.suppress(TimeoutError):
            await until(lambda: not left())
        assert left() == {}
    finally:
        gc.enable()
