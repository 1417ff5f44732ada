"""A client of graphql-transport-ws that can also break the protocol."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Origin, Subprotocol

from tests.patience import PATIENCE
from tests.server import Server


class Client:
    """One socket."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, message: object) -> None:
        """Send any message as JSON."""
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """The next message, which has to be a text frame."""
        async with asyncio.timeout(PATIENCE):
            text = await self.connection.recv()
        assert isinstance(text, str)
        message: dict[str, Any] = json.loads(text)
        return message

    async def init(self, payload: object = None) -> None:
        """Open the session, and wait until it is acknowledged."""
        await self.send({"type": "connection_init"} | ({} if payload is None else {"payload": payload}))
        assert await self.receive() == {"type": "connection_ack"}

    async def subscribe(self, query: str, variables: dict[str, Any] | None = None, *, id: str = "1") -> None:  # noqa: A002
        await self.send({"id": id, "type": "subscribe", "payload": {"query": query, "variables": variables}})

    async def complete(self, id: str = "1") -> None:  # noqa: A002
        await self.send({"id": id, "type": "complete"})

    async def next(self, id: str = "1") -> Any:  # noqa: A002
        """The data of the next message, which has to be a result without errors."""
        message = await self.receive()
        assert (message["type"], message["id"]) == ("next", id), message
        assert "errors" not in message["payload"], message
        return message["payload"]["data"]

    async def error(self, id: str = "1") -> tuple[str, str]:  # noqa: A002
        """The code and the message of the one error that the operation has to end with."""
        message = await self.receive()
        assert (message["type"], message["id"]) == ("error", id), message
        [error] = message["payload"]
        return error["extensions"]["code"], error["message"]

    async def answer(self, query: str, variables: dict[str, Any] | None = None, *, id: str = "1") -> Any:  # noqa: A002
        """The data of a query or mutation. No other operation may be under way."""
        await self.subscribe(query, variables, id=id)
        data = await self.next(id)
        assert await self.receive() == {"id": id, "type": "complete"}
        return data

    async def closed(self) -> tuple[int, str]:
        """The code and the reason that the server closes the socket with. It may send nothing more before."""
        with pytest.raises(ConnectionClosed) as closed:
            async with asyncio.timeout(PATIENCE):
                await self.connection.recv()
        close = closed.value.rcvd
        assert close is not None, "the connection was lost without a close frame"
        return close.code, close.reason


async def assert_alive(*clients: Client) -> None:
    """Each socket answers a ping. Messages are handled in order, so everything that was sent before is handled too."""
    for client in clients:
        await client.send({"type": "ping"})
        assert await client.receive() == {"type": "pong"}


@contextlib.asynccontextmanager
async def connected(
    server: Server,
    *,
    init: bool = True,
    subprotocols: list[str] | None = None,
    origin: str | None = None,
    headers: dict[str, str] | None = None,
) -> AsyncIterator[Client]:
    """A socket to the server. Its session is acknowledged, unless `init` is false."""
    async with connect(
        server.websocket_url,
        subprotocols=[Subprotocol(name) for name in (subprotocols or ["graphql-transport-ws"])],
        origin=None if origin is None else Origin(origin),
        additional_headers=headers,
        compression=None,
        proxy=None,
        open_timeout=PATIENCE,
        ping_interval=None,  # the server's pings are enough
    ) as connection:
        client = Client(connection)
        if init:
            await client.init()
        yield client


@contextlib.asynccontextmanager
async def several_connected(
    server: Server, number: int, *, init: bool = True, headers: dict[str, str] | None = None
) -> AsyncIterator[list[Client]]:
    """As many sockets as `number`, opened one after the other."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connected(server, init=init, headers=headers)) for _ in range(number)]
