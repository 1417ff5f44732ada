"""Operations as event streams, as npm's graphql-sse and browsers use them."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from starlette.types import ASGIApp

from api.app import create_app
from api.identity.admission import Admission
from api.identity.gate import ROUND, Gate
from api.settings import Settings, SocketTimes
from tests.graphql.operations import UNKNOWN_ID
from tests.graphql.stranger import event_stream
from tests.graphql.subscriptions import BUY, EVENTS, WATCH, streaming, until_metrics
from tests.patience import PATIENCE, short, until
from tests.server import Server, serving


@pytest.fixture
def commenting(settings: Settings) -> Settings:
    """Settings of a server that sends comments often."""
    return replace(settings, socket_times=SocketTimes(comment=short(0.05)))


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.mark.parametrize("get", [False, True])
async def test_the_current_stock_comes_at_once_and_then_every_change(server: Server, get: bool) -> None:
    product_id = await server.create_product(stock=2)

    async with streaming(server, WATCH, {"ids": [product_id]}, get=get) as stream:
        assert stream.response.headers["cache-control"] == "no-store, no-transform"
        assert stream.response.headers["x-accel-buffering"] == "no"
        assert await stream.line() == ":\n"  # at once, before the database has answered
        assert await stream.line() == "\n"
        assert await stream.next() == {"stockChanged": {"stock": 2, "version": 1}}
        for stock, version in ((1, 2), (0, 3)):
            await server.purchase(product_id)
            assert await stream.next() == {"stockChanged": {"stock": stock, "version": version}}


async def test_a_client_that_leaves_is_forgotten(server: Server) -> None:
    product_id = await server.create_product()
    async with streaming(server, WATCH, {"ids": [product_id]}) as stream:
        await stream.next()
        await until_metrics(server, watchers=1, sockets=1)
        stream.response.close()

        await until_metrics(server, watchers=0, sockets=0, broadcasts=0, watched_products=0)


async def test_a_client_that_leaves_with_a_second_request_behind_is_forgotten(commenting: Settings) -> None:
    """The next comment cannot be sent, and so the server notices."""
    async with serving(commenting) as server:
        request = event_stream(WATCH, {"ids": [await server.create_product()]})
        reader, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
        writer.write(request + request)
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"event: next")
        await until_metrics(server, watchers=1)
        writer.transport.abort()

        await until_metrics(server, watchers=0, sockets=0)


async def test_a_query_is_answered_with_one_event_and_the_end(server: Server) -> None:
    async with streaming(server, "{ __typename }") as stream:
        assert await stream.next() == {"__typename": "Query"}
        assert await stream.event() == ("complete", None)
        await stream.ends()


async def test_a_purchase_is_answered_with_one_event_and_the_end(server: Server) -> None:
    product_id = await server.create_product(stock=1)

    async with streaming(server, BUY, {"input": {"productId": product_id, "userRef": "ada"}}) as stream:
        assert await stream.next() == {"purchase": {"status": "CONFIRMED"}}
        assert await stream.event() == ("complete", None)
        await stream.ends()


@pytest.mark.parametrize(
    ("query", "ids", "code"),
    [
        ("{ products(", [], "GRAPHQL_PARSE_FAILED"),
        ("{ nonsense }", [], "GRAPHQL_VALIDATION_FAILED"),
        ("subscription { stockChanged(productIds: 5) { stock } }", [], "BAD_USER_INPUT"),
        (WATCH, [None], "BAD_USER_INPUT"),
        (WATCH, ["tee"], "BAD_USER_INPUT"),
        (WATCH, [UNKNOWN_ID], "NOT_FOUND"),
    ],
)
async def test_a_refused_operation_is_answered_with_one_event_and_the_end(
    server: Server, query: str, ids: list[Any], code: str
) -> None:
    async with streaming(server, query, {"ids": ids}) as stream:
        name, response = await stream.event()
        assert (name, list(response)) == ("next", ["errors"])
        assert [error["extensions"]["code"] for error in response["errors"]] == [code]
        assert await stream.event() == ("complete", None)
        await stream.ends()


@pytest.mark.parametrize("accept", ["application/json, text/event-stream", "text/event-stream;q=0.1, */*"])
async def test_a_client_that_accepts_events_among_others_gets_them_for_subscriptions(
    server: Server, accept: str
) -> None:
    product_id = await server.create_product(stock=2)
    async with streaming(server, WATCH, {"ids": [product_id]}, accept=accept) as stream:
        assert await stream.next() == {"stockChanged": {"stock": 2, "version": 1}}

    body = {"query": "{ __typename }"}
    async with server.session.post(f"{server.url}/graphql", json=body, headers={"accept": accept}) as response:
        assert await response.json() == {"data": {"__typename": "Query"}}


async def test_a_mutation_by_get_is_405(server: Server) -> None:
    parameters, headers = {"query": "mutation { __typename }"}, {"accept": EVENTS}
    async with server.session.get(f"{server.url}/graphql", params=parameters, headers=headers) as response:
        assert (response.status, response.headers["allow"]) == (405, "POST")


async def test_a_stream_without_changes_gets_comments(commenting: Settings) -> None:
    async with serving(commenting) as server:
        product_id = await server.create_product()
        async with streaming(server, WATCH, {"ids": [product_id]}) as stream:
            await stream.next()
            for _ in range(3):
                assert [await stream.line(), await stream.line()] == [":\n", "\n"]


async def test_streams_and_sockets_of_one_process_are_limited_together(settings: Settings) -> None:
    async with serving(replace(settings, sockets=1)) as server:
        product_id = await server.create_product()
        async with streaming(server, WATCH, {"ids": [product_id]}) as stream:
            await stream.next()
            body = {"query": WATCH, "variables": {"ids": [product_id]}}
            async with server.session.post(f"{server.url}/graphql", json=body, headers={"accept": EVENTS}) as response:
                assert response.status == 503
                [error] = (await response.json())["errors"]
                assert error["extensions"]["code"] == "SERVICE_UNAVAILABLE"


async def test_a_stopping_server_ends_its_streams_without_complete(settings: Settings) -> None:
    """Without "complete" the clients reconnect."""
    async with contextlib.AsyncExitStack() as client:
        session = await client.enter_async_context(aiohttp.ClientSession())
        async with serving(settings) as server:
            product_id = await server.create_product()
            watching = streaming(replace(server, session=session), WATCH, {"ids": [product_id]})
            stream = await client.enter_async_context(watching)
            await stream.next()

        await stream.ends()


async def test_a_stopping_server_ends_a_stream_with_another_behind_it(settings: Settings) -> None:
    async with contextlib.AsyncExitStack() as running:
        server = await running.enter_async_context(serving(settings))
        request = event_stream(WATCH, {"ids": [await server.create_product()]})
        reader, writer = await asyncio.open_connection(*server.url.removeprefix("http://").split(":"))
        writer.write(request + request)
        async with asyncio.timeout(PATIENCE):
            await reader.readuntil(b"event: next")

            await running.aclose()

            assert (await reader.read()).endswith(b"0\r\n\r\n")
        writer.close()


async def test_a_stopping_server_ends_a_stream_that_has_still_to_begin(settings: Settings) -> None:
    gates: list[Gate] = []
    crowded = True

    def make_app(admission: Admission) -> ASGIApp:
        gates.append(admission.gate)
        return create_app(settings, admission)

    def again(_: bool) -> None:
        if crowded:
            gates[0].enter("another", again)

    async with contextlib.AsyncExitStack() as running:
        server = await running.enter_async_context(serving(settings, make_app=make_app))
        request = event_stream(WATCH, {"ids": [await server.create_product()]})
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, port)
        gates[0].charge(host, 1e6)  # seconds, after which every other client has its turn first
        for _ in range(2 * ROUND):
            again(True)
        writer.write(request)
        await until(lambda: host in gates[0]._queue._backlogs)

        async with asyncio.timeout(PATIENCE):
            closing = asyncio.create_task(running.aclose())
            await until(lambda: not_listening(host, int(port)))
            crowded = False

            assert (await reader.read()).endswith(b"0\r\n\r\n")
            await closing
        writer.close()


async def not_listening(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return True
    writer.close()
    return False
