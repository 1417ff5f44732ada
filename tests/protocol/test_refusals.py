"""Invalid input leaves nothing behind: no line in the log, no memory, no connection."""

import contextlib
import gc
from collections.abc import Callable
from dataclasses import replace

import pytest

from api.settings import Settings, SocketTimes
from api.slow_clients import MAX_UNSENT, PIECE
from api.websocket_protocol import BoundedWebSocket
from tests.graphql.garbage import LEFT, VISITS, servers_objects
from tests.patience import short, until
from tests.protocol.frames import BINARY, HANDSHAKE, LINE, PING, TEXT, close, frame, opened
from tests.protocol.raw import TYPENAME, connection_to, exchange, request
from tests.protocol.upgrades import UPGRADES, smuggling
from tests.server import Server, serving

POST = b"POST /graphql HTTP/1.1"
GET = request(b"GET /healthz HTTP/1.1")
REQUESTS: dict[str, bytes] = {
    "garbage": b"\0\1\2\3",
    "garbage behind requests": GET * 3 + b"\0",
    "a request behind garbage": b"\0" + GET,
    "CONNECT": request(b"CONNECT test:1 HTTP/1.1"),
    "a head that is too long": b"GET /" + b"a" * 100_000,
    "a body that is not valid": request(POST, b"Transfer-Encoding: chunked") + b"x\r\n",
    "an upgrade to h2c": request(POST, *UPGRADES["h2c"], b"Connection: close", body=TYPENAME),
    "an upgrade that hides a request": smuggling(UPGRADES["foo"], "chunks", "a") + b"\0",
    "a handshake that is not valid": request(LINE, *HANDSHAKE, b"Sec-WebSocket-Key: a"),
    "a handshake with a frame": request(LINE, *HANDSHAKE) + frame(PING),
    "a handshake behind a request, with a frame": GET + request(LINE, *HANDSHAKE) + frame(PING),
    "a handshake from elsewhere": request(LINE, *HANDSHAKE, b"Origin: null"),
    "a header of 8 kB in a handshake": request(LINE, *HANDSHAKE, b"X: " + b"a" * 9_000),
}
FRAMES: dict[str, bytes] = {
    "a text that is not UTF-8": frame(TEXT, b"\xff"),
    "a reserved opcode": frame(3),
    "a frame without a mask": frame(TEXT, b"{}", mask=None),
    "a binary": frame(BINARY, b"{}"),
    "a message that is no JSON": frame(TEXT, b"{"),
    "a close that is not valid": close(1005),
}


@pytest.mark.parametrize("what", [*REQUESTS, *FRAMES])
async def test_invalid_input_leaves_no_log_line_and_no_memory(
    server: Server, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    async def visit() -> None:
        if what in REQUESTS:
            assert await exchange(server, [REQUESTS[what]])
        else:
            async with opened(server) as socket:
                await socket.connection.send(FRAMES[what])
                assert await socket.frames()

    await visit()
    gc.collect()
    gc.disable()
    try:
        before = servers_objects()
        for _ in range(VISITS):
            await visit()

        def left() -> dict[str, int]:
            return {kind: number for kind, number in (servers_objects() - before).items() if number >= LEFT}

        with contextlib.suppress(TimeoutError):
            await until(lambda: not left())
        assert left() == {}
    finally:
        gc.enable()
    elsewhere = [record for record in caplog.records if record.name != "dropzero.refusals"]
    assert elsewhere == []


async def test_pongs_do_not_pile_up_for_a_client_that_does_not_read(settings: Settings) -> None:
    """The client sends pings until the server disconnects it, after `send` seconds."""
    pings, most = frame(PING, b"a" * 125) * 1_000, 0
    times = SocketTimes(send=short(0.5))
    async with serving(replace(settings, socket_times=times)) as server, opened(server) as socket:
        [protocol] = found(lambda each: type(each) is BoundedWebSocket and not each.transport.is_closing())
        assert isinstance(protocol, BoundedWebSocket)
        transport = protocol.transport
        while not transport.is_closing():
            await socket.connection.send(pings)
            most = max(most, transport.get_write_buffer_size())
    assert 0 < most < MAX_UNSENT + 2 * PIECE


def found(wanted: Callable[[object], bool]) -> list[object]:
    return [each for each in gc.get_objects() if wanted(each)]


async def test_an_answer_is_seen_before_a_connection_with_bytes_unread_is_closed(server: Server) -> None:
    async with connection_to(server) as connection:
        await connection.send(b"\0")
        await connection.send(*[b"a" * 1_000] * 100)
        assert [answer.status for answer in await connection.answers()] == [400]


async def test_a_client_that_keeps_sending_after_a_refusal_is_disconnected(server: Server) -> None:
    async with connection_to(server) as connection:
        await connection.send(b"\0")
        while not connection.writer.transport.is_closing():
            await connection.send(b"a" * 100_000)
