"""How answers are written: in one packet where they are whole, and at once where they are a stream."""

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from api.settings import Settings
from tests.patience import PATIENCE
from tests.protocol.raw import TYPENAME, Connection, connection_to, request
from tests.server import Server, serving

DATA_SEGMENTS_IN = 152
"""Where Linux has the count of packets with data in its struct tcp_info."""


class Application:
    """An ASGI application whose answer depends on the path."""

    def __init__(self) -> None:
        self.goes_on = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        path = scope["path"]
        lengths = [] if path in ("/stream", "/none") else [(b"content-length", b"6")]
        values = [(b"x-split", b"a\r\nset-cookie: b")] if path == "/split" else []
        names = [(b"x-split: a\r\nset-cookie", b"b")] if path == "/split-name" else []
        status = 304 if path == "/none" else 200
        await send({"type": "http.response.start", "status": status, "headers": [*lengths, *values, *names]})
        if path == "/fails":
            raise ZeroDivisionError
        if path in ("/stream", "/parts"):
            if path == "/stream":
                await self.goes_on.wait()
            await send({"type": "http.response.body", "body": b"abc", "more_body": True})
        body = {"/parts": b"def", "/stream": b"def", "/none": b"", "/long": b"abcdefg", "/short": b"abcde"}
        await send({"type": "http.response.body", "body": body.get(path, b"abcdef")})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
async def plain(settings: Settings, application: Application) -> AsyncIterator[Server]:
    """A server of that application."""
    async with serving(settings, make_app=lambda _: application) as server:
        yield server


def get(path: bytes, method: bytes = b"GET") -> bytes:
    return request(b"%s %s HTTP/1.1" % (method, path))


async def packets_of(connection: Connection, sent: bytes) -> int:
    """Return the number of packets in which the answer to this arrived."""
    peer: socket.socket = connection.writer.get_extra_info("socket")

    def count() -> int:
        info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, DATA_SEGMENTS_IN + 4)
        return int(struct.unpack_from("I", info, DATA_SEGMENTS_IN)[0])

    before = count()
    await connection.send(sent)
    assert (await connection.answer()).status == 200
    return count() - before


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts the packets of a connection")
@pytest.mark.parametrize("sent", [request(b"POST /graphql HTTP/1.1", body=TYPENAME), request(b"GET /healthz HTTP/1.1")])
async def test_a_whole_answer_is_one_packet(server: Server, sent: bytes) -> None:
    async with connection_to(server) as connection:
        assert [await packets_of(connection, sent) for _ in range(3)] == [1, 1, 1]


async def test_the_head_of_a_stream_does_not_wait_for_its_body(plain: Server, application: Application) -> None:
    async with connection_to(plain) as connection, asyncio.timeout(PATIENCE):
        await connection.send(get(b"/stream"))
        head = await connection.reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head
        application.goes_on.set()
        assert await connection.reader.readuntil(b"0\r\n\r\n") == b"3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"


async def test_an_answer_in_two_parts_is_whole(plain: Server) -> None:
    async with connection_to(plain) as connection:
        await connection.send(get(b"/parts") + get(b"/whole"))
        assert [(await connection.answer()).body for _ in range(2)] == [b"abcdef", b"abcdef"]


async def test_the_answer_to_head_has_a_length_and_no_body(plain: Server) -> None:
    async with connection_to(plain) as connection, asyncio.timeout(PATIENCE):
        await connection.send(get(b"/whole", b"HEAD") + get(b"/whole"))
        assert b"content-length: 6\r\n" in await connection.reader.readuntil(b"\r\n\r\n")
        assert (await connection.answer()).body == b"abcdef"


async def test_an_answer_without_a_body_has_no_length_and_no_chunks(plain: Server) -> None:
    async with connection_to(plain) as connection:
        await connection.send(get(b"/none") + get(b"/whole"))
        nothing = await connection.answer()
        assert nothing.status == 304
        assert not {"content-length", "transfer-encoding"} & set(nothing.headers)
        assert (await connection.answer()).body == b"abcdef"


@pytest.mark.parametrize("path", [b"/fails", b"/split", b"/split-name", b"/long"])
async def test_nothing_is_sent_of_an_answer_that_fails_before_its_body(plain: Server, path: bytes) -> None:
    async with connection_to(plain) as connection:
        await connection.send(get(path))
        assert await connection.closed() == b""


async def test_an_answer_that_is_too_short_ends_with_its_connection(plain: Server) -> None:
    async with connection_to(plain) as connection:
        await connection.send(get(b"/short"))
        assert (await connection.closed()).endswith(b"\r\n\r\nabcde")
