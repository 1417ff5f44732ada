"""uvicorn's HTTP/1.1 protocol, with bounds on what a client makes the server keep, and strict framing (RFC 9112).

It borrows much of uvicorn's httptools_impl.py, until uvicorn bounds heads and trailers, limits the time to receive and
to send, and notifies the right request of a disconnect. tests/test_borrowed.py lists every name.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from math import inf
from typing import Any, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.answering import answering
from api.cycle import Cycle, new_cycle
from api.flow_control import HeldFlow
from api.identity.admission import Admission
from api.inlet import Inlet, Inner
from api.refusal import (
    EARLY,
    ENDED,
    FRAMING_TOO_LARGE,
    HEAD_TOO_LARGE,
    MAX_FIELDS,
    MAX_HEAD,
    MAX_TARGET,
    TOO_LONG,
    TOO_MANY_FIELDS,
    Field,
    Refusal,
    Refused,
    refusal_of,
)
from api.request_head import Head, head_of
from api.settings import SocketTimes
from api.slow_clients import MAX_DROPPED, PIECE, Impatient

CLOSING = "closing"
"""The key that the lifespan state has once the server drains or is retired: then each answer closes its connection."""


class BoundedHttp(Impatient, HttpToolsProtocol):
    """Refuses a request that is invalid or too large, after the answers to earlier requests, and closes the connection.
    When the client disconnects or the server stops, it notifies the request that is being answered, not the newest one.

    A connection is kept for the next request, unless the server drains, or has more than `most_kept` connections. Then
    the answer says `Connection: close`, so that the client sends no other request on it.

    It ignores an upgrade to anything but a websocket. For llhttp the body of such a request belongs to another
    protocol, and uvicorn would parse that body as the next request.
    """

    _overhead = 0
    """Bytes of the current request that are not its body."""
    _in_head = True
    _in_body = False
    _complete = False
    _head: Head
    _parsed: tuple[bytes, bytes, str, list[Field]] | None = None
    """Method, target, version and header fields of the latest request, of which `_head` was made."""
    _ignores_input = False
    """Whether everything that the client still sends is dropped."""
    _unparsed = b""
    """Bytes that arrived while a request waits in the pipeline."""
    _end: Refusal | Head | None = None
    """What ends HTTP after the answers to earlier requests: a refusal, or a websocket's handshake."""
    _answering: Cycle | None = None
    _stopping = False
    flow: HeldFlow
    cycle: Cycle
    pipeline: deque[tuple[Cycle, Any]]  # type: ignore[assignment]  # uvicorn's has cycles of its own

    def __init__(self, times: SocketTimes, admission: Admission, most_kept: float, *rest: Any, **named: Any) -> None:
        self._most_kept = most_kept
        super().__init__(times, admission, *rest, **named)
        # uvicorn makes its parser lenient: it would execute requests behind `Connection: close`.
        self.parser = httptools.HttpRequestParser(self)

    @property
    def reading_paused(self) -> bool:
        """Whether a request waits for the answer to an earlier one, or its body waits for the application."""
        return self.flow.read_paused

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self._answering is None or self._answering.response_complete

    def close_after_answer(self) -> None:
        """If an answer is due and has not begun, close the connection after it, and announce that in its headers."""
        if self._answering is not None and not self._answering.response_started:
            self._answering.keep_alive = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.flow = HeldFlow(self.transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        if self._sends_no_more or self.transport.is_closing():
            self._drop(data)
        elif self._ignores_input:
            self._dropped += len(data)
            if self._dropped > MAX_DROPPED:
                self.flow.hold()  # until every request is answered; a disconnect goes unnoticed until then
        elif self._unparsed or self.pipeline:
            self._hold(data)
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        """Parse piece by piece, until a request has to wait for the answer to an earlier one."""
        left = memoryview(data)
        while left and not self._ignores_input:
            if self.pipeline:
                self._hold(left)
                return
            self._parse(left[:PIECE])
            left = left[PIECE:]
        # Most requests arrive in one piece, and need no timer.
        if self._complete or self._ignores_input or self._end is not None:
            self._stop_awaiting()
        else:
            self._await_request()

    def _hold(self, data: bytes | memoryview) -> None:
        """Keep bytes until the request in the pipeline begins. The client does not count as late meanwhile."""
        self._unparsed += data
        self._stop_awaiting()
        self.flow.hold()

    def _read_unparsed(self) -> None:
        rest, self._unparsed = self._unparsed, b""
        self.flow.release()
        if not self._ignores_input and not self.transport.is_closing():
            try:
                self._read(rest)
            except BaseException:
                self.transport.abort()  # as the transport does when data_received raises
                raise

    def _parse(self, piece: memoryview) -> None:
        if self._end is not None:
            self._refuse(EARLY)
            return
        self._overhead += len(piece)
        try:
            while piece:
                piece = self._feed(piece)
        except httptools.HttpParserError as error:
            if not self._ignores_input:  # else the error is in bytes behind the last request
                self._refuse(refusal_of(error))
            return
        self._overhead = max(0, self._overhead)
        if self._overhead > MAX_HEAD and not self._ignores_input:
            self._refuse(HEAD_TOO_LARGE if self._in_head else FRAMING_TOO_LARGE)

    def _feed(self, piece: memoryview) -> memoryview:
        """Parse up to a request for an upgrade, and return the bytes behind it. Raises HttpParserError."""
        try:
            self.parser.feed_data(piece)
            return piece[:0]
        except httptools.HttpParserUpgrade as upgrade:
            behind = piece[upgrade.args[0] :]
        if not self._head.opens_websocket():
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(self._head.without_upgrade())
            return behind
        if behind:
            self._refuse(EARLY)
        else:
            self._end_with(self._head)
        return piece[:0]

    def _refuse(self, refusal: Refusal) -> None:
        self._count_refusal(refusal.kind)
        self._ignores_input = True
        if not self._in_body:
            self._end_with(refusal)
        elif self.pipeline:
            self.pipeline.popleft()[0].detach()  # the newest, which is this request
            self._end_with(refusal)
        elif self.cycle.response_started:
            self._notify_disconnect(self.cycle)
            self._stop_sending()
        else:
            self._notify_disconnect(self.cycle)
            self._finish(refusal)

    def _end_with(self, end: Refusal | Head) -> None:
        self._end = end
        if self.idle:
            self._finish(end)

    def _finish(self, end: Refusal | Head) -> None:
        self._end = None
        if isinstance(end, Head):
            self._switch_to_websocket(end)
        else:
            self.transport.write(end.response(self.server_state.default_headers))
            self._stop_sending()

    def _stop_sending(self) -> None:
        self._ignores_input = True
        self._stop_awaiting_next()
        self.flow.release()
        super()._stop_sending()

    def _notify_disconnect(self, cycle: Cycle) -> None:
        cycle.disconnected = True
        cycle.message_event.set()
        cycle.departure.leave()

    def on_message_begin(self) -> None:
        if self._ignores_input:
            raise Refused(ENDED)
        self._idle_since = inf
        self._in_head = True
        self._in_body = False
        self._complete = False
        self.url = b""
        self.headers = []

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > MAX_TARGET:
            raise Refused(TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer, which must not become a header (RFC 9110, section 6.5.1)
        if len(self.headers) == MAX_FIELDS:
            raise Refused(TOO_MANY_FIELDS)
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        parsed = self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers
        # A client repeats its head on a connection that it keeps: what was decided for it still holds.
        if parsed != self._parsed:
            self._head = head_of(*parsed)
            self._parsed = parsed
        if self.parser.should_upgrade():
            self._head.opens_websocket()  # raises Refused
            return
        earlier, self.cycle = self.cycle, new_cycle(self, self._head)
        if earlier is None or earlier.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._overhead -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._in_body = False
        self._complete = True
        self.arrived += 1
        self._overhead = 0
        super().on_message_complete()
        if not self.cycle.keep_alive:
            self._ignores_input = True  # it is the last request on this connection

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._hang_up_later()
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._await_next_request()
        if self._end is not None and self.idle:
            self._finish(self._end)
        elif self._unparsed and not self.pipeline:
            self.loop.call_soon(self._read_unparsed)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._answering is not None and not self._answering.response_complete:
            # uvicorn notifies the newest request only. An event stream before it would go on for ever.
            self._notify_disconnect(self._answering)
        self._drop_waiting()

    def shutdown(self) -> None:
        super().shutdown()
        self._stopping = True
        self._drop_waiting()  # uvicorn would begin them now; and nothing would end an event stream among them
        self._end = None
        if self._answering is None:
            return
        self._answering.keep_alive = False
        if self._answering.more_body:
            self.transport.close()  # its request is incomplete, and could become an event stream too
        else:
            self._answering.message_event.set()  # wakes an event stream, which waits for nothing but a disconnect

    def _drop_waiting(self) -> None:
        """Drop the requests that have not begun, and the reference cycles between them and this connection."""
        for cycle, _ in self.pipeline:
            cycle.detach()
        self.pipeline.clear()
        self._unparsed = b""

    def _switch_to_websocket(self, handshake: Head) -> None:
        """Switch to the websocket protocol, which has until the deadline of the request to accept the websocket."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.times.receive if self._receiving is None else self._receiving.when()
        self._ignores_input = True
        self._stop_awaiting()
        self._stop_awaiting_next()
        self.flow.release()
        self.connections.discard(self)
        make = cast("Callable[..., Inner]", self.ws_protocol_class)  # a partial of BoundedWebSocket
        protocol = make(deadline, config=self.config, server_state=self.server_state, app_state=self.app_state)
        protocol.connection_made(self.transport)
        if self.flow.write_paused:  # the transport has called pause_writing, of HTTP, and does not repeat it
            self._cancel_hang_up()
            protocol.pause_writing()
        cast("Inlet", self.transport.get_protocol()).switch_to(protocol)
        protocol.data_received(handshake.for_websocket())
        # Parser and protocol refer to each other: only the garbage collector would free the connection.
        self.parser = None  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._idle_since = inf
        self._answering = cycle
        if CLOSING in self.app_state or len(self.connections) > self._most_kept:
            cycle.keep_alive = False
        client = self.admission.clients.of(cycle.scope)
        self.admission.gate.enter(client, partial(self._begin, cycle, app, client))

    def _begin(self, cycle: Cycle, app: Any, client: str, in_time: bool) -> None:
        if cycle.disconnected:
            cycle.detach()
            return
        answer: Any = answering(app, self.admission, client, cycle.scope["path"], in_time=in_time)
        super()._start_asgi_task(cycle, answer)
        if self._stopping:
            self.loop.call_soon(cycle.message_event.set)  # as in shutdown, once the request has received its body
