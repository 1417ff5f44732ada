"""Requests over HTTP with any body, query string or header, and their answers."""

import io
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from api.graphql.negotiation import JSON
from tests.server import Server

TYPENAME = b'{"query": "{ __typename }"}'


async def post(
    server: Server, body: bytes | io.BytesIO | AsyncIterator[bytes], **headers: str
) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    """Send any body. Returns the response, and its JSON."""
    named = {"content-type": JSON} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with server.session.post(f"{server.url}/graphql", data=body, headers=named) as response:
        return response, json.loads(await response.read())


async def get(
    server: Server, parameters: dict[str, str], **headers: str
) -> tuple[aiohttp.ClientResponse, dict[str, Any]]:
    """Send a query string. Returns the response, and its JSON."""
    async with server.session.get(f"{server.url}/graphql", params=parameters, headers=headers) as response:
        return response, json.loads(await response.read())


CODES = ("GRAPHQL_PARSE_FAILED", "GRAPHQL_VALIDATION_FAILED", "BAD_USER_INPUT")
"""The codes of requests that can never be executed."""


def message(answer: dict[str, Any]) -> str:
    """The message of a refusal, which has one error with a code of CODES, and no data."""
    [error] = answer["errors"]
    assert error["extensions"].keys() == {"code"}
    assert error["extensions"]["code"] in CODES
    assert "data" not in answer
    text: str = error["message"]
    return text


async def assert_serves(server: Server) -> None:
    assert await server.data("{ __typename }") == {"__typename": "Query"}
