"""Websocket frames as bytes (RFC 6455), and a socket to send them on."""

import contextlib
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.protocol.raw import Connection, connection_to, request
from tests.server import Server

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE = (
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: " + KEY,
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Protocol: graphql-transport-ws",
)
LINE = b"GET /graphql HTTP/1.1"


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x37\xfa\x21\x3d",
    length: int | None = None,
) -> bytes:
    """Return a frame. `length`: the length to write into it, where it is to be wrong."""
    size = len(payload) if length is None else length
    masked = 0x80 if mask else 0
    head = bytes([fin << 7 | reserved << 4 | opcode])
    if size < 126:
        head += bytes([masked | size])
    elif size < 1 << 16:
        head += bytes([masked | 126]) + struct.pack("!H", size)
    else:
        head += bytes([masked | 127]) + struct.pack("!Q", size)
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[: len(payload)]
    hidden = int.from_bytes(payload) ^ int.from_bytes(key)
    return head + mask + hidden.to_bytes(len(payload))


def fragments(*payloads: bytes, opcode: int = TEXT) -> bytes:
    """Return one message, with each payload in a frame of its own."""
    last = len(payloads) - 1
    return b"".join(
        frame(CONTINUATION if number else opcode, payload, fin=number == last)
        for number, payload in enumerate(payloads)
    )


def close(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


@dataclass(frozen=True)
class Socket:
    """A websocket on a raw connection, after its handshake."""

    connection: Connection

    async def frame(self) -> tuple[int, bytes]:
        """Receive one frame, which must be whole and not masked. Returns its opcode and payload."""
        first, second = await self.connection.exactly(2)
        assert first & 0xF0 == 0x80
        assert second < 128
        size = second
        if second == 126:
            [size] = struct.unpack("!H", await self.connection.exactly(2))
        return first & 0x0F, await self.connection.exactly(size)

    async def frames(self) -> list[tuple[int, bytes]]:
        """Receive every frame up to the close frame, and answer that one."""
        received = [await self.frame()]
        while received[-1][0] != CLOSE:
            received.append(await self.frame())
        await self.connection.send(frame(CLOSE, received[-1][1]))
        assert await self.connection.closed() == b""
        return received


@contextlib.asynccontextmanager
async def opened(server: Server) -> AsyncIterator[Socket]:
    """Open a socket until the block is left. It has not sent connection_init."""
    async with connection_to(server) as connection:
        await connection.send(request(LINE, *HANDSHAKE))
        assert (await connection.answer()).status == 101
        yield Socket(connection)
