"""Parked sockets: an idle session has no task, and goes on with the next message as if it had one."""

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from api.app import create_app
from api.database.pool import Pool
from api.graphql.connection import EXTENSION
from api.identity.admission import Admission
from api.settings import Settings
from api.websocket_protocol import BoundedWebSocket
from tests.graphql.stranger import connection, subscribe
from tests.graphql.subscriptions import BUY, WATCH, until_metrics
from tests.graphql.transport import assert_alive, connected
from tests.locks import stock_held
from tests.patience import until
from tests.server import Server, serving


def without_extension(app: ASGIApp) -> ASGIApp:
    """The application as another server would run it, which neither parks sockets nor sends frames."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            assert scope["extensions"].pop(EXTENSION) is not None
        await app(scope, receive, send)

    return run


@pytest.fixture(params=[True, False], ids=["parking", "another server"])
async def server(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    def make_app(admission: Admission) -> ASGIApp:
        app = create_app(settings, admission)
        return app if request.param else without_extension(app)

    async with serving(settings, make_app=make_app) as server:
        yield server


only_here = pytest.mark.parametrize("server", [True], indirect=True, ids=["parking"])


def tasks() -> int:
    return len(asyncio.all_tasks())


def timers() -> int:
    return sum(type(each) is asyncio.TimerHandle and not each.cancelled() for each in gc.get_objects())


def sockets() -> list[BoundedWebSocket]:
    """The server's open sockets."""
    found = (each for each in gc.get_objects() if type(each) is BoundedWebSocket)
    return [each for each in found if not each.transport.is_closing()]


@only_here
async def test_an_idle_socket_has_no_task_no_timer_and_no_request(server: Server) -> None:
    product_id = await server.create_product(stock=5)
    async with connected(server) as first, AsyncExitStack() as clients:
        await first.subscribe(WATCH, {"ids": [product_id]})
        await first.next()
        before, timers_before = tasks(), timers()
        for _ in range(10):
            stranger = await clients.enter_async_context(connection(server))
            await stranger.open_session()
            await stranger.send(subscribe(WATCH, {"ids": [product_id]}), until=b'"next"')

        await until(lambda: tasks() <= before)
        assert len(sockets()) == 11
        for socket in sockets():
            assert vars(socket) == {}, "each of these should have a slot"
            assert not hasattr(socket, "scope")
            assert not hasattr(socket, "request")
        assert timers() - timers_before < 10


async def test_a_session_goes_on_with_every_kind_of_message(server: Server) -> None:
    product_id = await server.create_product(stock=5)
    async with connected(server) as client:
        for version in range(1, 4):
            await assert_alive(client)
            await client.subscribe(WATCH, {"ids": [product_id]}, id="watch")
            assert await client.next("watch") == {"stockChanged": {"stock": 6 - version, "version": version}}
            await assert_alive(client)
            await client.complete("watch")
            await until_metrics(server, watchers=0)
            bought = {"input": {"productId": product_id, "userRef": f"ada {version}"}}
            assert await client.answer(BUY, bought, id="buy") == {"purchase": {"status": "CONFIRMED"}}
        await client.send("malformed")
        assert (await client.closed())[0] == 4400
    await until_metrics(server, sockets=0)


async def test_messages_are_handled_while_a_purchase_is_under_way(server: Server, behind: Pool) -> None:
    product_id = await server.create_product(stock=5)
    async with connected(server) as client:
        await client.subscribe(WATCH, {"ids": [product_id]}, id="watch")
        await client.next("watch")
        async with stock_held(behind, product_id):
            await client.subscribe(BUY, {"input": {"productId": product_id, "userRef": "ada"}}, id="buy")
            await assert_alive(client, client)
            await client.complete("watch")
            await until_metrics(server, watchers=0)
        assert await client.next("buy") == {"purchase": {"status": "CONFIRMED"}}
        assert await client.receive() == {"id": "buy", "type": "complete"}
        await assert_alive(client)
