"""Handshakes of websockets, on raw sockets: each is answered in time."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from starlette.types import ASGIApp

from api.app import create_app
from api.identity.admission import Admission
from api.identity.gate import ROUND, Gate
from api.settings import Settings, SocketTimes
from tests.patience import PATIENCE, short, until
from tests.protocol.frames import CLOSE, HANDSHAKE, KEY, LINE, PING, PONG, Socket, frame, opened
from tests.protocol.raw import PIECES, connection_to, exchange, pieces_of, request
from tests.server import Server, serving

UPGRADE, CONNECTION, _, VERSION, PROTOCOL = HANDSHAKE
CLOSING = b"Connection: close, Upgrade"
"""For a request whose upgrade is ignored: the server would keep its connection otherwise."""


def handshake(*more: bytes, without: bytes = b"", line: bytes = LINE) -> bytes:
    """Return the handshake with more headers, and without one of its own."""
    name = without.partition(b":")[0]
    kept = [field for field in HANDSHAKE if not name or not field.startswith(name)]
    return request(line, *kept, *more)


ACCEPTED = {
    "a handshake": handshake(),
    "websocket in capitals": handshake(b"Upgrade: WEBSOCKET", without=UPGRADE),
    "upgrade in small letters": handshake(b"Connection: upgrade", without=CONNECTION),
    "upgrade among others": handshake(b"Connection: keep-alive, Upgrade", without=CONNECTION),
    "upgrade in a header of its own": handshake(b"Connection: keep-alive"),
    "the protocol among others": handshake(
        b"Sec-WebSocket-Protocol: graphql-ws, graphql-transport-ws", without=PROTOCOL
    ),
    "the protocol in a header of its own": handshake(b"Sec-WebSocket-Protocol: graphql-ws"),
    "an extension": handshake(b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"),
    "an extension of nobody": handshake(b"Sec-WebSocket-Extensions: foo; bar=1"),
    "extensions that are no tokens": handshake(b"Sec-WebSocket-Extensions: ;;;"),
    "the Origin of the host itself": handshake(b"Origin: http://test"),
    "a length of 0": handshake(b"Content-Length: 0"),
    "a cookie of 8 kB": handshake(b"Cookie: a=" + b"a" * 9_000),
    "cookies of 14 kB": handshake(*[b"Cookie: a=" + b"a" * 1_000] * 14),
    "an empty line before it": b"\r\n" + handshake(),
}

REFUSED: dict[str, tuple[bytes, int]] = {
    "version 8": (handshake(b"Sec-WebSocket-Version: 8", without=VERSION), 426),
    "version 14": (handshake(b"Sec-WebSocket-Version: 14", without=VERSION), 426),
    "a list of versions": (handshake(b"Sec-WebSocket-Version: 13, 8", without=VERSION), 426),
    "two versions": (handshake(b"Sec-WebSocket-Version: 13"), 426),
    "no version": (handshake(without=VERSION), 400),
    "no key": (handshake(without=b"Sec-WebSocket-Key"), 400),
    "an empty key": (handshake(b"Sec-WebSocket-Key:", without=b"Sec-WebSocket-Key"), 400),
    "a short key": (handshake(b"Sec-WebSocket-Key: aaaa", without=b"Sec-WebSocket-Key"), 400),
    "a key beyond ASCII": (handshake(b"Sec-WebSocket-Key: \xe4", without=b"Sec-WebSocket-Key"), 400),
    "two keys": (handshake(b"Sec-WebSocket-Key: " + KEY), 400),
    "a protocol that is no token": (handshake(b"Sec-WebSocket-Protocol: (", without=PROTOCOL), 400),
    "an Origin of null": (handshake(b"Origin: null"), 403),
    "an Origin elsewhere": (handshake(b"Origin: http://other"), 403),
    "an Origin that ends like the host": (handshake(b"Origin: http://evil-test"), 403),
    "an Origin that begins like the host": (handshake(b"Origin: http://test.evil"), 403),
    "an Origin with the host as a user": (handshake(b"Origin: http://test@evil"), 403),
    "an Origin at another port": (handshake(b"Origin: http://test:81"), 403),
    "an empty Origin": (handshake(b"Origin:"), 403),
    "two Origins": (handshake(b"Origin: http://test", b"Origin: http://evil"), 400),
    "no Host": (handshake().replace(b"Host: test\r\n", b""), 400),
    "two Hosts": (handshake(b"Host: test"), 400),
    "a body": (handshake(b"Content-Length: 5") + b"hello", 400),
    "a body in chunks": (handshake(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "a header of 8 kB": (handshake(b"X: " + b"a" * 9_000), 431),
    "too many headers": (handshake(*[b"X: 1"] * 100), 431),
    "too many headers of the names of cookies": (handshake(*[b"Cookie: 1"] * 100), 431),
    "a target of 9 kB": (handshake(line=b"GET /graphql?%s HTTP/1.1" % (b"a" * 9_000)), 414),
    "another path": (handshake(line=b"GET /sockets HTTP/1.1"), 403),
    # These do not open a websocket.
    "a POST": (handshake(CLOSING, line=b"POST /graphql HTTP/1.1", without=CONNECTION), 415),
    "HTTP/1.0": (handshake(CLOSING, line=b"GET /graphql HTTP/1.0", without=CONNECTION), 400),
    "another upgrade": (handshake(CLOSING, b"Upgrade: h2c", without=CONNECTION), 400),
    "a list of upgrades": (handshake(b"Upgrade: websocket, h2c", without=UPGRADE).replace(CONNECTION, CLOSING), 400),
    "no upgrade": (handshake(without=UPGRADE).replace(CONNECTION, CLOSING), 400),
    "no connection": (handshake(b"Connection: close", without=CONNECTION), 400),
}


async def is_open(socket: Socket) -> None:
    await socket.connection.send(frame(PING, b"here"))
    assert await socket.frame() == (PONG, b"here")


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("case", ACCEPTED)
async def test_a_handshake_is_accepted(server: Server, case: str, pieces: str) -> None:
    async with connection_to(server) as connection:
        await connection.send(*pieces_of(ACCEPTED[case], pieces))
        answer = await connection.answer()

        assert answer.status == 101
        assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert answer.headers["sec-websocket-protocol"] == "graphql-transport-ws"
        assert "sec-websocket-extensions" not in answer.headers
        await is_open(Socket(connection))


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("case", REFUSED)
async def test_a_handshake_that_is_not_valid_is_answered_and_closed(
    server: Server, caplog: pytest.LogCaptureFixture, case: str, pieces: str
) -> None:
    data, status = REFUSED[case]
    [answer] = await exchange(server, pieces_of(data, pieces))

    assert answer.status == status
    assert answer.headers["connection"] == "close"
    assert answer.headers.get("sec-websocket-version") == ("13" if status == 426 else None)
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []


@pytest.mark.parametrize(
    "behind",
    [frame(PING), request(b"GET /healthz HTTP/1.1"), b"\r\n", b"\0"],
    ids=["a frame", "a request", "an empty line", "a NUL"],
)
async def test_bytes_behind_a_handshake_are_refused_with_it(server: Server, behind: bytes) -> None:
    [answer] = await exchange(server, [handshake() + behind])

    assert answer.status == 400


async def test_an_unknown_subprotocol_is_closed_with_4406(server: Server) -> None:
    async with connection_to(server) as connection:
        await connection.send(handshake(b"Sec-WebSocket-Protocol: graphql-ws", without=PROTOCOL))
        assert (await connection.answer()).status == 101

        [(opcode, payload)] = await Socket(connection).frames()
    assert (opcode, int.from_bytes(payload[:2])) == (CLOSE, 4406)


async def test_a_handshake_that_the_application_does_not_answer_is_cut_off(settings: Settings) -> None:
    hanging, times = Hanging(), SocketTimes(receive=short(1.0))
    async with (
        serving(replace(settings, socket_times=times), make_app=lambda _: hanging) as server,
        connection_to(server) as connection,
    ):
        await connection.send(handshake())
        assert await connection.closed() == b""
        await asyncio.wait_for(hanging.left.wait(), PATIENCE)


async def test_a_handshake_behind_an_answer_is_cut_off_too(settings: Settings) -> None:
    hanging, times = Hanging(), SocketTimes(receive=short(1.0))
    async with (
        serving(replace(settings, socket_times=times), make_app=lambda _: hanging) as server,
        connection_to(server) as connection,
    ):
        await connection.send(request(b"GET / HTTP/1.1"))
        assert (await connection.answer()).status == 204
        await connection.send(handshake())
        assert await connection.closed() == b""
        await asyncio.wait_for(hanging.left.wait(), PATIENCE)


async def test_frames_before_the_answer_to_a_handshake_are_refused(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    hanging = Hanging()
    async with serving(settings, make_app=lambda _: hanging) as server, connection_to(server) as connection:
        await connection.send(handshake())
        await asyncio.wait_for(hanging.begun.wait(), PATIENCE)
        await connection.send(frame(PING))

        assert (await connection.answer()).status == 400
        assert await connection.closed() == b""
        await asyncio.wait_for(hanging.left.wait(), PATIENCE)
    assert [record for record in caplog.records if record.name != "dropzero.refusals"] == []


async def test_an_accepted_socket_outlives_the_time_for_its_handshake(settings: Settings) -> None:
    times = SocketTimes(receive=short(1.0))
    async with serving(replace(settings, socket_times=times)) as server, opened(server) as socket:
        async with connection_to(server) as other:  # opened later, it ends when the time is over
            assert await other.closed() == b""
        await is_open(socket)


async def test_a_refused_origin_is_not_logged_as_an_error_of_the_application(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    [answer] = await exchange(server, [handshake(b"Origin: http://evil")])

    assert answer.status == 403
    assert "ASGI" not in caplog.text


class Hanging:
    """An application that never accepts a socket, and answers 204 to a request."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.left = asyncio.Event()

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        match scope["type"]:
            case "lifespan":
                while (await receive())["type"] != "lifespan.shutdown":
                    await send({"type": "lifespan.startup.complete"})
                await send({"type": "lifespan.shutdown.complete"})
            case "http":
                await send({"type": "http.response.start", "status": 204, "headers": []})
                await send({"type": "http.response.body"})
            case "websocket":
                assert (await receive())["type"] == "websocket.connect"
                self.begun.set()
                assert (await receive())["type"] == "websocket.disconnect"
                self.left.set()
                await send({"type": "websocket.accept"})


@pytest.mark.parametrize(("patience", "status"), [(PATIENCE, 101), (-1.0, 429)])
async def test_a_handshake_waits_for_its_clients_turn(settings: Settings, patience: float, status: int) -> None:
    gates: list[Gate] = []
    crowded = True

    def make_app(admission: Admission) -> ASGIApp:
        gates.append(admission.gate)
        return create_app(settings, admission)

    def again(_: bool) -> None:
        if crowded:
            gates[0].enter("another", again)

    async with serving(settings, make_app=make_app) as server, connection_to(server) as connection:
        gates[0]._patience = patience
        gates[0].charge("127.0.0.1", 1e6)  # seconds: every other client comes first
        for _ in range(2 * ROUND):
            again(True)
        await connection.send(handshake())
        await until(lambda: "127.0.0.1" in gates[0]._queue._backlogs)
        crowded = False

        answer = await connection.answer()
        assert answer.status == status
        assert ("retry-after" in answer.headers) == (status == 429)
