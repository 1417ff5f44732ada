"""Subscriptions to live stock: their texts, a client of event streams, and the server's figures about watchers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any

import aiohttp

from tests.patience import PATIENCE, until
from tests.server import Server

WATCH = "subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { stock version } }"

_FIELDS = " ".join(f"{letter * 780}: stock" for letter in "abcdefghij")
WIDE = f"subscription ($ids: [ID!]!) {{ stockChanged(productIds: $ids) {{ {_FIELDS} }} }}"
"""Each change takes 8 KB: a few of them fill every buffer on the way to a client that does not read."""

BUY = "mutation ($input: PurchaseInput!) { purchase(input: $input) { status } }"

EVENTS = "text/event-stream"

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


async def until_metrics(server: Server, **expected: int) -> None:
    """Wait until the server's metrics have these figures. Their names come without `dropzero_`."""

    async def are_there() -> bool:
        metrics = await server.metrics()
        return {name: metrics[f"dropzero_{name}"] for name in expected} == expected

    await until(are_there)


class Stream:
    """An answer as an event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def line(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return (await self.response.content.readline()).decode()

    async def event(self) -> tuple[str, Any]:
        """The name and the data of the next event. Comments are skipped."""
        while (line := await self.line()).startswith(":"):
            assert await self.line() == "\n"
        name, data = line.removeprefix("event: ").strip(), (await self.line()).removeprefix("data:").strip()
        assert await self.line() == "\n"
        return name, json.loads(data) if data else None

    async def next(self) -> Any:
        """The data of a response without errors."""
        name, response = await self.event()
        assert name == "next"
        assert list(response) == ["data"], response
        return response["data"]

    async def ends(self) -> None:
        """The stream ends completely, without another event."""
        async with asyncio.timeout(PATIENCE):
            while line := await self.response.content.readline():
                assert line in (b":\n", b"\n")


@contextlib.asynccontextmanager
async def streaming(
    server: Server,
    query: str,
    variables: dict[str, Any] | None = None,
    *,
    accept: str = EVENTS,
    get: bool = False,
    headers: Mapping[str, str] = NO_HEADERS,
) -> AsyncIterator[Stream]:
    """Send an operation, by POST or by GET. Its answer is an event stream."""
    url, sent = f"{server.url}/graphql", {"accept": accept, **headers}
    if get:
        parameters = {"query": query, "variables": json.dumps(variables)}
        request = server.session.get(url, params=parameters, headers=sent)
    else:
        request = server.session.post(url, json={"query": query, "variables": variables}, headers=sent)
    async with request as response:
        assert (response.status, response.headers["content-type"]) == (200, f"{EVENTS}; charset=utf-8")
        yield Stream(response)
