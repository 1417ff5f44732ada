"""uvicorn's protocols, with bounds on what a client can make the server keep, and an orderly end."""

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Any, cast

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from api.graphql.departure import EXTENSION, Departure
from api.settings import SocketTimes

logger = logging.getLogger("dropzero.protocol")

CLOSING = "closing"
"""The key of the lifespan state that is there once the server leaves: from then on each answer closes its connection,
and says so, so that no client sends another request on it."""

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers. uvicorn has a bound with h11 and none with httptools: 200 MB of headers took
2.3 GB of memory."""

MAX_UNSENT = 16 * 1024
"""Bytes that wait for a client in the kernel, which would by itself take megabytes, and for a websocket's again in the
process: what is in there when a reader falls behind, it reads before it skips to the present."""


class _Impatient(asyncio.Protocol):
    """Disconnects a client that does not read: `times.send` seconds after the transport had to hold data back, or was
    to be closed and could not yet be."""

    transport: asyncio.Transport
    _hanging_up: asyncio.TimerHandle | None = None
    _unsent = 0

    def __init__(self, times: SocketTimes, *arguments: Any, **named: Any) -> None:
        self.times = times
        super().__init__(*arguments, **named)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        with suppress(OSError, AttributeError):  # not every system has it
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._hang_up_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing():
            self._stay()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stay()
        super().connection_lost(exc)

    def _hang_up_later(self) -> None:
        if self._hanging_up is None:
            self._unsent = self.transport.get_write_buffer_size()
            self._hanging_up = asyncio.get_running_loop().call_later(self.times.send, self._hang_up)

    def _stay(self) -> None:
        if self._hanging_up is not None:
            self._hanging_up.cancel()
            self._hanging_up = None

    def _hang_up(self) -> None:
        self._hanging_up = None
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:
            self._hang_up_later()  # it reads, if slowly
            return
        if unsent:
            # No more than debug: there can be thousands of them, and nothing for an operator to do.
            logger.debug("hung up on a client that took nothing for %g s; %d bytes were left", self.times.send, unsent)
        self.transport.abort()


class BoundedHttp(_Impatient, HttpToolsProtocol):
    """Answers 400 and hangs up when a request has sent more than MAX_HEAD and its head has no end yet. The request that
    is being answered, not another behind it, is told when its client is gone or the server stops.

    A connection is kept for the next request, unless the server leaves, or has more than `most_kept` connections: then
    the answer says `Connection: close`.
    """

    _head = 0
    _in_head = True
    _complete = False
    _answering: RequestResponseCycle | None = None
    _departure: Departure | None = None
    _receiving: asyncio.TimerHandle | None = None

    def __init__(self, times: SocketTimes, most_kept: float, *arguments: Any, **named: Any) -> None:
        self._most_kept = most_kept
        super().__init__(times, *arguments, **named)

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self._answering is None or self._answering.response_complete

    def close_after_answer(self) -> None:
        """Close the connection after the answer that is still to begin, if there is one, and say so in it."""
        if self._answering is not None and not self._answering.response_started:
            self._answering.keep_alive = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # Most requests come in one piece, and need no timer.
        if self._complete:
            self._stop_awaiting()
        else:
            self._await_request()
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        self._in_head = True
        self._complete = False
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._complete = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._hang_up_later()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._hang_up_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_awaiting()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn forgets it where a connection was reset
        if self._answering is not None and not self._answering.response_complete:
            # uvicorn tells the last request only, behind which an event stream would go on for ever.
            self._answering.disconnected = True
            self._answering.message_event.set()
            if self._departure is not None:
                self._departure.leave()

    def shutdown(self) -> None:
        super().shutdown()
        self.pipeline.clear()  # uvicorn would begin with them now, and with event streams that nobody would end
        if self._answering is None:
            return
        self._answering.keep_alive = False
        if self._answering.more_body:
            self.transport.close()  # its request is not complete, and may be for an event stream too
        else:
            # Wakes an event stream, which expects no more than the end of its client, with a message of nothing.
            self._answering.message_event.set()

    def handle_websocket_upgrade(self) -> None:
        self._complete = True
        super().handle_websocket_upgrade()
        # The two refer to each other, and all of the connection would wait for the garbage collector.
        self.parser = None  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        self._departure = Departure()
        cast("dict[str, Any]", cycle.scope.setdefault("extensions", {}))[EXTENSION] = self._departure
        if CLOSING in self.app_state or len(self.connections) > self._most_kept:
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def _await_request(self) -> None:
        if self._receiving is None and not self.transport.is_closing():
            self._receiving = asyncio.get_running_loop().call_later(self.times.receive, self.transport.abort)

    def _stop_awaiting(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None


class BoundedWebSocket(_Impatient, WebSocketsSansIOProtocol):
    """Holds little back for a client that reads slowly. Leaves it to the application how a socket ends when the server
    stops, which it is told as if its client had left with 1012."""

    close_timeout: float

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.close_timeout = self.times.close
        self.transport.set_write_buffer_limits(high=MAX_UNSENT)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.conn.parser.close()  # it refers to the connection, which refers to it

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1012})
        else:
            super().shutdown()

    def keepalive_timeout(self) -> None:
        # uvicorn says 1011, after which clients of graphql-ws stay away for good; whoever slept is to come back.
        self.conn.fail(1001, "keepalive ping timeout")
        super().keepalive_timeout()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1001})
        self.disconnected = True  # see handle_parser_exception
        self._hang_up_later()

    def handle_parser_exception(self) -> None:
        super().handle_parser_exception()
        # From here on sending fails as it does to any client that has left. For uvicorn it would be the application's
        # mistake until the connection is lost, which can be `times.send` seconds later.
        self.disconnected = True
        self._hang_up_later()

    def handle_ping(self) -> None:
        if self.writable.is_set():
            super().handle_ping()
        else:
            self.conn.data_to_send()  # forgets the pong: uvicorn would keep one for every ping of who reads none

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if not self.disconnected:
            self._hang_up_later()
