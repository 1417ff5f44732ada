"""One request and its answer, on a connection that uvicorn's protocol parses.

It borrows uvicorn's RequestResponseCycle, until uvicorn writes the head of an answer together with its body.
"""

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from api.graphql.departure import EXTENSION, Departure
from api.graphql.headers import KEY
from api.refusal import Field
from api.request_head import Head, parts_of

_NO_BODY = (204, 304)
"""The statuses whose answers never have a body (RFC 9110, section 6.4.1)."""


KEPT_LINES = 500
"""Lines of answers that are kept. A server has some dozens, and one for each length of a body."""


@lru_cache(KEPT_LINES)
def _line(name: bytes, value: bytes) -> bytes:
    """The line of a header field. Raises RuntimeError for an invalid one: with a line end in it, it would become two
    fields."""
    if HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    if HEADER_VALUE_RE.search(value):
        raise RuntimeError("Invalid HTTP header value.")
    return b"%s: %s\r\n" % (name.lower(), value)


class Cycle(RequestResponseCycle):
    """uvicorn's cycle, which writes the head of an answer and the first part of its body at once.

    Under asyncio's own event loop, two writes are two system calls and two packets. A stream's head does not wait: the
    first part of a chunked body may come much later.
    """

    departure: Departure
    """For the application, when the client disconnects before its answer."""
    _head = b""
    """The head of the answer, until it is written."""

    def detach(self) -> None:
        """Drop the reference to the connection, which refers to this cycle, when no answer will be sent."""
        self.on_response = _nothing

    async def send(self, message: Any) -> None:
        """Send a message of ASGI. Raises RuntimeError for a message that is out of order, or for an invalid header."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError("The answer has ended already.")
        expected = "http.response.body" if self.response_started else "http.response.start"
        if message["type"] != expected:
            raise RuntimeError(f"Expected ASGI message {expected!r}, but got {message['type']!r}.")
        if self.response_started:
            self._send_body(message.get("body", b""), message.get("more_body", False))
        else:
            self.response_started = True
            self.waiting_for_100_continue = False
            self._begin(message["status"], [*self.default_headers, *message.get("headers", ())])

    def _begin(self, status: int, fields: Sequence[Field]) -> None:
        """Prepare the head, and write that of a stream."""
        lines = [STATUS_LINE[status]]
        announces_close = False
        for name, value in fields:
            lines.append(_line(name, value))
            match name.lower():
                case b"content-length" if self.chunked_encoding is None:
                    self.expected_content_length = int(value)
                    self.chunked_encoding = False
                case b"transfer-encoding" if value.lower() == b"chunked":
                    self.expected_content_length = 0
                    self.chunked_encoding = True
                case b"connection" if b"close" in [token.strip().lower() for token in value.split(b",")]:
                    self.keep_alive = False
                    announces_close = True
        if not self.keep_alive and not announces_close:
            lines.append(b"connection: close\r\n")
        if self.chunked_encoding is None and self.scope["method"] != "HEAD" and status not in _NO_BODY:
            self.chunked_encoding = True
            lines.append(b"transfer-encoding: chunked\r\n")
        lines.append(b"\r\n")
        head = b"".join(lines)
        if self.chunked_encoding:
            self.transport.write(head)
        else:
            self._head = head

    def _send_body(self, body: bytes, more: bool) -> None:
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            self.expected_content_length = 0
            self.transport.write(head)
        elif self.chunked_encoding:
            chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
            self.transport.write(chunk if more else chunk + b"0\r\n\r\n")
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0:
                raise RuntimeError("Response content longer than Content-Length")
            self.transport.write(head + body)
        if not more:
            self._complete()

    def _complete(self) -> None:
        if self.expected_content_length != 0:
            raise RuntimeError("Response content shorter than Content-Length")
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


def _nothing() -> None:
    pass


_ASGI = {"version": "3.0", "spec_version": "2.3"}


def new_cycle(connection: HttpToolsProtocol, head: Head) -> Cycle:
    """The cycle of the request whose head the connection's parser has just read. Raises HttpParserError for an invalid
    target."""
    path, raw_path, query = parts_of(head.target)
    departure = Departure()
    scope: Any = {
        "type": "http",
        "asgi": _ASGI,
        "http_version": head.version,
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme,
        "root_path": "",
        "headers": connection.headers,
        "state": connection.app_state.copy(),
        "method": head.method.decode("ascii"),
        "path": path,
        "raw_path": raw_path,
        "query_string": query,
        "extensions": {EXTENSION: departure},
        KEY: head.headers,
    }
    cycle = Cycle(
        scope=scope,
        transport=connection.transport,
        flow=connection.flow,
        logger=connection.logger,
        access_logger=connection.access_logger,
        access_log=False,
        default_headers=connection.server_state.default_headers,
        message_event=asyncio.Event(),
        expect_100_continue=head.expects_continue,
        keep_alive=head.version != "1.0" and connection.parser.should_keep_alive(),
        on_response=connection.on_response_complete,
    )
    cycle.departure = departure
    return cycle
