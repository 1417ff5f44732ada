"""A server of the tests' event loop that ends without a connection that is half accepted.

In Python 3.11, asyncio accepts a connection in one round of the event loop and makes its transport in the next. If the
server closes between the two, the transport is never closed: a ResourceWarning, and a test that fails by chance.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


def stop_listening(server: asyncio.Server) -> None:
    """Accept no more connections, and close the server in the next round, after the transports of those it accepted."""
    loop = server.get_loop()
    for listening in server.sockets:
        loop.remove_reader(listening)
    loop.call_soon(server.close)


async def close(server: asyncio.Server) -> None:
    """Close the server. Every connection that it accepted then has its transport and its protocol."""
    stop_listening(server)
    await asyncio.sleep(0)  # the round that makes the transports
    await asyncio.sleep(0)  # the round that calls `connection_made` of their protocols


@asynccontextmanager
async def accepting(server: asyncio.Server) -> AsyncIterator[int]:
    """Yield the port of the server, and close the server when the block is left."""
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await close(server)


@asynccontextmanager
async def running(runner: web.BaseRunner) -> AsyncIterator[str]:
    """Run a server of aiohttp until the block is left, and yield its URL."""
    await runner.setup()
    try:
        assert runner.server is not None
        async with accepting(await asyncio.get_running_loop().create_server(runner.server, "127.0.0.1", 0)) as port:
            yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
