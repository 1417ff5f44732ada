"""Requests as they stand, byte for byte, and their answers."""

import asyncio
import http.client
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from tests.patience import PATIENCE
from tests.server import ADMIN_TOKEN, Server

JSON = ("content-type", "application/json")
NEWER = ("accept", "application/graphql-response+json")
"""Of this type a document that is refused has status 400."""

AS_OPERATOR = ("authorization", f"Bearer {ADMIN_TOKEN}")

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def assert_refused(self, status: int, message: str) -> None:
        """It has that status, no data, and errors of code BAD_USER_INPUT, the first of which has that message in it."""
        errors = self.json.get("errors")
        assert (self.status, list(self.json)) == (status, ["errors"]), self
        assert {error["extensions"]["code"] for error in errors} == {"BAD_USER_INPUT"}, errors
        assert message in errors[0]["message"], errors

    def assert_data(self, data: object) -> None:
        """It has status 200 and that data, and nothing beside the data."""
        assert (self.status, self.json) == (200, {"data": data}), self

    def allowed(self) -> set[str]:
        """The methods that a 405 names."""
        return {*self.headers["allow"].split(", ")}


async def send(server: Server, method: str, target: str | bytes, body: bytes = b"", headers: Headers = ()) -> Answer:
    """The answer to one request; the target goes out as it is. No answer may be a defect of the server's."""
    address = urlsplit(server.url)
    head = [("host", address.netloc), ("connection", "close"), *headers]
    if body:
        head.append(("content-length", str(len(body))))
    line = b"%s %s HTTP/1.1\r\n" % (method.encode(), target if isinstance(target, bytes) else target.encode())
    lines = "".join(f"{name}: {value}\r\n" for name, value in head).encode()
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        try:
            writer.write(line + lines + b"\r\n" + body)
            received = await reader.read()
        finally:
            writer.close()
            await writer.wait_closed()
    answer = parsed(received)
    assert answer.status < 500, answer
    assert b"INTERNAL" not in answer.body, answer
    return answer


def parsed(received: bytes) -> Answer:
    status_line, _, rest = received.partition(b"\r\n")
    head, _, body = rest.partition(b"\r\n\r\n")
    version, status, *_ = status_line.split(b" ")
    assert version == b"HTTP/1.1", received
    return Answer(int(status), http.client.parse_headers(io.BytesIO(head + b"\r\n\r\n")), body)


async def post(server: Server, body: object, *headers: tuple[str, str]) -> Answer:
    """The answer to a body of type JSON: bytes as they stand, or what is to be encoded."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await send(server, "POST", "/graphql", encoded, [JSON, NEWER, *headers])
