"""uvicorn's HTTP protocol, with a bound on what it keeps of a request before anybody looks at it."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD = 64 * 1024
"""Bytes of a request's line and headers. uvicorn has a bound with h11 and none with httptools: 200 MB of headers took
2.3 GB of memory."""


class BoundedHttp(HttpToolsProtocol):
    """Answers 400 and hangs up when a request has sent more than MAX_HEAD and its head has no end yet."""

    _head = 0
    _in_head = True

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
