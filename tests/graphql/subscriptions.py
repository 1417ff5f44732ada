"""Subscriptions to live stock: their texts, a client of event streams, and what the server counts of watchers."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
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


async def until_metrics(server: Server, **expected: int) -> None:
    """Wait for these figures among the server's metrics, named without `dropzero_`."""

    async def are_there() -> bool:
        metrics = await server.metrics()
        return {name: metrics[f"dropzero_{name}"] for name in expected} == expected

    await until(are_there)


class Stream:
    """An answer in events."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def line(self) -> str:
        async with asyncio.timeout(PATIENCE):
            return (await self.response.content.readline()).decode()

    async def event(self) -> tuple[str, Any]:
        """The name and the data of the next event; comments are skipped."""
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
        """The answer ends in good order, without another event."""
        async with asyncio.timeout(PATIENCE):
            while line := await self.response.content.readline():
                assert line in (b":\n", b"\n")


@contextlib.asynccontextmanager
async def streaming(
    server: Server, query: str, variables: dict[str, Any] | None = None, *, accept: str = EVENTS, get: bool = False
) -> AsyncIterator[Stream]:
    """An operation that is answered with an event stream."""
    url, headers = f"{server.url}/graphql", {"accept": accept}
    if get:
        parameters = {"query": query, "variables": json.dumps(variables)}
        request = server.session.get(url, params=parameters, headers=headers)
    else:
        request = server.session.post(url, json={"query": query, "variables": variables}, headers=headers)
    async with request as response:
        assert (response.status, response.headers["content-type"]) == (200, f"{EVENTS}; charset=utf-8")
        yield Stream(response)
