"""Compressed answers: which are compressed, for which clients, and that small ones and secrets are not."""

import asyncio
import gzip
import json
import shutil
import subprocess
from dataclasses import replace
from typing import Any

import pytest

from api.graphql.negotiation import MAX_ACCEPT, takes_gzip
from api.graphql.response import LEAST_COMPRESSED, MOST_COMPRESSED, Response
from api.settings import Settings
from tests.patience import PATIENCE
from tests.protocol.raw import Answer, connection_to, request
from tests.server import GUEST_KEY, Server, serving

NAMES = "{ products(first: 100) { edges { node { id name } } } }"
GZIP = b"Accept-Encoding: gzip"
ROWS = 30
"""Products whose names are an answer of some kilobytes."""


@pytest.mark.parametrize(
    ("accept_encoding", "taken"),
    [
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("*", True),
        ("gzip;q=0.001", True),
        ("deflate, *;q=0.5", True),
        ("gzip;q=0.5, identity;q=0.5", True),
        ("identity;q=0, gzip", True),
        ("", False),
        (" ", False),
        ("identity", False),
        ("br, deflate", False),
        ("gzip;q=0", False),
        ("gzip;q=0.0, *", False),
        ("*;q=0", False),
        ("gzip;q=0.5, identity", False),
        ("identity;q=0.9, *;q=0.1", False),
        ("notgzip", False),
        ("gzip," + "a" * MAX_ACCEPT, False),
    ],
)
def test_gzip_is_taken_by_its_quality(accept_encoding: str, taken: bool) -> None:
    assert takes_gzip(accept_encoding) is taken


@pytest.mark.parametrize(
    ("size", "compressible"),
    [(LEAST_COMPRESSED - 1, False), (LEAST_COMPRESSED, True), (MOST_COMPRESSED, True), (MOST_COMPRESSED + 1, False)],
)
def test_small_and_very_large_bodies_are_not_compressed(size: int, compressible: bool) -> None:
    assert Response(b"a" * size).compressible is compressible


@pytest.fixture(scope="module")
async def server(shared_server: Server) -> Server:
    for number in range(ROWS):
        await shared_server.create_product(name=f"Tee {number}")
    return shared_server


async def answer_to(server: Server, query: str, *headers: bytes) -> Answer:
    body = json.dumps({"query": query}).encode()
    async with connection_to(server) as connection:
        await connection.send(request(b"POST /graphql HTTP/1.1", *headers, body=body))
        return await connection.answer()


def rows_in(body: bytes) -> list[Any]:
    rows: list[Any] = json.loads(body)["data"]["products"]["edges"]
    return rows


async def test_a_large_answer_is_compressed_for_clients_that_take_it(server: Server) -> None:
    plain = await answer_to(server, NAMES)
    compressed = await answer_to(server, NAMES, GZIP)

    assert len(rows_in(plain.body)) == ROWS
    assert len(plain.body) > LEAST_COMPRESSED
    assert gzip.decompress(compressed.body) == plain.body
    assert len(compressed.body) < len(plain.body) / 2
    assert compressed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert plain.headers["vary"] == compressed.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize("coding", [b"identity", b"gzip;q=0", b"br", b"gzip;q=0.1, identity"])
async def test_a_client_that_does_not_take_gzip_gets_none(server: Server, coding: bytes) -> None:
    answer = await answer_to(server, NAMES, b"Accept-Encoding: " + coding)
    assert "content-encoding" not in answer.headers
    assert len(rows_in(answer.body)) == ROWS


async def test_a_small_answer_is_sent_as_it_is(server: Server) -> None:
    answer = await answer_to(server, "{ __typename }", GZIP)
    assert answer.data == {"__typename": "Query"}
    assert not {"content-encoding", "vary"} & set(answer.headers)


async def test_a_query_by_get_is_compressed_too(server: Server) -> None:
    line = b"GET /graphql?query=" + NAMES.encode().replace(b" ", b"%20") + b" HTTP/1.1"
    async with connection_to(server) as connection:
        await connection.send(request(line, GZIP))
        answer = await connection.answer()
    assert len(rows_in(gzip.decompress(answer.body))) == ROWS


async def test_errors_are_not_compressed(server: Server) -> None:
    answer = await answer_to(server, "{ " + " ".join("a" * 300 + str(number) for number in range(5)) + " }", GZIP)
    assert len(json.loads(answer.body)["errors"]) == 5
    assert len(answer.body) > LEAST_COMPRESSED
    assert "content-encoding" not in answer.headers


async def test_mutations_are_not_compressed(settings: Settings) -> None:
    # A guest's token would be compressed together with text of the request.
    names = " ".join(f"{'a' * 100}{number}: __typename" for number in range(9))
    query = f"mutation {{ guest {{ token expiresAt {names} }} }}"
    async with serving(replace(settings, guest_keys=(GUEST_KEY,))) as server:
        answer = await answer_to(server, query, GZIP)
    assert len(answer.body) > LEAST_COMPRESSED
    assert answer.data["guest"]["token"]
    assert "content-encoding" not in answer.headers


async def test_an_event_stream_is_not_compressed(server: Server) -> None:
    body = json.dumps({"query": NAMES}).encode()
    async with connection_to(server) as connection:
        await connection.send(request(b"POST /graphql HTTP/1.1", b"Accept: text/event-stream", GZIP, body=body))
        events = (await connection.reader.readuntil(b"event: complete")).decode()
    assert "content-encoding" not in events
    assert "Tee 1" in events


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
async def test_curl_reads_a_compressed_answer(server: Server) -> None:
    command = ["curl", "--silent", "--compressed", "--json", json.dumps({"query": NAMES}), f"{server.url}/graphql"]
    curl = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    received, _ = await asyncio.wait_for(curl.communicate(), PATIENCE)
    assert len(rows_in(received)) == ROWS
