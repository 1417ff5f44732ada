"""The socket of one watcher: graphql-transport-ws over a raw connection, with as little work as possible."""

import asyncio
import base64
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import orjson

LAST_FIELD = "version"
"""The field that is read. Its digits end at the first comma or brace."""

SUBSCRIPTION = (
    "subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { productId stock soldOut stale version } }"
)

LARGE_SUBSCRIPTION = SUBSCRIPTION.replace("stale", " ".join(f"{letter * 900}: stale" for letter in "abcdefgh"))
"""A subscription with messages of 8 KB, for sockets that stall. A few changes fill every buffer on the way."""

TINY_BUFFER = 1024
"""Bytes that a stalled socket sets as its receive buffer. The kernel has a minimum of its own."""

_VERSION = f'"{LAST_FIELD}":'.encode()
_TEXT, _CLOSE, _PING, _PONG = 0x1, 0x8, 0x9, 0xA


@dataclass(frozen=True, slots=True)
class Watch:
    """What one socket watches: a product, with each of its operations. Without operations it only reads. A socket that
    stalls subscribes to large messages, and stops reading after the first."""

    product_id: str
    operations: tuple[str, ...] = ("1",)
    stalls: bool = False
    query: str = SUBSCRIPTION


class WatchingSocket(asyncio.Protocol):
    """A watcher. `note` is called for every message that it reads, with its number, the version and the moment."""

    def __init__(self, number: int, watch: Watch, note: Callable[[int, int, float], None]) -> None:
        self.watch = watch
        self.version = 0
        self.last = b""
        self.failure = ""
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        """Done after the first message. Without operations, done after the handshake."""
        self._gone: asyncio.Future[None] = loop.create_future()
        self._leaving = False
        self._upgraded = False
        self._rest = b""
        self._number = number
        self._note = note
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class does not inherit from it
        host, port = self._transport.get_extra_info("peername")[:2]
        key = base64.b64encode(os.urandom(16)).decode()
        self._transport.write(
            f"GET /graphql HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        now = time.perf_counter()
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        if not self._upgraded:
            at = self._upgrade(data)
        while end - at >= 2:
            start, stop = _payload(data, at)
            if stop > end:
                break
            found = data.find(_VERSION, start, stop)
            if found > 0:
                version = data[found + len(_VERSION) : data.find(b"}", found)].partition(b",")[0]
                self._told(int(version), now)
                self.last = data[start:stop]
            else:
                self._handle(data[at] & 0xF, data[start:stop])
            at = stop
        self._rest = data[at:]

    def connection_lost(self, exception: Exception | None) -> None:
        if not self._leaving:
            self._fail(f"the connection was lost: {exception or 'closed by the server'}")
        if not self._gone.done():
            self._gone.set_result(None)

    async def leave(self) -> None:
        """Close the connection, and wait until the server has closed it."""
        self._leaving = True
        if not self._gone.done():
            self._transport.resume_reading()
            self._send(_CLOSE, (1000).to_bytes(2, "big"))
        await self._gone

    def _upgrade(self, data: bytes) -> int:
        """Where the first frame begins, once the head is complete."""
        head = data.find(b"\r\n\r\n")
        if head < 0:
            return 0
        if not data.startswith(b"HTTP/1.1 101 "):
            self._fail(data[: data.find(b"\r\n")].decode())
            return len(data)
        self._upgraded = True
        if self.watch.operations:
            self._send(_TEXT, b'{"type":"connection_init"}')
        else:
            self.ready.set_result(None)
        return head + 4

    def _told(self, version: int, now: float) -> None:
        if self.watch.stalls:
            self._transport.pause_reading()
        else:
            self._note(self._number, version, now)
            if version <= self.version:
                self._fail(f"version {version} arrived after {self.version}")
        self.version = version
        if not self.ready.done():
            self.ready.set_result(None)

    def _handle(self, opcode: int, payload: bytes) -> None:
        """Handle every other message of the server; all of them are rare."""
        if opcode == _PING:
            self._send(_PONG, payload)
        elif opcode == _CLOSE and not self._leaving:
            self._fail(f"closed with {int.from_bytes(payload[:2], 'big')} {payload[2:].decode()}")
        elif opcode == _TEXT:
            message = orjson.loads(payload)
            if message["type"] == "connection_ack":
                self._subscribe()
            elif message["type"] == "ping":
                self._send(_TEXT, b'{"type":"pong"}')
            else:
                self._fail(payload.decode())

    def _subscribe(self) -> None:
        query = LARGE_SUBSCRIPTION if self.watch.stalls else self.watch.query
        asked = {"query": query, "variables": {"ids": [self.watch.product_id]}}
        for operation in self.watch.operations:
            self._send(_TEXT, orjson.dumps({"id": operation, "type": "subscribe", "payload": asked}))

    def _send(self, opcode: int, payload: bytes) -> None:
        """One frame. It is masked with zeros, which is a valid mask."""
        size = len(payload)
        head = bytes((0x80 | opcode, 0x80 | size)) if size < 126 else bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2)
        self._transport.write(head + bytes(4) + payload)

    def _fail(self, reason: str) -> None:
        self.failure = self.failure or reason
        if not self.ready.done():
            self.ready.set_exception(ConnectionError(reason))


async def connect(watching: WatchingSocket, host: str, port: int) -> None:
    """Open the connection. For a socket that stalls, its tiny buffer is set before it connects."""
    loop = asyncio.get_running_loop()
    connection = socket.socket()
    connection.setblocking(False)
    if watching.watch.stalls:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, TINY_BUFFER)
    await loop.sock_connect(connection, (host, port))
    await loop.create_connection(lambda: watching, sock=connection)


def _payload(data: bytes, at: int) -> tuple[int, int]:
    """Where the payload of the unmasked frame at `at` begins and ends; beyond the data if bytes are missing."""
    size = data[at + 1]
    if size < 126:
        return at + 2, at + 2 + size
    width = 2 if size == 126 else 8
    if len(data) < at + 2 + width:
        return len(data), len(data) + 1
    start = at + 2 + width
    return start, start + int.from_bytes(data[at + 2 : start])
