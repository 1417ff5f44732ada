"""Timeouts for clients that do not read, or do not send, over HTTP and over websockets alike."""

import asyncio
import logging
import socket
from contextlib import suppress
from math import inf
from typing import Any

from api.identity.admission import Admission
from api.identity.clients import LOCAL, client_of
from api.settings import SocketTimes

logger = logging.getLogger("dropzero.protocol")

MAX_UNSENT = 16 * 1024
"""Bytes buffered for each client in the kernel, whose default is megabytes; and, for websockets, as many again in this
process. A client that falls behind reads this much stale data before it catches up."""

PIECE = 1024
"""Bytes that are read and parsed at a time. At worst so many bytes take 2 ms: as 170 empty fragments of a websocket, or
40 pipelined requests (measured on 2 shared cores)."""

MAX_DROPPED = 256 * 1024
"""Bytes that are read and dropped behind the last answer. Closing a connection with unread bytes resets it, and the
client would not see the answer."""


class Impatient(asyncio.Protocol):
    """Disconnects a client that does not read for `times.send` seconds, while the transport holds data back or waits to
    close; a client whose request is incomplete after `times.receive` seconds; and one that sends no other request for
    `times.keep_alive` seconds."""

    transport: asyncio.Transport
    _hanging_up: asyncio.TimerHandle | None = None
    _receiving: asyncio.TimerHandle | None = None
    _closing_idle: asyncio.TimerHandle | None = None
    _idle_since = inf
    """When the last answer was complete, by the event loop's clock. Infinity while a request is under way."""
    _sends_no_more = False
    """Whether the server has sent its last byte on this connection."""
    _unsent = 0
    _dropped = 0
    arrived = 0
    """Complete requests or messages that have arrived."""

    def __init__(self, times: SocketTimes, admission: Admission, *arguments: Any, **named: Any) -> None:
        self.times = times
        self.admission = admission
        super().__init__(*arguments, **named)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        with suppress(OSError, AttributeError):  # not every system has the option
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._hang_up_later()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self.transport.is_closing() and not self._sends_no_more:
            self._cancel_hang_up()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_hang_up()
        self._stop_awaiting()
        self._stop_awaiting_next()
        super().connection_lost(exc)

    def _count_refusal(self, kind: str) -> None:
        """Count something that no proper client sends. An operator can do nothing about it."""
        peer = self.transport.get_extra_info("peername")
        client = client_of(peer[0] if peer else LOCAL)
        self.admission.refusals.count(f"a malformed {kind}", client, level=logging.INFO)

    def _stop_sending(self) -> None:
        """Send no more, and drop what the client sends until it closes the connection, for `times.send` seconds at
        most."""
        self._sends_no_more = True
        if self.transport.can_write_eof() and not self.transport.is_closing():
            self.transport.write_eof()
        else:
            self.transport.close()
        self._hang_up_later()

    def _drop(self, data: bytes) -> None:
        self._dropped += len(data)
        if self._dropped > MAX_DROPPED:
            self.transport.abort()

    def _await_request(self) -> None:
        if self._receiving is None and not self.transport.is_closing():
            self._receiving = asyncio.get_running_loop().call_later(self.times.receive, self.transport.abort)

    def _stop_awaiting(self) -> None:
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def _await_next_request(self) -> None:
        """Close the connection after `times.keep_alive` seconds without a request. The timer is started once, and not
        for each answer, which would take a twentieth of the time of a small query."""
        self._idle_since = asyncio.get_running_loop().time()
        if self._closing_idle is None:
            self._closing_idle = asyncio.get_running_loop().call_later(self.times.keep_alive, self._close_idle)

    def _stop_awaiting_next(self) -> None:
        if self._closing_idle is not None:
            self._closing_idle.cancel()
            self._closing_idle = None

    def _close_idle(self) -> None:
        self._closing_idle = None
        loop = asyncio.get_running_loop()
        left = self._idle_since + self.times.keep_alive - loop.time()
        if left <= 0:
            self.transport.close()
            self._hang_up_later()
        elif left < inf:
            self._closing_idle = loop.call_later(left, self._close_idle)

    def _hang_up_later(self) -> None:
        if self._hanging_up is None:
            self._unsent = self.transport.get_write_buffer_size()
            self._hanging_up = asyncio.get_running_loop().call_later(self.times.send, self._hang_up)

    def _cancel_hang_up(self) -> None:
        if self._hanging_up is not None:
            self._hanging_up.cancel()
            self._hanging_up = None

    def _hang_up(self) -> None:
        self._hanging_up = None
        unsent = self.transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:
            self._hang_up_later()  # the client reads, if slowly
            return
        if unsent:
            # At debug level only: there can be thousands of such clients, and an operator can do nothing about them.
            logger.debug(
                "closed the connection of a client that read nothing for %g s; %d bytes were left",
                self.times.send,
                unsent,
            )
        self.transport.abort()
