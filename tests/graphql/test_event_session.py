"""Many operations on one event stream, as graphql-sse's single connection mode has it, and what a client gets wrong."""

import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from api.app import create_app
from api.graphql.watching import MAX_OPERATIONS
from api.settings import Settings, SocketTimes
from tests.graphql.operations import UNKNOWN_ID
from tests.graphql.subscriptions import BUY, EVENTS, WATCH, Stream, until_metrics
from tests.patience import short
from tests.server import Server, serving

HELLO = "{ __typename }"


class Page:
    """A client with a token."""

    def __init__(self, server: Server, token: str) -> None:
        self.server = server
        self.headers = {"x-graphql-event-stream-token": token}

    async def post(self, query: str, variables: dict[str, Any] | None = None, *, id: object = "1") -> tuple[int, str]:  # noqa: A002
        """Start an operation. Returns the status, and the message of a refusal."""
        body = {"query": query, "variables": variables, "extensions": {"operationId": id}}
        async with self.server.session.post(f"{self.server.url}/graphql", json=body, headers=self.headers) as response:
            text = await response.text()
            return response.status, json.loads(text)["errors"][0]["message"] if text else ""

    async def delete(self, id: str = "1") -> int:  # noqa: A002
        there = f"{self.server.url}/graphql?operationId={id}"
        async with self.server.session.delete(there, headers=self.headers) as response:
            return response.status

    @contextlib.asynccontextmanager
    async def stream(self) -> AsyncIterator[Stream]:
        headers = {**self.headers, "accept": EVENTS}
        async with self.server.session.get(f"{self.server.url}/graphql", headers=headers) as response:
            assert response.status == 200, await response.text()
            yield Stream(response)

    async def refused_stream(self) -> int:
        headers = {**self.headers, "accept": EVENTS}
        async with self.server.session.get(f"{self.server.url}/graphql", headers=headers) as response:
            return response.status


async def reserved(server: Server) -> Page:
    async with server.session.put(f"{server.url}/graphql") as response:
        assert (response.status, response.content_type) == (201, "text/plain")
        return Page(server, await response.text())


async def test_operations_share_a_stream_and_end_one_by_one(server: Server) -> None:
    product_id = await server.create_product(stock=5)
    page = await reserved(server)
    async with page.stream() as stream:
        assert await page.post(WATCH, {"ids": [product_id]}, id="watch") == (202, "")
        assert await stream.event() == ("next", of("watch", {"stockChanged": {"stock": 5, "version": 1}}))
        assert await page.post(BUY, {"input": {"productId": product_id, "userRef": "ada"}}, id="buy") == (202, "")
        events = [await stream.event() for _ in range(3)]
        assert ("next", of("watch", {"stockChanged": {"stock": 4, "version": 2}})) in events
        of_the_purchase = [event for event in events if event[1]["id"] == "buy"]
        assert of_the_purchase == [
            ("next", of("buy", {"purchase": {"status": "CONFIRMED"}})),
            ("complete", {"id": "buy"}),
        ]

        assert await page.post("{ nothing }", id="invalid") == (202, "")
        name, refused = await stream.event()
        assert (name, refused["id"], list(refused["payload"])) == ("next", "invalid", ["errors"])
        assert await stream.event() == ("complete", {"id": "invalid"})
        assert await page.post(WATCH, {"ids": [UNKNOWN_ID]}, id="unknown") == (202, "")
        assert (await stream.event())[1]["payload"]["errors"][0]["extensions"]["code"] == "NOT_FOUND"
        assert await stream.event() == ("complete", {"id": "unknown"})

        assert await page.delete("watch") == 200
        assert await page.delete("watch") == 200, "it has ended already"
        await until_metrics(server, watchers=0)
        assert await page.post(HELLO, id="watch") == (202, "")
        assert await stream.event() == ("next", of("watch", {"__typename": "Query"}))
        await page.post(WATCH, {"ids": [product_id]}, id="left behind")
        await until_metrics(server, watchers=1, sockets=1)
    await until_metrics(server, watchers=0, sockets=0)
    assert (await page.post(HELLO))[0] == 404, "the reservation has ended with its stream"


def of(operation_id: str, data: dict[str, Any]) -> dict[str, Any]:
    return {"id": operation_id, "payload": {"data": data}}


async def test_what_a_client_gets_wrong_is_refused(server: Server) -> None:
    unknown = Page(server, "no token of this server")
    assert (await unknown.post(HELLO))[0] == await unknown.delete() == await unknown.refused_stream() == 404
    page = await reserved(server)
    assert await page.post(HELLO) == (409, "open the stream first: GET with its token, and accept: text/event-stream")
    async with page.stream() as stream:
        assert await page.refused_stream() == 409
        for wrong in (None, "x" * 201):
            assert (await page.post(HELLO, id=wrong))[0] == 400
        assert await page.post(HELLO, id=5) == (400, "extensions.operationId must be a string")
        async with server.session.delete(f"{server.url}/graphql", headers=page.headers) as response:
            assert response.status == 400
        product_id = await server.create_product()
        assert await page.post(WATCH, {"ids": [product_id]}) == (202, "")
        await stream.event()
        assert await page.post(HELLO) == (409, "an operation of this operationId is under way")


async def test_a_token_can_come_as_a_parameter(server: Server) -> None:
    page = await reserved(server)
    there = f"{server.url}/graphql?token={page.headers['x-graphql-event-stream-token']}"
    async with server.session.get(there, headers={"accept": EVENTS}) as response:
        assert (await page.post(HELLO))[0] == 202
        assert await Stream(response).event() == ("next", of("1", {"__typename": "Query"}))
    async with server.session.get(f"{server.url}/graphql?token=x&query={{__typename}}") as response:
        assert await response.json() == {"data": {"__typename": "Query"}}


async def test_the_operations_of_a_stream_are_limited(server: Server) -> None:
    product_id = await server.create_product()
    page = await reserved(server)
    async with page.stream() as stream:
        for number in range(MAX_OPERATIONS):
            await page.post(WATCH, {"ids": [product_id]}, id=str(number))
            await stream.event()
        assert await page.post(HELLO, id="one too many") == (202, "")
        _, refused = await stream.event()
        assert refused["payload"]["errors"][0]["extensions"]["code"] == "TOO_MANY_OPERATIONS"
        assert await stream.event() == ("complete", {"id": "one too many"})
        await until_metrics(server, watchers=MAX_OPERATIONS)


async def test_a_reserved_stream_counts_as_a_socket_until_it_is_opened_or_too_late(settings: Settings) -> None:
    times = SocketTimes(initialise=short(0.2))
    async with serving(replace(settings, sockets=2, socket_times=times)) as server:
        pages = [await reserved(server), await reserved(server)]
        async with server.session.put(f"{server.url}/graphql") as response:
            assert response.status == 503
        await until_metrics(server, sockets=0)
        assert [await page.refused_stream() for page in pages] == [404, 404]
        async with (await reserved(server)).stream():
            await until_metrics(server, sockets=1)


async def test_a_server_of_several_processes_refuses_to_keep_a_stream(settings: Settings, tmp_path: Path) -> None:
    """Another process could get the requests of the stream."""
    async with serving(settings, make_app=partial(create_app, settings, figures=tmp_path)) as server:
        for method in ("PUT", "DELETE", "GET"):
            headers = {"x-graphql-event-stream-token": "x"}
            async with server.session.request(method, f"{server.url}/graphql", headers=headers) as response:
                assert (response.status, response.headers["allow"]) == (405, "GET, POST")
                [error] = (await response.json())["errors"]
                assert "singleConnection: false" in error["message"]
