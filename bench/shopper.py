"""The HTTP connection of one client. It does as little as possible, because it shares the server's cores."""

import asyncio
from typing import cast

_HEAD_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


class BadAnswer(Exception):
    """The server did not answer a request as it should; the message says how it answered."""


class Shopper(asyncio.Protocol):
    """A connection that sends one request after the other."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._end = 0
        """The length of the whole answer; 0 until its head has arrived."""
        self._answer: asyncio.Future[bytes] | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class does not inherit from it

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._end:
            head = self._received.find(_HEAD_END)
            if head < 0:
                return
            self._end = head + len(_HEAD_END) + _length(bytes(self._received[:head]))
        if len(self._received) >= self._end and self._answer is not None and not self._answer.done():
            self._answer.set_result(bytes(self._received))

    def connection_lost(self, exception: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(BadAnswer(f"the connection was closed: {exception or 'by the server'}"))

    async def request(self, message: bytes) -> bytes:
        """Send a request, and return the body of its answer. Raises BadAnswer when its status is not 200 and when the
        body has errors."""
        if self._transport.is_closing():
            raise BadAnswer("the connection was closed between two requests")
        self._answer = asyncio.get_running_loop().create_future()
        self._received.clear()
        self._end = 0
        self._transport.write(message)
        answer = await self._answer
        body = answer[answer.find(_HEAD_END) + len(_HEAD_END) :]
        if not answer.startswith(b"HTTP/1.1 200 ") or not body.startswith(b'{"data":') or b'"errors":' in body:
            raise BadAnswer(f"{answer[:15].decode()}: {body[:300].decode(errors='replace')}")
        return body


def request_bytes(where: str, body: bytes, token: str) -> bytes:
    """A POST to /graphql, as a browser sends it. `where` is the host with its port."""
    return (
        f"POST /graphql HTTP/1.1\r\nHost: {where}\r\nContent-Type: application/json\r\nAccept: application/json\r\n"
        f"Authorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


def _length(head: bytes) -> int:
    """The length of the body, by the head of an answer."""
    lines = head.lower().split(b"\r\n")
    return next((int(line[len(_LENGTH) :]) for line in lines if line.startswith(_LENGTH)), 0)
