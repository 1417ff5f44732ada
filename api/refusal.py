"""Refusals: the last answer on a connection, to a request that is invalid or too large."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus

import httptools

from api.identity.errors import RateLimited

Field = tuple[bytes, bytes]
"""A header field: its name in lower case, and its value."""

MAX_HEAD = 16 * 1024
"""Bytes of a request that are not its body: the request line, headers, chunk sizes and extensions, trailers, and line
ends before it. Node.js allows as much. uvicorn has no limit with httptools: 200 MB of headers took 2.3 GB of memory,
and 42 MB of trailers 0.9 GB."""

MAX_FIELDS = 100
"""Header fields of a request. Browsers send about 20, and proxies add a few."""

MAX_TARGET = 8 * 1024
"""Bytes of a request's target: its path and query string. RFC 9110 wants 8,000 at least."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The last answer on a connection. `kind` is for the counts of refusals; the client does not see it."""

    kind: str
    status: int
    message: str
    fields: tuple[Field, ...] = ()

    def response(self, default_fields: Iterable[Field]) -> bytes:
        body = f"{self.message}\n".encode("ascii")
        status = HTTPStatus(self.status)
        fields = (
            *default_fields,
            *self.fields,
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        )
        return serialize(b"HTTP/1.1 %d %s" % (status, status.phrase.encode()), fields) + body


class Refused(Exception):
    """The request is refused. Raised by the callbacks of its parser."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.message)
        self.refusal = refusal


TOO_LONG = Refusal("head", 414, f"Send a path and query of at most {MAX_TARGET:,} bytes.")
TOO_MANY_FIELDS = Refusal("head", 431, f"Send at most {MAX_FIELDS} headers.")
HEAD_TOO_LARGE = Refusal("head", 431, f"Send a request line and headers of at most {MAX_HEAD:,} bytes.")
FRAMING_TOO_LARGE = Refusal("chunks", 400, f"Send larger chunks, and at most {MAX_HEAD:,} bytes that are no body.")
WRONG_VERSION = Refusal("version", 505, "Send the request as HTTP/1.1.")
INVALID = Refusal("request", 400, "Send a valid HTTP/1.1 request.")
EARLY = Refusal("handshake", 400, "Send nothing behind the handshake of a websocket before it is answered.")
ENDED = Refusal("request", 400, "")
INVALID_HANDSHAKE = Refusal("handshake", 400, "Send a valid handshake of a websocket.")


def busy(limit: RateLimited) -> Refusal:
    """The answer to a handshake that waited too long at the gate, or would."""
    return Refusal("handshake", limit.status, f"{limit}.", ((b"retry-after", b"%d" % math.ceil(limit.retry_after)),))


def refusal_of(error: httptools.HttpParserError) -> Refusal:
    """Return the refusal for an error of llhttp. Raises an error of our own callbacks, which is not the client's
    fault."""
    cause = error.__context__
    if isinstance(cause, Refused):
        return cause.refusal
    if cause is not None and not isinstance(cause, ValueError | httptools.HttpParserError):
        raise cause
    if "HTTP version" in str(error) or "PRI" in str(error):
        return WRONG_VERSION
    return INVALID


def serialize(line: bytes, fields: Iterable[Field]) -> bytes:
    """The head of a request or of an answer."""
    return b"\r\n".join((line, *(b"%s: %s" % field for field in fields), b"", b""))
