"""The least that a push can cost: websocket.send_text in a plain loop, with the server's settings of uvicorn.

    python -m bench.bare_websocket PORT

The body of a POST to /send is sent to every socket.
"""

import gc
import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from api.graphql.websocket import PROTOCOL
from api.process import raise_file_limit
from api.server import MAX_MESSAGE


def create_app() -> Starlette:
    sockets: set[WebSocket] = set()

    async def listen(websocket: WebSocket) -> None:
        await websocket.accept(subprotocol=PROTOCOL)
        sockets.add(websocket)
        async for _ in websocket.iter_text():
            pass
        sockets.remove(websocket)

    async def send(request: Request) -> Response:
        text = (await request.body()).decode()
        if text:
            for websocket in tuple(sockets):
                await websocket.send_text(text)
        return Response(status_code=204)

    return Starlette(routes=[WebSocketRoute("/graphql", listen), Route("/send", send, methods=["POST"])])


def main() -> None:
    raise_file_limit()
    app = create_app()
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    uvicorn.run(
        app,
        port=int(sys.argv[1]),
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=MAX_MESSAGE,
        proxy_headers=False,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
