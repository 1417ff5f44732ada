"""The PostgreSQL behind the stand-in: one connection over its Unix socket for each connection of a client."""

import asyncio
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from tests.dsql import wire


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request, up to its ReadyForQuery and without it. `rows_size`: the bytes of its rows."""

    raw: bytes
    tag: str | None
    error: dict[bytes, str] | None
    error_response: bytes = b""
    rows_size: int = 0

    @property
    def sqlstate(self) -> str | None:
        return None if self.error is None else self.error[b"C"]


class Backend:
    """A session of PostgreSQL. It sends several requests at once."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._received = bytearray()
        self.greeting = b""

    @classmethod
    async def connect(cls, database_url: str, role: str, parameters: dict[str, str]) -> "Backend":
        """Log in as `role`, which the server trusts. Raises Refused with PostgreSQL's error."""
        parts = urlsplit(database_url)
        path = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.{parts.port or 5432}"
        backend = cls(*await asyncio.open_unix_connection(path))
        settings = {
            **parameters,
            "user": role,
            "database": parts.path.lstrip("/"),
            "TimeZone": "UTC",
            "default_transaction_isolation": "repeatable read",
            "synchronous_commit": "off",  # a COMMIT takes `commit_latency`, whatever this machine's disk takes
        }
        body = b"".join(wire.string(text) for setting in settings.items() for text in setting)
        backend._writer.write(wire.message(b"", wire.PROTOCOL.to_bytes(4), body, b"\0"))
        try:
            answer = await backend._answer()
            if answer.error is not None:
                raise wire.Refused(answer.error_response)
        except BaseException:
            backend.close()
            raise
        backend.greeting = answer.raw
        return backend

    async def exchange(self, *requests: bytes) -> list[Answer]:
        """Send requests that end with one ReadyForQuery each, and return their answers. Raises ConnectionError."""
        self._writer.write(b"".join(requests))
        return [await self._answer() for _ in requests]

    def close(self) -> None:
        """Close the connection. PostgreSQL rolls back an open transaction."""
        self._writer.transport.abort()

    async def _answer(self) -> Answer:
        tag = error = None
        error_response = b""
        start = rows_size = 0
        received = self._received
        while True:
            while len(received) < start + 5 or len(received) < (
                end := start + 1 + int.from_bytes(received[start + 1 : start + 5])
            ):
                await self._receive()
            kind = received[start]
            if kind == ord("Z"):
                raw = bytes(received[:start])
                del received[:end]
                return Answer(raw, tag, error, error_response, rows_size)
            if kind == ord("D"):
                rows_size += end - start - 5
            elif kind == ord("C"):
                tag = received[start + 5 : end - 1].decode()
            elif kind == ord("E"):
                error_response = bytes(received[start:end])
                error = wire.error_fields(error_response[5:])
                if error[b"V"] == "FATAL":  # no ReadyForQuery follows
                    return Answer(bytes(received[:start]), tag, error, error_response)
            start = end

    async def _receive(self) -> None:
        data = await self._reader.read(262144)
        if not data:
            raise ConnectionResetError("the database behind the stand-in hung up")
        self._received += data
