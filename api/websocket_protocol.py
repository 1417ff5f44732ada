"""uvicorn's websocket protocol, with bounds on what a client can make the server keep, and an orderly end.

It borrows much of uvicorn's websockets_sansio_impl.py, and websockets' parser and its errors. It does so until uvicorn
limits fragments and the time to accept, lets the application choose how a socket ends when the server stops, answers
floods of pings once, and keeps little for an idle socket. tests/test_borrowed.py lists every name.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import OPEN, SERVER, Protocol

from api.graphql.connection import EXTENSION, FrameParts
from api.identity.admission import Admission
from api.identity.errors import RateLimited
from api.refusal import EARLY, INVALID_HANDSHAKE, Refusal, busy
from api.settings import SocketTimes
from api.slow_clients import MAX_UNSENT, PIECE, Impatient
from api.waiting import Inbox, Room
from api.websocket_pings import Pinged, WebsocketPings

MAX_FRAGMENTS = 1_000
"""Frames of one message. Clients send one, or one for each of their own buffers. Each frame is an object here, and no
other bound counts an empty one."""

PONG = bytes([0x80 | Opcode.PONG])
"""The first byte of a pong."""


class BoundedWebSocket(Impatient, WebSocketsSansIOProtocol):
    """Buffers little for a client that reads slowly. When the server stops, the application receives a disconnect with
    1012, and decides how the socket ends.

    It takes over a connection with the client's handshake. It closes the connection unless the application accepts the
    socket by the deadline. The application can return while the socket stays open: see `park`.
    """

    # Attributes of uvicorn's and of ours. In a slot each takes 8 bytes, in a dictionary of so many it takes 30. An
    # attribute that is missing here is kept in a dictionary.
    __slots__ = (
        *(
            "_accepting",
            "_client",
            "_client_closed",
            "_deadline",
            "_pinged",
            "_pings",
            "_resume",
            "admission",
            "arrived",
            "times",
        ),
        *("app", "app_state", "asgi_version", "client", "close_sent", "close_timeout", "close_timer", "config", "conn"),
        *("connections", "curr_msg_data_type", "default_headers", "disconnected", "frames", "handshake_complete"),
        *("handshake_initiated", "initial_response", "last_ping_rtt", "logger", "loop", "pending_ping_payload"),
        *("ping_interval", "ping_sent_at", "ping_timeout", "ping_timer", "pong_timer", "queue", "read_paused"),
        *("request", "response", "root_path", "scheme", "scope", "server", "tasks", "transport", "writable"),
    )

    close_timeout: float

    def __init__(
        self,
        times: SocketTimes,
        admission: Admission,
        pings: WebsocketPings,
        deadline: float,
        *arguments: Any,
        **named: Any,
    ) -> None:
        """`deadline` by the event loop's clock."""
        super().__init__(times, admission, *arguments, **named)
        self.arrived = 0
        self.queue = Inbox()  # type: ignore[assignment]  # it has the methods that uvicorn calls
        self.writable = Room()  # type: ignore[assignment]
        self._deadline = deadline
        self._client_closed = False
        self._accepting: asyncio.TimerHandle | None = None
        self._pings = pings
        self._pinged: set[Pinged] | None = None
        self._resume: Callable[[], Coroutine[Any, Any, None]] | None = None

    @property
    def reading_paused(self) -> bool:
        """Whether a message waits for the application."""
        return self.read_paused

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.close_timeout = self.times.close
        self.transport.set_write_buffer_limits(high=MAX_UNSENT)
        self._accepting = asyncio.get_running_loop().call_at(self._deadline, self.transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_accepting()
        super().connection_lost(exc)
        # The parser and the errors, by their tracebacks, are in reference cycles with the connection.
        self.conn.parser.close()
        for error in (self.conn.parser_exc, self.conn.handshake_exc):
            _forget_traceback(error)

    def eof_received(self) -> None:
        self.disconnected = True  # for an application that has not accepted it yet; the transport closes by itself

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1012})
        else:
            super().shutdown()
            self.disconnected = True  # else uvicorn would log accepting it now as an error of the application
            self._hang_up_later()

    def data_received(self, data: bytes) -> None:
        if self._sends_no_more:
            self._drop(data)
        elif not self.handshake_initiated:
            self._receive_handshake(data)
        elif not self.handshake_complete:
            self._refuse(EARLY)
        else:
            for start in range(0, len(data), PIECE):
                if self._sends_no_more or self.transport.is_closing():
                    break
                super().data_received(data[start : start + PIECE])

    def _receive_handshake(self, data: bytes) -> None:
        self.conn.receive_data(data)
        if self.conn.handshake_exc is None:
            self.handle_events()
            return
        # For some invalid handshakes websockets has an answer ready. For others it has none.
        answer = b"".join(self.conn.data_to_send())
        self._refuse(INVALID_HANDSHAKE, answer)

    def _refuse(self, refusal: Refusal, answer: bytes = b"") -> None:
        """Answer the handshake, and close the connection."""
        self._count_refusal(refusal.kind)
        self._answer(answer or refusal.response(self.default_headers))

    def _answer(self, answer: bytes) -> None:
        self.transport.write(answer)
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
        self.handshake_initiated = self.handshake_complete = self.close_sent = self.disconnected = True
        self._stop_sending()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.close_sent:
            self._count_refusal("handshake")
            self._hang_up_later()
        else:
            self._client = self.admission.clients.of(self.scope)
            cast("dict[str, Any]", self.scope["extensions"])[EXTENSION] = self

    def start_keepalive(self) -> None:
        """The application has accepted the socket: begin with frames, and with pings."""
        self._stop_accepting()
        # The parser of the handshake would keep the client's request.
        self.conn.parser.close()
        self.conn = Protocol(  # type: ignore[assignment]  # uvicorn's has the methods of a handshake as well
            SERVER, state=OPEN, max_size=self.config.ws_max_size, logger=self.logger
        )
        self._pinged = self._pings.join(self)

    def stop_keepalive(self) -> None:
        super().stop_keepalive()
        if self._pinged is not None:
            self._pinged.discard(self)

    def ping(self, payload: bytes, frame: bytes) -> None:
        """Send a ping. A client that has not answered the last one is gone."""
        if self.close_sent or self.transport.is_closing():
            return
        if self.pending_ping_payload is None:
            self.pending_ping_payload = payload
            self.transport.write(frame)
        else:
            self.keepalive_timeout()

    def _stop_accepting(self) -> None:
        if self._accepting is not None:
            self._accepting.cancel()
            self._accepting = None

    def handle_close(self, event: Frame) -> None:
        self._client_closed = True  # websockets has the answer ready, which is the last frame
        super().handle_close(event)

    def handle_cont(self, event: Frame) -> None:
        if self.close_sent:
            self.frames = []
        elif len(self.frames) >= MAX_FRAGMENTS:
            self._fail(CloseCode.POLICY_VIOLATION, f"A message can have {MAX_FRAGMENTS} fragments")
        else:
            super().handle_cont(event)

    def send_receive_event_to_app(self) -> None:
        if self.curr_msg_data_type == "text" and not _is_utf8(self.frames):
            # else uvicorn logs a traceback
            self._fail(CloseCode.INVALID_DATA, "Text must be UTF-8")
        else:
            self.arrived += 1
            super().send_receive_event_to_app()

    def _fail(self, code: CloseCode, reason: str) -> None:
        self.frames = []
        if self.close_sent:
            return
        self.conn.fail(code, reason)
        self.handle_parser_exception()

    def keepalive_timeout(self) -> None:
        # uvicorn closes with 1011, after which graphql-ws never reconnects. A client that was asleep should reconnect.
        self.conn.fail(1001, "keepalive ping timeout")
        super().keepalive_timeout()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1001})
        self.disconnected = True  # see handle_parser_exception
        self._hang_up_later()

    def handle_parser_exception(self) -> None:
        """Close the socket as uvicorn does, but read on, so that the client receives the close code."""
        self._count_refusal("frame")
        closing = self.conn.close_sent
        if closing is not None:  # else the client has disconnected
            self.queue.put_nowait({"type": "websocket.disconnect", "code": closing.code, "reason": closing.reason})
        self.transport.write(b"".join(self.conn.data_to_send()))
        # From here on, sending raises the error for a client that has disconnected. uvicorn would raise an error of the
        # application until the connection is lost, which can be `times.send` seconds later.
        self.close_sent = self.disconnected = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self._stop_sending()

    def handle_ping(self) -> None:
        # websockets has a pong ready for each ping in a piece. The last pong is enough (RFC 6455, section 5.5.3), and a
        # client that does not read gets none.
        frames = self.conn.data_to_send()
        pongs = [frame for frame in frames if frame[:1] == PONG]
        others = [frame for frame in frames if frame[:1] != PONG]
        self.transport.write(b"".join(pongs[-1:] + others if self.writable.is_set() else others))

    def write(self, frame: FrameParts) -> bool:
        """See `Connection.write`."""
        if not self.writable.is_set():
            return False
        if self.disconnected or self.close_sent or self._client_closed:
            raise ClientDisconnected
        self.transport.write(b"".join(frame))
        return True

    def park(self, resume: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """See `Connection.park`."""
        if not self.queue.empty():
            return False
        self._resume = resume
        self._inbox.notify(self._run_again)
        return True

    def wake(self) -> None:
        """See `Connection.wake`."""
        self._inbox.wake()

    @property
    def _inbox(self) -> Inbox[Any]:
        return cast("Inbox[Any]", self.queue)

    async def run_asgi(self) -> None:
        """Run the application as uvicorn does, but in its client's turn, like a request."""
        await self._run(self._enter())
        # Only the handshake needs these, and the scope refers to this connection.
        del self.scope, self.request, self.response

    async def _enter(self) -> None:
        await self.admission.gate.entered(self._client)
        if not self.disconnected:
            await self.admission.gate.metered(self._client, self.app(self.scope, self.receive, self.send))

    def _run_again(self) -> None:
        """Resume a parked application."""
        resume, self._resume = self._resume, None
        if resume is not None:
            task = self.loop.create_task(self._run(self.admission.gate.metered_apart(self._client, resume())))
            task.add_done_callback(self.on_task_complete)
            self.tasks.add(task)

    async def _run(self, running: Coroutine[Any, Any, None]) -> None:
        """Run the application until it parks the socket or ends. A handshake that it refuses is no error."""
        try:
            await running
        except ClientDisconnected:
            pass
        except RateLimited as limit:
            if not self.disconnected:
                self._answer(busy(limit).response(self.default_headers))
        except BaseException:
            self.logger.exception("defect: a websocket has failed; report it with this traceback")
            self.send_500_response()
        else:
            if not self.handshake_complete and not self.disconnected and self.initial_response is None:
                self.logger.error("defect: a websocket was neither accepted nor refused; report it")
                self.send_500_response()
        if self._resume is not None:
            return
        if self.close_timer is None and not self._sends_no_more:
            self.transport.close()
        if not self.disconnected:
            self._hang_up_later()


def _is_utf8(fragments: list[bytes]) -> bool:
    try:
        b"".join(fragments).decode()
    except UnicodeDecodeError:
        return False
    return True


def _forget_traceback(error: BaseException | None) -> None:
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
