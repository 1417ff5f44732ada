"""The connection of a websocket as `dropzero serve` offers it: frames sent at once, and parked sockets."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosedOK

from api.graphql.connection import Connection, connection_of
from api.graphql.shared_response import header_of
from api.settings import Settings, SocketTimes
from tests.patience import PATIENCE, until
from tests.protocol.frames import CLOSE, TEXT, frame, opened
from tests.server import serving

Session = Callable[[Connection], Awaitable[None]]


def frame_of(text: str) -> tuple[bytes, ...]:
    encoded = text.encode()
    return header_of(len(encoded)), encoded


def message_of(text: str) -> dict[str, Any]:
    return {"type": "websocket.send", "text": text}


@dataclass(frozen=True)
class Application:
    """An ASGI application that accepts each websocket, and then does what a test wants."""

    session: Session

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        connection = connection_of(scope, receive, send)
        await connection.receive()
        await connection.send({"type": "websocket.accept"})
        await self.session(connection)


@contextlib.asynccontextmanager
async def served(settings: Settings, session: Session) -> AsyncIterator[Any]:
    """A server with that application."""
    times = replace(settings, socket_times=SocketTimes(send=PATIENCE))
    async with serving(times, make_app=lambda _: Application(session)) as server:
        yield server


@contextlib.asynccontextmanager
async def client_of(settings: Settings, session: Session) -> AsyncIterator[Any]:
    """A client of the websockets library, connected to that application."""
    async with (
        served(settings, session) as server,
        asyncio.timeout(PATIENCE),
        connect(server.websocket_url, compression=None, proxy=None, max_size=None) as client,
    ):
        yield client


@pytest.mark.parametrize("size", [1, 125, 126, 65_535, 65_536, 200_000])
async def test_a_frame_arrives_whole_between_other_messages(settings: Settings, size: int) -> None:
    text = "é" * (size // 2) + "x" * (size % 2)

    async def session(connection: Connection) -> None:
        await connection.send(message_of("before"))
        assert connection.write(frame_of(text))
        await connection.send(message_of("after"))
        await connection.receive()

    async with client_of(settings, session) as client:
        assert [await client.recv() for _ in range(3)] == ["before", text, "after"]


async def test_no_frame_overtakes_a_message_that_waits_for_room(settings: Settings) -> None:
    written = 0

    async def session(connection: Connection) -> None:
        nonlocal written
        while connection.write(frame_of(f"{written} " + "x" * 1_000)):
            written += 1
        waiting = [asyncio.ensure_future(_send(connection, text)) for text in ("first", "second")]
        await asyncio.sleep(0)
        blocked.set()
        while not connection.write(frame_of("third")):
            await asyncio.sleep(0)
        assert all(task.done() for task in waiting)
        await connection.receive()

    blocked = asyncio.Event()
    async with served(settings, session) as server, asyncio.timeout(PATIENCE), opened(server) as socket:
        await blocked.wait()  # the client has not read anything yet
        assert written > 10
        received = [(await socket.frame())[1].split(b" ")[0].decode() for _ in range(written + 3)]

    assert received == [*map(str, range(written)), "first", "second", "third"]


async def _send(connection: Connection, text: str) -> None:
    await connection.send(message_of(text))


async def test_nothing_is_sent_behind_a_close_frame(settings: Settings) -> None:
    refused = asyncio.Event()

    async def session(connection: Connection) -> None:
        assert connection.write(frame_of("before"))
        await connection.send({"type": "websocket.close", "code": 4400})
        with pytest.raises(ClientDisconnected):
            connection.write(frame_of("after"))
        refused.set()

    async with served(settings, session) as server, asyncio.timeout(PATIENCE), opened(server) as socket:
        await refused.wait()
        assert await socket.frames() == [(TEXT, b"before"), (CLOSE, (4400).to_bytes(2))]


async def test_nothing_is_sent_behind_the_answer_to_a_close_frame(settings: Settings) -> None:
    refused = asyncio.Event()

    async def session(connection: Connection) -> None:
        assert (await connection.receive())["type"] == "websocket.disconnect"
        with pytest.raises(ClientDisconnected):
            connection.write(frame_of("after"))
        refused.set()

    async with client_of(settings, session) as client:
        await client.close()
        await refused.wait()
        with pytest.raises(ConnectionClosedOK):
            await client.recv()


async def test_a_parked_socket_is_resumed_by_a_message_and_by_its_end(settings: Settings) -> None:
    received: list[Any] = []

    async def session(connection: Connection) -> None:
        async def resume() -> None:
            event = await connection.receive()
            received.append(event.get("text", event["type"]))
            if event["type"] == "websocket.receive":
                await connection.send(message_of("got it"))
                assert connection.park(resume)

        assert connection.park(resume)

    async with client_of(settings, session) as client:
        for text in ("first", "second"):
            await client.send(text)
            assert await client.recv() == "got it"
        client.transport.abort()
        await until(lambda: received == ["first", "second", "websocket.disconnect"])


async def test_a_socket_with_an_event_is_not_parked(settings: Settings) -> None:
    async def session(connection: Connection) -> None:
        for expected in ("first", "second"):
            assert not received or not connection.park(never)
            received.append((await connection.receive())["text"])
            assert received[-1] == expected
        await connection.send(message_of("got both"))

    async def never() -> None:
        raise AssertionError

    received: list[str] = []
    async with served(settings, session) as server, asyncio.timeout(PATIENCE), opened(server) as socket:
        await socket.connection.send(frame(TEXT, b"first") + frame(TEXT, b"second"))  # in one piece
        assert await socket.frame() == (TEXT, b"got both")


async def test_a_parked_socket_can_be_woken_without_an_event(settings: Settings) -> None:
    connections: list[Connection] = []

    async def session(connection: Connection) -> None:
        async def resume() -> None:
            await connection.send({"type": "websocket.close", "code": 1013})

        assert connection.park(resume)
        connections.append(connection)

    async with client_of(settings, session) as client:
        await until(lambda: bool(connections))
        connections[0].wake()
        connections[0].wake()  # without effect
        await client.wait_closed()
        assert client.close_code == 1013


async def test_an_application_that_ends_without_parking_closes_its_socket(settings: Settings) -> None:
    async def session(connection: Connection) -> None:
        async def resume() -> None:
            await connection.receive()

        assert connection.park(resume)

    async with client_of(settings, session) as client:
        await client.send("first")
        await client.wait_closed()
