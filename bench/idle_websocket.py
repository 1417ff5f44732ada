"""Websockets without an application, for the memory that a socket takes at least. No socket is sent anything but pings.

python -m bench.idle_websocket PORT server     the websockets library's own server
python -m bench.idle_websocket PORT parser     only its parser, with a transport of uvloop
"""

import asyncio
import gc
import sys
from typing import cast

import uvloop
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from api.graphql.websocket import PROTOCOL
from api.process import raise_file_limit

PROTOCOLS = [Subprotocol(PROTOCOL)]


class Parser(asyncio.Protocol):
    """A connection that answers the handshake, pings and a close frame."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._websocket = ServerProtocol(subprotocols=PROTOCOLS)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._websocket.receive_data(data)
        for event in self._websocket.events_received():
            if isinstance(event, Request):
                self._websocket.send_response(self._websocket.accept(event))
        self._transport.write(b"".join(self._websocket.data_to_send()))
        if self._websocket.close_expected():
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._websocket.parser.close()  # it and its protocol refer to each other


async def _wait(websocket: ServerConnection) -> None:
    await websocket.wait_closed()


async def run(port: int, kind: str) -> None:
    if kind == "server":
        async with serve(_wait, "127.0.0.1", port, compression=None, subprotocols=PROTOCOLS) as server:
            await server.serve_forever()
    listening = await asyncio.get_running_loop().create_server(Parser, "127.0.0.1", port)
    await listening.serve_forever()


def main() -> None:
    raise_file_limit()
    gc.collect()
    gc.freeze()
    uvloop.run(run(int(sys.argv[1]), sys.argv[2]))


if __name__ == "__main__":
    main()
