"""uvicorn's protocols, with bounds on what a client can make the server keep, and an orderly end."""

import asyncio
import logging
import socket
from contextlib import suppress

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

logger = logging.getLogger("dropzero.protocol")

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers. uvicorn has a bound with h11 and none with httptools: 200 MB of headers took
2.3 GB of memory."""

SEND_TIMEOUT = 10.0
"""Seconds. A client that did not take what it was sent for so long is hung up on. uvicorn would wait for ever."""

CLOSE_TIMEOUT = 3.0
"""Seconds that a websocket's client is given to answer a close frame."""

MAX_UNSENT = 16 * 1024
"""Bytes that wait for a client in the kernel, which would by itself take megabytes, and for a websocket's again in the
process: what is in there when a reader falls behind, it reads before it skips to the present."""


class _Impatient(asyncio.Protocol):
    """Hangs up on a client that does not read: SEND_TIMEOUT after the transport had to hold data back, or was to be
    closed and could not yet be."""

    transport: asyncio.Transport
    _hanging_up: asyncio.TimerHandle | None = None

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
            self._hanging_up = asyncio.get_running_loop().call_later(SEND_TIMEOUT, self._hang_up)

    def _stay(self) -> None:
        if self._hanging_up is not None:
            self._hanging_up.cancel()
            self._hanging_up = None

    def _hang_up(self) -> None:
        unsent = self.transport.get_write_buffer_size()
        if unsent:
            # No more than debug: there can be thousands of them, and nothing for an operator to do.
            logger.debug("hung up on a client that took nothing for %g s; %d bytes were left", SEND_TIMEOUT, unsent)
        self.transport.abort()


class BoundedHttp(_Impatient, HttpToolsProtocol):
    """Answers 400 and hangs up when a request has sent more than MAX_HEAD and its head has no end yet. The request that
    is being answered, not another behind it, is told when its client is gone or the server stops."""

    _head = 0
    _in_head = True
    _answering: RequestResponseCycle | None = None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._in_head:
            self._head += len(data)
            if self._head > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response("The head of the request is too large.")

    def on_message_begin(self) -> None:
        self._in_head = True
        self._head = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._hang_up_later()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._hang_up_later()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn forgets it where a connection was reset
        if self._answering is not None and not self._answering.response_complete:
            # uvicorn tells the last request only, behind which an event stream would go on for ever.
            self._answering.disconnected = True
            self._answering.message_event.set()

    def shutdown(self) -> None:
        super().shutdown()
        if self._answering is not None:
            # Wakes who waits to receive something, with a message of nothing. Whose request is not complete waits on;
            # an event stream, which expects no more than the end of its client, ends.
            self._answering.message_event.set()

    def handle_websocket_upgrade(self) -> None:
        super().handle_websocket_upgrade()
        # The two refer to each other, and all of the connection would wait for the garbage collector.
        self.parser = None  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)


class BoundedWebSocket(_Impatient, WebSocketsSansIOProtocol):
    """Holds little back for a client that reads slowly. Leaves it to the application how a socket ends when the server
    stops, which it is told as if its client had left with 1012."""

    close_timeout: float

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.close_timeout = CLOSE_TIMEOUT
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
        self._hang_up_later()

    async def run_asgi(self) -> None:
        await super().run_asgi()
        if not self.disconnected:
            self._hang_up_later()
