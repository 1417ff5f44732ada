"""GraphQL over server-sent events, for networks that block websockets: npm's graphql-sse in distinct connections mode.
Its other mode is in event_session.py.

The rules are those of its PROTOCOL.md. Its clients reconnect when a stream ends without `complete`.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
from starlette.types import Receive, Send

from api.graphql.broadcast import Broadcast
from api.graphql.errors import fell_behind_error
from api.graphql.outlet import Outlet
from api.graphql.shared_response import SharedResponse

MEDIA_TYPE = "text/event-stream"

Parts = tuple[bytes, ...]
"""A message as its parts, which are joined when it is sent."""

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),
    (b"x-accel-buffering", b"no"),  # nginx would buffer events until it has a page of them
]
_COMMENT = b":\n\n"
_NEXT = b"event: next\ndata: "
_COMPLETE = b"event: complete\ndata:\n\n"  # browsers do not dispatch an event without data


async def send_response(send: Send, response: bytes) -> None:
    """Send the one response of a query or a mutation, or the errors of a request that cannot be executed, as JSON."""
    await _start(send)
    await send({"type": "http.response.body", "body": _next(response) + _COMPLETE})


async def send_events(
    stream: "EventStream",
    receive: Receive,
    join: Callable[[], Broadcast | None],
    leave: Callable[[Broadcast, "EventStream"], None],
    comment_interval: float,
) -> None:
    """Send the responses of a subscription, until it ends, its client disconnects or the server stops. `join`
    subscribes the stream to its broadcast, and `leave` unsubscribes it.

    A comment is sent every `comment_interval` seconds: some proxies close a stream without traffic.
    """
    await _start(stream.send)
    # After the request's body the only message received is that the client disconnected, or that the server stops.
    leaving = asyncio.create_task(_receive(receive), name="event stream")
    broadcast = join()
    del join  # frees the document of this request: the stream may last for hours, and the broadcast keeps its own
    try:
        while not (leaving.done() or stream.ended.done()):
            stream.outlet.put("", "", (_COMMENT,))
            await asyncio.wait({leaving, stream.ended}, timeout=comment_interval, return_when=asyncio.FIRST_COMPLETED)
        if stream.ended.done():
            await stream.outlet.flush()
    finally:
        leaving.cancel()
        if broadcast is not None:
            leave(broadcast, stream)
        stream.outlet.close()
    await stream.send({"type": "http.response.body", "body": b""})


class EventStream:
    """A subscriber of a broadcast. Its messages are the events of one HTTP response."""

    def __init__(self, send: Send) -> None:
        self.send = send
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.outlet = Outlet(partial(_send_parts, send))

    def next(self, subject: str | None, response: SharedResponse) -> None:
        if not self.ended.done() and not self.outlet.put("", subject, (_NEXT, response.json, b"\n\n")):
            self.end([fell_behind_error()])

    def end(self, errors: list[dict[str, Any]]) -> None:
        last = _next(orjson.dumps({"errors": errors})) if errors else b""
        self.outlet.put("", "end", (last, _COMPLETE))
        self.give_way()

    def give_way(self) -> None:
        """End the response. Without `complete` in it, the client reconnects later."""
        if not self.ended.done():
            self.ended.set_result(None)


async def _receive(receive: Receive) -> None:
    await receive()


async def _send_parts(send: Send, parts: Parts) -> None:
    """Join the parts and send them. They are joined only now, so that waiting events share the response."""
    await send({"type": "http.response.body", "body": b"".join(parts), "more_body": True})


async def _start(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})


def _next(response: bytes) -> bytes:
    return _NEXT + response + b"\n\n"
