"""Connections leave no reference cycles: the server's garbage collector is set to run seldom, and what only it can free
would grow with every visitor."""

import asyncio
import contextlib
import gc
import itertools
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest
from graphql.validation.validation_context import VariableUsageVisitor

from api.graphql.documents import KEPT_LENGTH
from tests.graphql.subscriptions import BUY, WATCH, streaming, until_metrics
from tests.graphql.transport import connected
from tests.patience import short, until
from tests.server import Server

SERVERS = (
    "api.",
    "graphql.error.",
    "graphql.execution.",
    "graphql.validation.",
    "uvicorn.",
    "starlette.",
    "websockets.server",
)
"""Where the classes of the server's objects come from."""

BUY_ONE = 'mutation ($id: ID!) { purchase(input: {productId: $id, userRef: "ada"}) { status } }'
NUMBERS = itertools.count()
VISITS = 20
LEFT = VISITS // 2
"""Objects of one class. The last visitors' may still be about; one for every second visit is none of theirs."""


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
        await client.next()  # asyncio leaves a cycle where a connection to the database is given up while it opens
        await client.send("malformed")
        await client.connection.wait_closed()


async def watch_over_events(server: Server, product_id: str) -> None:
    async with streaming(server, WATCH, {"ids": [product_id]}) as stream:
        await stream.next()


def unkept(document: str) -> str:
    """The document, so long that it is not kept for the next request."""
    return document.ljust(KEPT_LENGTH + 1)


async def buy_what_does_not_exist(server: Server, product_id: str) -> None:
    assert (await server.refusal(BUY_ONE, {"id": str(uuid4())}))[0] == "NOT_FOUND"


async def send_a_document_that_is_not_valid(server: Server, product_id: str) -> None:
    assert (await server.refusal(unkept(f"{{ nothing{next(NUMBERS)} }}")))[0] == "BAD_USER_INPUT"


async def send_a_new_document(server: Server, product_id: str) -> None:
    await server.data(unkept(f"query Q{next(NUMBERS)} {{ products(first: 20) {{ edges {{ node {{ id }} }} }} }}"))


async def reset(server: Server, product_id: str) -> None:
    """Ask for the page, and reset the connection."""
    reader, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
    writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
    await reader.readline()
    connection = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def servers_objects() -> Counter[str]:
    """The objects of the server's own classes, of uvicorn's and of graphql-core's that have not been freed, by class.

    One class is left out: graphql-core keeps some 30 objects of each document that it validates where we do not reach.
    """
    classes = (type(each) for each in gc.get_objects() if type(each) is not VariableUsageVisitor)
    names = (f"{kind.__module__}.{kind.__qualname__}" for kind in classes)
    return Counter(name for name in names if name.startswith(SERVERS))


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
        # The connections end in their own time, and only what is never freed stays.
        with contextlib.suppress(TimeoutError):
            await until(lambda: not left(), timeout=short(5))
        assert left() == {}
    finally:
        gc.enable()
