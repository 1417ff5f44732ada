"""Requests with any target, header and body, and their answers."""

import http.client
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from email.message import Message
from typing import Any
from urllib.parse import urlsplit

from tests.graphql.http_requests import CODES
from tests.protocol.raw import connection_to
from tests.server import ADMIN_TOKEN, Server

JSON = ("content-type", "application/json")
NEWER = ("accept", "application/graphql-response+json")
"""The newer media type, in which a refused document has status 400."""

AS_OPERATOR = ("authorization", f"Bearer {ADMIN_TOKEN}")

Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """An HTTP response, with every header that was sent, however often."""

    status: int
    headers: Message
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def assert_refused(self, status: int, message: str) -> None:
        """The answer has that status, no data, and errors of one code of CODES. `message` is in the first one."""
        errors = self.json.get("errors")
        assert (self.status, list(self.json)) == (status, ["errors"]), self
        [code] = {error["extensions"]["code"] for error in errors}
        assert code in CODES, errors
        assert message in errors[0]["message"], errors

    def assert_data(self, data: object) -> None:
        """The answer has status 200, that data, and nothing beside the data."""
        assert (self.status, self.json) == (200, {"data": data}), self

    def allowed(self) -> set[str]:
        """The methods that a 405 allows."""
        return {*self.headers["allow"].split(", ")}


async def send(server: Server, method: str, target: str | bytes, body: bytes = b"", headers: Headers = ()) -> Answer:
    """Send one request, with its target and headers unchanged. Returns its answer, which may not come from a defect."""
    fields = [("host", urlsplit(server.url).netloc), ("connection", "close"), *headers]
    if body:
        fields.append(("content-length", str(len(body))))
    line = b"%s %s HTTP/1.1\r\n" % (method.encode(), target if isinstance(target, bytes) else target.encode())
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields).encode()
    async with connection_to(server) as connection:
        await connection.send(line + lines + b"\r\n" + body)
        answer = parsed(await connection.closed())
    assert answer.status < 500, answer
    assert b"INTERNAL" not in answer.body, answer
    return answer


def parsed(received: bytes) -> Answer:
    """The answer that these bytes are. All bytes behind the head count as its body, even where it may have none."""
    status_line, _, rest = received.partition(b"\r\n")
    head, _, body = rest.partition(b"\r\n\r\n")
    version, status, *_ = status_line.split(b" ")
    assert version == b"HTTP/1.1", received
    return Answer(int(status), http.client.parse_headers(io.BytesIO(head + b"\r\n\r\n")), body)


async def post(server: Server, body: object, *headers: tuple[str, str]) -> Answer:
    """Send a body of type JSON: bytes unchanged, anything else encoded. Returns the answer."""
    encoded = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await send(server, "POST", "/graphql", encoded, [JSON, NEWER, *headers])
