"""Clients that do not read, or do not send, are disconnected, over HTTP and over websockets alike."""

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Any

from api.identity.admission import Admission
from api.identity.clients import LOCAL, client_of
from api.settings import SocketTimes

logger = logging.getLogger("dropzero.protocol")

MAX_UNSENT = 16 * 1024
"""Bytes that wait for a client in the kernel, which would by itself take megabytes, and for a websocket's again in the
process: what is in there when a reader falls behind, it reads before it skips to the present."""

PIECE = 1024
"""Bytes that are read, and that a parser is given, at a time. The smallest frames and requests of which so many bytes
can consist take 2 ms (170 empty fragments of a websocket, 40 pipelined requests; measured on 2 shared cores)."""

MAX_DROPPED = 256 * 1024
"""Bytes that are read and dropped behind the last answer. A connection that is closed with bytes unread is reset, and
the client would never see the answer."""


class Impatient(asyncio.Protocol):
    """Disconnects a client that does not read: `times.send` seconds after the transport had to hold data back, or was
    to be closed and could not yet be; and one whose request does not come to its end in `times.receive` seconds."""

    transport: asyncio.Transport
    _hanging_up: asyncio.TimerHandle | None = None
    _receiving: asyncio.TimerHandle | None = None
    _leaving = False
    """Whether the server has sent its last byte."""
    _unsent = 0
    _dropped = 0
    arrived = 0
    """Requests or messages that came whole."""

    def __init__(self, times: SocketTimes, admission: Admission, *arguments: Any, **named: Any) -> None:
        self.times = times
        self.admission = admission
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
        if not self.transport.is_closing() and not self._leaving:
            self._stay()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stay()
        super().connection_lost(exc)

    def _refused(self, kind: str) -> None:
        """A client has sent what no client sends."""
        peer = self.transport.get_extra_info("peername")
        self.admission.refusals.count(f"a malformed {kind}", client_of(peer[0] if peer else LOCAL))

    def _leave(self) -> None:
        """Send no more, and drop what the client still sends until it closes the connection or `times.send` is over."""
        self._leaving = True
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
