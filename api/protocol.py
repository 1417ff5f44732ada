"""uvicorn's HTTP/1.1 protocol, with bounds on what a client can make the server keep, the strictness of RFC 9112 about
where a request ends, and an orderly end."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.answering import metered, refused
from api.flow import HeldFlow
from api.graphql.departure import EXTENSION, Departure
from api.identity.admission import Admission
from api.impatient import MAX_DROPPED, PIECE, Impatient
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
    Refusal,
    Refused,
    refusal_of,
)
from api.request_head import Head, path_of
from api.settings import SocketTimes

CLOSING = "closing"
"""The key of the lifespan state that is there once the server leaves: from then on each answer closes its connection,
and says so, so that no client sends another request on it."""


class BoundedHttp(Impatient, HttpToolsProtocol):
    """Refuses a request that is not valid, or too large, once those before it are answered, and closes the connection.
    When the client leaves or the server stops, the request that is being answered is notified, not one behind it.

    A connection is kept for the next request, unless the server leaves, or has more than `most_kept` connections: then
    the answer says `Connection: close`.

    A request for another upgrade than that to a websocket is answered as if it had asked for none. llhttp takes its
    body for another protocol, and uvicorn would take that body for the next request.
    """

    _overhead = 0
    """Bytes of the current request that are not its body."""
    _fields = 0
    """Bytes of its headers that are parsed. They can end within one piece, with the request."""
    _in_head = True
    _in_body = False
    _complete = False
    _head: Head
    _deaf = False
    """Whether nothing that still comes is of interest."""
    _rest = b""
    """What came behind a request that waits in the pipeline, and is not parsed yet."""
    _end: Refusal | Head | None = None
    """What ends HTTP on this connection, once every request before it is answered: a refusal, or a handshake."""
    _answering: RequestResponseCycle | None = None
    _departure: Departure | None = None
    _stopping = False
    flow: HeldFlow

    def __init__(
        self, times: SocketTimes, admission: Admission, most_kept: float, *arguments: Any, **named: Any
    ) -> None:
        self._most_kept = most_kept
        super().__init__(times, admission, *arguments, **named)
        # Without uvicorn's leniency, in which requests behind `Connection: close` are executed.
        self.parser = httptools.HttpRequestParser(self)

    @property
    def reading_paused(self) -> bool:
        """Whether a request waits for the answer to another, or its body for the application."""
        return self.flow.read_paused

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
        self.flow = HeldFlow(self.transport)
        self._await_request()

    def data_received(self, data: bytes) -> None:
        if self._leaving or self.transport.is_closing():
            self._drop(data)
        elif self._deaf:
            self._dropped += len(data)
            if self._dropped > MAX_DROPPED:
                self.flow.hold()  # until everything is answered; the end of a client that is held is not seen
        elif self._rest or self.pipeline:
            self._hold(data)
        else:
            self._read(data)

    def _read(self, data: bytes) -> None:
        """Parse piece by piece, as long as no request has to wait for the answer to another."""
        left = memoryview(data)
        while left and not self._deaf:
            if self.pipeline:
                self._hold(left)
                return
            self._parse(left[:PIECE])
            left = left[PIECE:]
        # Most requests come in one piece, and need no timer.
        if self._complete or self._deaf or self._end is not None:
            self._stop_awaiting()
        else:
            self._await_request()

    def _hold(self, data: bytes | memoryview) -> None:
        """Keep this until the request in the pipeline is begun. Its client is not late meanwhile."""
        self._rest += data
        self._stop_awaiting()
        self.flow.hold()

    def _read_rest(self) -> None:
        rest, self._rest = self._rest, b""
        self.flow.release()
        if not self._deaf and not self.transport.is_closing():
            try:
                self._read(rest)
            except BaseException:
                self.transport.abort()  # as the transport itself does where reading fails
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
            if not self._deaf:  # else it is what follows the last request
                self._refuse(refusal_of(error))
            return
        self._overhead = max(0, self._overhead)
        if self._overhead > MAX_HEAD and not self._deaf:
            self._refuse(HEAD_TOO_LARGE if self._in_head else FRAMING_TOO_LARGE)

    def _feed(self, piece: memoryview) -> memoryview:
        """Parse until an upgrade is asked for, and return what is behind it. Raises HttpParserError."""
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
        self._refused(refusal.kind)
        self._deaf = True
        if not self._in_body:
            self._end_with(refusal)
        elif self.pipeline:
            self.pipeline.popleft()[0].on_response = _nothing  # the latest, which is this request
            self._end_with(refusal)
        elif self.cycle.response_started:
            self._give_up(self.cycle)
            self._leave()
        else:
            self._give_up(self.cycle)
            self._finish(refusal)

    def _end_with(self, end: Refusal | Head) -> None:
        self._end = end
        if self.idle:
            self._finish(end)

    def _finish(self, end: Refusal | Head) -> None:
        self._end = None
        if isinstance(end, Head):
            self._become_websocket(end)
        else:
            self.transport.write(end.response(self.server_state.default_headers))
            self._leave()

    def _leave(self) -> None:
        self._deaf = True
        self._unset_keepalive_if_required()
        self.flow.release()
        super()._leave()

    def _give_up(self, cycle: RequestResponseCycle) -> None:
        """Nobody is there for the answer any more."""
        cycle.disconnected = True
        cycle.message_event.set()
        if self._departure is not None:
            self._departure.leave()

    def on_message_begin(self) -> None:
        if self._deaf:
            raise Refused(ENDED)
        self._unset_keepalive_if_required()
        self._in_head = True
        self._in_body = False
        self._complete = False
        self._fields = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        if len(self.url) > MAX_TARGET:
            raise Refused(TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # a trailer, which must not pass for a header (RFC 9110, section 6.5.1)
        if len(self.headers) == MAX_FIELDS:
            raise Refused(TOO_MANY_FIELDS)
        self._fields += len(name) + len(value) + 4
        if self._fields > MAX_HEAD:
            raise Refused(HEAD_TOO_LARGE)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self.url = path_of(self.url)
        self._head = Head(self.parser.get_method(), self.url, self.parser.get_http_version(), self.headers)
        self._head.check()
        if self.parser.should_upgrade():
            self._head.opens_websocket()  # raises Refused
            return
        super().on_headers_complete()
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
            self._deaf = True  # it is the last on this connection

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._hang_up_later()
        elif self._end is not None and self.idle:
            self._finish(self._end)
        elif self._rest and not self.pipeline:
            self.loop.call_soon(self._read_rest)

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._hang_up_later()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_awaiting()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()  # uvicorn forgets it where a connection was reset
        if self._answering is not None and not self._answering.response_complete:
            # uvicorn tells the last request only, behind which an event stream would go on for ever.
            self._give_up(self._answering)
        self._forget_waiting()

    def shutdown(self) -> None:
        super().shutdown()
        self._stopping = True
        self._forget_waiting()  # uvicorn would begin with them now, and with event streams that nobody would end
        self._end = None
        if self._answering is None:
            return
        self._answering.keep_alive = False
        if self._answering.more_body:
            self.transport.close()  # its request is not complete, and may be for an event stream too
        else:
            self._answering.message_event.set()  # wakes an event stream, which expects the end of its client alone

    def _forget_waiting(self) -> None:
        """Requests that are not begun refer to this, which refers to them: the garbage collector would have to come."""
        for cycle, _ in self.pipeline:
            cycle.on_response = _nothing
        self.pipeline.clear()
        self._rest = b""

    def _become_websocket(self, handshake: Head) -> None:
        """Hand the connection on. It is closed when the websocket has not been accepted by the request's deadline."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.times.receive if self._receiving is None else self._receiving.when()
        self._deaf = True
        self._stop_awaiting()
        self._unset_keepalive_if_required()
        self.flow.release()
        self.connections.discard(self)
        make = cast("Callable[..., Inner]", self.ws_protocol_class)  # a partial of BoundedWebSocket
        protocol = make(deadline, config=self.config, server_state=self.server_state, app_state=self.app_state)
        protocol.connection_made(self.transport)
        if self.flow.write_paused:  # the transport calls pause_writing once, and that was for HTTP
            self._stay()
            protocol.pause_writing()
        cast("Inlet", self.transport.get_protocol()).hand_over(protocol)
        protocol.data_received(handshake.for_websocket())
        # The two refer to each other, and all of the connection would wait for the garbage collector.
        self.parser = None  # type: ignore[assignment]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._unset_keepalive_if_required()
        self._answering = cycle
        self._departure = Departure()
        cast("dict[str, Any]", cycle.scope.setdefault("extensions", {}))[EXTENSION] = self._departure
        if CLOSING in self.app_state or len(self.connections) > self._most_kept:
            cycle.keep_alive = False
        client = self.admission.clients.of(cycle.scope)
        self.admission.gate.enter(client, partial(self._begin, cycle, app, client))

    def _begin(self, cycle: RequestResponseCycle, app: ASGI3Application, client: str, in_time: bool) -> None:
        if cycle.disconnected:
            cycle.on_response = _nothing  # the two refer to each other
            return
        answer = metered(app, self.admission.gate, client) if in_time else refused(self.admission.gate.refusal())
        super()._start_asgi_task(cycle, answer)
        if self._stopping:
            self.loop.call_soon(cycle.message_event.set)  # see shutdown; once it has received its body


def _nothing() -> None:
    pass
