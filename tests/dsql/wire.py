"""PostgreSQL's wire protocol, as far as a proxy has to read and write it."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

PROTOCOL = 196608
SSL_REQUEST = 80877103
CANCEL_REQUEST = 80877102

SYNC = b"S\0\0\0\x04"
PARSE_COMPLETE = b"1\0\0\0\x04"
BIND_COMPLETE = b"2\0\0\0\x04"
CLOSE_COMPLETE = b"3\0\0\0\x04"
EMPTY_QUERY = b"I\0\0\0\x04"
NO_DATA = b"n\0\0\0\x04"
NO_PARAMETERS = b"t\0\0\0\x06\0\0"
ASK_FOR_PASSWORD = b"R\0\0\0\x08\0\0\0\x03"
AUTHENTICATED = b"R\0\0\0\x08\0\0\0\0"


def message(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return kind + (len(body) + 4).to_bytes(4) + body


def string(value: str) -> bytes:
    return value.encode() + b"\0"


def query(statement: str) -> bytes:
    return message(b"Q", string(statement))


def complete(tag: str) -> bytes:
    return message(b"C", string(tag))


def ready(status: bytes) -> bytes:
    """`status` is I outside a transaction, T inside one, E inside an aborted one."""
    return message(b"Z", status)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error or a notice, as PostgreSQL's messages carry it."""

    sqlstate: str
    message: str
    hint: str | None = None
    severity: str = "ERROR"

    def encode(self, kind: bytes = b"E") -> bytes:
        fields = {b"S": self.severity, b"V": self.severity, b"C": self.sqlstate, b"M": self.message}
        if self.hint is not None:
            fields[b"H"] = self.hint
        return message(kind, *(code + string(value) for code, value in fields.items()), b"\0")


class Refused(Exception):
    """A statement or a connection is answered with the ErrorResponse `response`."""

    def __init__(self, refusal: Refusal | bytes) -> None:
        self.response = refusal if isinstance(refusal, bytes) else refusal.encode()
        super().__init__(self.response)


def messages(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the body of every message."""
    start = 0
    while start < len(data):
        end = start + 1 + int.from_bytes(data[start + 1 : start + 5])
        yield data[start : start + 1], data[start + 5 : end]
        start = end


def error_fields(body: bytes) -> dict[bytes, str]:
    """The fields of an ErrorResponse or a NoticeResponse by their one-letter codes."""
    return {field[:1]: field[1:].decode() for field in body.split(b"\0") if field}


def first_values(data: bytes) -> list[bytes]:
    """The first column of every DataRow."""
    return [
        body[6 : 6 + int.from_bytes(body[2:6])]
        for kind, body in messages(data)
        if kind == b"D" and body[2:6] != b"\xff\xff\xff\xff"
    ]


def with_tag(data: bytes, tag: str) -> bytes:
    """The same answer under another command tag."""
    return b"".join(complete(tag) if kind == b"C" else message(kind, body) for kind, body in messages(data))


def take_string(body: bytes, start: int = 0) -> tuple[str, int]:
    """The text that ends with a zero byte, and where the next field begins."""
    end = body.index(b"\0", start)
    return body[start:end].decode(), end + 1


@dataclass(frozen=True, slots=True)
class Bind:
    """A Bind message: a portal, and the statement that it executes. `rest` are the formats and values, unread."""

    portal: str
    statement: str
    rest: bytes

    @classmethod
    def decode(cls, body: bytes) -> "Bind":
        portal, start = take_string(body)
        statement, start = take_string(body, start)
        return cls(portal, statement, body[start:])

    def values(self) -> list[bytes | None]:
        start = 2 + 2 * int.from_bytes(self.rest[:2])
        count, start = int.from_bytes(self.rest[start : start + 2]), start + 2
        values: list[bytes | None] = []
        for _ in range(count):
            size, start = int.from_bytes(self.rest[start : start + 4], signed=True), start + 4
            values.append(None if size < 0 else self.rest[start : start + size])
            start += max(size, 0)
        return values


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    return head[:1], await reader.readexactly(int.from_bytes(head[1:]) - 4)


async def read_startup(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The code and the rest of a message without a kind, as the first messages of a connection are."""
    size = int.from_bytes(await reader.readexactly(4))
    body = await reader.readexactly(size - 4)
    return int.from_bytes(body[:4]), body[4:]


def startup_parameters(body: bytes) -> dict[str, str]:
    fields = [field.decode() for field in body.split(b"\0")]
    return {name: value for name, value in zip(fields[::2], fields[1::2], strict=False) if name}
