"""The bounds on a request, on raw sockets."""

import asyncio
from dataclasses import replace

import pytest

from api.refusal import MAX_HEAD
from api.settings import Settings, SocketTimes
from tests.patience import PATIENCE, short
from tests.server import Server, serving

BODY = b'{"query":"{ __typename }"}'


async def exchange(server: Server, request: bytes) -> bytes:
    """Send these bytes, and return what the server sends before it closes the connection or falls silent."""
    host, port = server.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(request)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def is_refusal(answer: bytes) -> bool:
    # The server closes the connection with a part unread, and the reset can overtake its answer.
    return answer == b"" or answer.startswith(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")


def request_with(headers: bytes) -> bytes:
    return (
        b"POST /graphql HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n%s\r\n%s" % (len(BODY), headers, BODY)
    )


async def test_a_large_head_is_refused(server: Server) -> None:
    # More than one read takes.
    many = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 1000) for number in range(3000))

    assert is_refusal(await exchange(server, request_with(many)))


async def test_an_endless_head_is_refused_before_it_ends(server: Server) -> None:
    assert is_refusal(await exchange(server, b"POST /graphql HTTP/1.1\r\nx: " + b"a" * (100 * MAX_HEAD)))


async def test_an_ordinary_head_and_a_large_body_pass(server: Server) -> None:
    assert b'{"data":{"__typename":"Query"}}' in await exchange(server, request_with(b""))
    padded = BODY + b" " * (2 * MAX_HEAD)
    request = request_with(b"").replace(b"%d" % len(BODY), b"%d" % len(padded), 1).replace(BODY, padded)
    assert b'{"data":{"__typename":"Query"}}' in await exchange(server, request)


@pytest.mark.parametrize("begun", [b"", b"POST /graphql HT", request_with(b"")[:-5]])
async def test_an_incomplete_request_is_cut_off(settings: Settings, begun: bytes) -> None:
    times = SocketTimes(receive=short(0.1))
    async with serving(replace(settings, socket_times=times)) as server, asyncio.timeout(PATIENCE):
        assert await exchange(server, begun) == b""


async def test_a_connection_in_use_is_not_cut_off(settings: Settings) -> None:
    request = request_with(b"").replace(b"connection: close", b"connection: keep-alive")
    answer = b'{"data":{"__typename":"Query"}}'
    times = SocketTimes(receive=short(1.0))
    async with serving(replace(settings, socket_times=times)) as server, asyncio.timeout(PATIENCE):
        host, port = server.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request)
        assert (await reader.readuntil(answer)).endswith(answer)
        # An idle connection is cut off, so the time of the older one has passed too.
        assert await exchange(server, b"") == b""
        writer.write(request)
        assert (await reader.readuntil(answer)).endswith(answer)
        writer.close()
