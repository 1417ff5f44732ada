"""A receiver of webhooks that answers byte by byte, as a test says, and not as HTTP does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.listener import accepting

ACCEPTED = b"HTTP/1.1 200 OK\r\n"

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Raw:
    """`requests`: those that have arrived. `connections`: those that were accepted. `ended`: those that are closed."""

    url: str = ""
    requests: int = 0
    connections: int = 0
    ended: int = 0

    @property
    def left(self) -> bool:
        """Whether the sender has closed every connection."""
        return self.ended == self.connections


@asynccontextmanager
async def raw_receiving(answer: Conversation) -> AsyncIterator[Raw]:
    """Run a receiver that reads a request of each connection and then answers. The connection ends with the answer."""
    raw = Raw()
    tasks: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await read_request(reader)
            raw.requests += 1
            await answer(reader, writer)
        except (OSError, EOFError):
            pass  # the sender has closed the connection
        finally:
            writer.transport.abort()
            raw.ended += 1

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raw.connections += 1
        tasks.add(asyncio.create_task(converse(reader, writer)))

    try:
        async with accepting(await asyncio.start_server(accept, "127.0.0.1", 0)) as port:
            raw.url = f"http://127.0.0.1:{port}/hunter2?key=hunter2"
            yield raw
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> None:
    """Read a whole request. Raises EOFError when the sender has closed the connection."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    await reader.readexactly(int(head.partition(b"content-length:")[2].split(b"\r\n")[0]))


def saying(answer: bytes) -> Conversation:
    """An answer, after which the receiver closes the connection."""

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    return answering


def repeating(begin: bytes, again: bytes, pause: float = 0.0) -> Conversation:
    """An answer that never ends: `begin`, and then `again` for ever, with a pause in seconds before each."""

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        while True:
            await asyncio.sleep(pause)
            writer.write(again)
            await writer.drain()

    return answering


def holding(begin: bytes) -> Conversation:
    """The begin of an answer, and nothing more until the sender closes the connection."""

    async def answering(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        await reader.read()

    return answering
