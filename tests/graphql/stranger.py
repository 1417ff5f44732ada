"""A client that sends any bytes, reads as little as it likes, and leaves with a reset."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

from websockets.frames import Frame, Opcode

from tests.patience import PATIENCE
from tests.server import Server

WINDOW = 4096
"""Bytes that the kernel buffers for a client that does not read, roughly. All others wait on the server's side."""

RESET = struct.pack("ii", 1, 0)
"""SO_LINGER, switched on with 0 s: closing the socket sends a reset, and drops what still waits to be sent."""

UPGRADE = (
    b"GET /graphql HTTP/1.1\r\nhost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n"
)


def frame(message: dict[str, Any]) -> bytes:
    """A message of graphql-transport-ws."""
    return Frame(Opcode.TEXT, json.dumps(message).encode()).serialize(mask=True)


def subscribe(query: str, variables: dict[str, Any], id: str = "1") -> bytes:  # noqa: A002
    """The frame that starts an operation over a websocket."""
    return frame({"id": id, "type": "subscribe", "payload": {"query": query, "variables": variables}})


def event_stream(query: str, variables: dict[str, Any]) -> bytes:
    """The request for an operation whose answer is an event stream."""
    body = json.dumps({"query": query, "variables": variables}).encode()
    return (
        b"POST /graphql HTTP/1.1\r\nhost: localhost\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


INIT = frame({"type": "connection_init"})


class Stranger(asyncio.Protocol):
    """A bare TCP connection."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._received = bytearray()
        self._awaited = b""
        self._arrived: asyncio.Future[None] | None = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._arrived is not None and self._awaited in self._received:
            self._arrived.set_result(None)
            self._arrived = None

    def connection_lost(self, error: Exception | None) -> None:
        if self._arrived is not None:
            self._arrived.set_exception(error or EOFError(f"closed before {self._awaited!r}"))
            self._arrived = None

    async def until(self, text: bytes) -> None:
        """Wait until `text` arrives, and forget all received bytes. Raises OSError or EOFError when disconnected."""
        if text not in self._received:
            self._awaited = text
            self._arrived = asyncio.get_running_loop().create_future()
            async with asyncio.timeout(PATIENCE):
                await self._arrived
        self._received.clear()

    async def send(self, data: bytes, until: bytes = b"") -> None:
        """Send bytes, and wait until `until` arrives."""
        self.transport.write(data)
        await self.until(until)

    async def open_session(self, payload: dict[str, str] | None = None) -> None:
        """Upgrade to a websocket, and wait until connection_init is acknowledged."""
        await self.send(UPGRADE, until=b"\r\n\r\n")
        init = INIT if payload is None else frame({"type": "connection_init", "payload": payload})
        await self.send(init, until=b"connection_ack")


@asynccontextmanager
async def connection(server: Server) -> AsyncIterator[Stranger]:
    """A connection whose end is a reset."""
    address = urlsplit(server.url)
    bare = socket.socket()
    bare.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    bare.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
    bare.connect((address.hostname, address.port))  # returns at once on the same machine
    bare.setblocking(False)
    transport, stranger = await asyncio.get_running_loop().create_connection(Stranger, sock=bare)
    stranger.transport = transport
    try:
        yield stranger
    finally:
        transport.abort()
