"""npm's graphql-ws and graphql-sse, the reference clients of both ways to watch, with a real server."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from api.settings import Settings
from tests.npm import Node
from tests.server import ADMIN_TOKEN, Server, serving

pytestmark = pytest.mark.npm


class Shop:
    """A server with one product of 100 units. It can be restarted on its port."""

    server: Server
    product_id: str

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack

    async def open(self) -> None:
        self.server = await self._stack.enter_async_context(serving(self._settings))
        self.product_id = await self.server.create_product(stock=100)

    async def restart(self) -> None:
        """Stop the server, start another on the same port, and sell a unit before any client is back."""
        await self._stack.aclose()
        port = urlsplit(self.server.url).port
        assert port is not None
        self.server = await self._stack.enter_async_context(serving(self._settings, port))
        await self.server.purchase(self.product_id)


@pytest.fixture
async def shop(settings: Settings) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:
        shop = Shop(settings, stack)
        await shop.open()
        yield shop


def level(stock: int) -> list[Any]:
    """The event for the stock of a product that began with 100 units and sells them one by one."""
    return ["next", {"stockChanged": {"stock": stock, "version": 101 - stock}}]


def result(data: dict[str, Any]) -> list[list[Any]]:
    return [["next", data], ["complete"]]


async def test_a_session_of_graphql_ws_goes_as_expected(shop: Shop, node: Node) -> None:
    seen = await node.run(
        "websocket_session.mjs",
        shop.server.websocket_url,
        ADMIN_TOKEN,
        shop.product_id,
        str(uuid4()),
        actions={"restart": shop.restart},
    )

    expected = {
        "sockets before the first operation": 0,
        "the current stock": level(100),
        "a query": result({"__typename": "Query"}),
        "a mutation": result({"purchase": {"status": "CONFIRMED"}}),
        "a change": level(99),
        "a syntax error": [["error", ["GRAPHQL_PARSE_FAILED"]]],
        "an invalid operation": [["error", ["GRAPHQL_VALIDATION_FAILED"]]],
        "an unknown product": [["error", ["NOT_FOUND"]]],
        "a mutation for operators only": [["next", ["UNAUTHENTICATED"]], ["complete"]],
        "the current stock, to a second subscription": level(99),
        "a change, to two subscriptions": [level(98), level(98)],
        "a subscription that its caller stops": ["complete"],
        "a change, to the other subscription": level(97),
        "events of the stopped subscription": [],
        "messages to the stopped subscription": 0,
        "a ping with a payload": {"at": 12.5, "é": ["\0"]},
        "sockets until now": [1, []],
        "a lazy socket without operations": [1000],
        "a mutation of the operator": result({"createProduct": {"stock": 3}}),
        "pings that keep a socket alive": 2,
        "an eager socket without operations": [1, []],
        "a client that is disposed": [1000],
        "the current stock, after the client has terminated its socket": level(97),
        "a socket that its client terminates": [2, [4499]],
        "the current stock, after the server has restarted": [level(96), level(96)],
        "a server that restarts": [2, [1012]],
        "a change, after the server has restarted": [level(95), level(95)],
    }
    assert seen == [{"check": check, "saw": saw} for check, saw in expected.items()]


async def test_a_session_of_graphql_sse_goes_as_expected(shop: Shop, node: Node) -> None:
    seen = await node.run(
        "event_stream_session.mjs",
        f"{shop.server.url}/graphql",
        f"{shop.server.url}/metrics",
        ADMIN_TOKEN,
        shop.product_id,
        str(uuid4()),
        actions={"restart": shop.restart},
    )

    # Errors before execution are results too: the client takes any status but 2xx for a fault of the network.
    expected = {
        "the current stock": level(100),
        "a query": result({"__typename": "Query"}),
        "a mutation": result({"purchase": {"status": "CONFIRMED"}}),
        "a change": level(99),
        "a syntax error": [["next", ["GRAPHQL_PARSE_FAILED"]], ["complete"]],
        "an invalid operation": [["next", ["GRAPHQL_VALIDATION_FAILED"]], ["complete"]],
        "a subscription with a syntax error": [["next", ["GRAPHQL_PARSE_FAILED"]], ["complete"]],
        "an invalid subscription": [["next", ["GRAPHQL_VALIDATION_FAILED"] * 2], ["complete"]],
        "variables that do not fit": [["next", ["BAD_USER_INPUT"]], ["complete"]],
        "an unknown product": [["next", ["NOT_FOUND"]], ["complete"]],
        "a mutation for operators only": [["next", ["UNAUTHENTICATED"]], ["complete"]],
        "the current stock, to a second subscription": level(99),
        "a change, to two subscriptions": [level(98), level(98)],
        "watchers": 2,
        "a subscription that its caller stops": ["complete"],
        "a change, to the other subscription": level(97),
        "events of the stopped subscription": [],
        "watchers, after the client was disposed": 0,
        "a mutation of the operator": result({"createProduct": {"stock": 3}}),
        "a request that is not GraphQL": [["error", 400]],
        "the current stock, on a stream of many operations": level(97),
        "a query on it": result({"__typename": "Query"}),
        "a mutation on it": result({"purchase": {"status": "CONFIRMED"}}),
        "a change on it": level(96),
        "an invalid operation on it": [["next", ["GRAPHQL_VALIDATION_FAILED"]], ["complete"]],
        "an unknown product on it": [["next", ["NOT_FOUND"]], ["complete"]],
        "the current stock, to a second subscription on it": level(96),
        "a subscription on it that its caller stops": ["complete"],
        "a change on it, to the other subscription": level(95),
        "the current stock on it, after the server has restarted": level(94),
        "streams": 2,
        "the current stock, after the server has restarted": level(93),
        "connections": 2,
        "a change, after the server has restarted": level(92),
        "watchers, after the last subscription was stopped": 0,
    }
    assert seen == [{"check": check, "saw": saw} for check, saw in expected.items()]
