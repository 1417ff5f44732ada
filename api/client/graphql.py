"""One GraphQL operation over HTTP."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

REQUEST_TIMEOUT = 60.0
"""Seconds for one request. Longer than any deadline of the server."""


class RequestFailed(Exception):
    """The server could not be reached, or answered with errors; the message says which."""


class GraphQLClient:
    """Operations against one server, over kept connections."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self.url = url

    async def execute(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Run an operation and return its data. Raises RequestFailed."""
        body = orjson.dumps({"query": query, "variables": variables})
        try:
            async with self._session.post(f"{self.url}/graphql", data=body) as response:
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise RequestFailed(f"{self.url} cannot be reached: {error or 'no answer in time'}") from None
        try:
            answer = orjson.loads(text)
            errors = answer.get("errors")
        except (orjson.JSONDecodeError, AttributeError):
            raise RequestFailed(f"{self.url} answered {response.status}, and not as a GraphQL server does") from None
        if errors:
            raise RequestFailed("; ".join(str(error.get("message")) for error in errors))
        data: dict[str, Any] = answer["data"]
        return data


@asynccontextmanager
async def graphql_clients(urls: list[str], token: str | None, connections: int) -> AsyncIterator[list[GraphQLClient]]:
    """Clients of several servers, sharing at most `connections` connections, as the operator if a token is given."""
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    async with aiohttp.ClientSession(
        headers=headers,
        connector=aiohttp.TCPConnector(limit=connections),
        timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT),
    ) as session:
        yield [GraphQLClient(session, url.rstrip("/")) for url in urls]
