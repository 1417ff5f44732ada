"""One GraphQL operation over HTTP."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import orjson

REQUEST_TIMEOUT = 60.0
"""Seconds for one request. Longer than any deadline of the server."""


class RequestFailed(Exception):
    """An operation did not come to its data; the message says why."""


class NoAnswer(RequestFailed):
    """The server could not be reached, or its answer was lost: whether the operation was done is not known."""


class Refused(RequestFailed):
    """The server answered with errors. `code` is the first one's, such as UNAUTHENTICATED."""

    def __init__(self, message: str, code: str | None) -> None:
        super().__init__(message)
        self.code = code


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
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise RequestFailed(f"{self.url} is not the address of a server, such as http://127.0.0.1:8000") from None
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswer(f"no answer from {self.url}: {_reason(error)}; is the server running there?") from None
        try:
            answer = orjson.loads(text)
            errors, data = answer.get("errors"), answer.get("data")
            if errors:
                messages = "; ".join(str(error.get("message")) for error in errors)
                raise Refused(messages, (errors[0].get("extensions") or {}).get("code"))
        except (orjson.JSONDecodeError, AttributeError, TypeError):
            data = None
        if not isinstance(data, dict):
            raise RequestFailed(f"{self.url} answered {response.status}, and not as a GraphQL server does")
        return data


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError) and (error.errno or 0) > 0:
        return os.strerror(error.errno or 0)
    return str(error) or "not in time"


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
        yield [GraphQLClient(session, url.rstrip("/").removesuffix("/graphql")) for url in urls]
