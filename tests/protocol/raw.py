"""Bytes on a connection, in pieces, and the answers to them."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from tests.patience import PATIENCE
from tests.server import PURCHASE, Server

ANYTHING = "00000000-0000-0000-0000-000000000000"
"""A placeholder of the same length for a product's id, in bytes that are written before the product exists."""

TYPENAME = b'{"query":"{ __typename }"}'


@dataclass(frozen=True)
class Answer:
    """An HTTP response. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return orjson.loads(self.body)["data"]


def request(line: bytes, *headers: bytes, body: bytes | None = None) -> bytes:
    """Return a request with a Host, and with a Content-Length if it has a body."""
    fields = [b"Host: test", *headers]
    if body is not None:
        fields += [b"Content-Type: application/json", b"Content-Length: %d" % len(body)]
    return b"\r\n".join([line, *fields, b"", body or b""])


def purchase(product_id: str = ANYTHING, buyer: str = "ada") -> bytes:
    """The body of a purchase of one unit."""
    return orjson.dumps({"query": PURCHASE, "variables": {"input": {"productId": product_id, "userRef": buyer}}})


def pieces_of(data: bytes, how: str) -> list[bytes]:
    """Return the bytes whole, or cut behind the first head, or in pieces as short as the time of a test allows."""
    if how == "whole":
        return [data]
    if how == "head, rest":
        cut = data.find(b"\r\n\r\n") + 4
        return [data[:cut], data[cut:]] if 4 <= cut < len(data) else [data[:5], data[5:]]
    size = 1 if len(data) < 1_000 else 97
    return [data[start : start + size] for start in range(0, len(data), size)]


PIECES = ("whole", "head, rest", "bytes")


@dataclass(frozen=True)
class Connection:
    """A TCP connection to a server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        """Send these pieces one by one. The server may close the connection meanwhile."""
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
                for _ in range(3):  # rounds of the loop in which the server can read the piece
                    await asyncio.sleep(0)

    async def exactly(self, size: int) -> bytes:
        """Read so many bytes. Raises IncompleteReadError when there are fewer."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)

    async def answer(self) -> Answer:
        """Read the next answer. Raises IncompleteReadError when there is none."""
        async with asyncio.timeout(PATIENCE):
            line, *fields = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
            status = int(re.fullmatch(r"HTTP/1.1 (\d{3}) .+", line)[1])  # type: ignore[index]
            headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in fields)}
            body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Answer(status, headers, body)

    async def answers(self) -> list[Answer]:
        """Read every answer until the server closes the connection."""
        received = []
        try:
            while True:
                received.append(await self.answer())
        except asyncio.IncompleteReadError as end:
            if end.partial:
                raise
        except ConnectionError:
            pass
        return received

    async def closed(self) -> bytes:
        """Read what the server still sends before it closes the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@contextlib.asynccontextmanager
async def connection_to(server: Server) -> AsyncIterator[Connection]:
    """Connect until the block is left."""
    address = urlsplit(server.url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


async def exchange(server: Server, pieces: Sequence[bytes]) -> list[Answer]:
    """Send these pieces, and return the answers until the server closes the connection."""
    async with connection_to(server) as connection:
        # Read while sending: bytes sent behind an answer that closes the connection reset it.
        answers = asyncio.create_task(connection.answers())
        await connection.send(*pieces)
        return await answers


async def stock_of(server: Server, product_id: str) -> int:
    found = await server.data("query ($id: ID!) { product(id: $id) { stock } }", {"id": product_id})
    stock: int = found["product"]["stock"]
    return stock
