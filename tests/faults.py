"""A proxy before the database that fails on demand. It understands just enough of the wire protocol."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Protocol
from urllib.parse import parse_qs, urlsplit

from tests.listener import accepting


class Faulty(Protocol):
    """An endpoint that fails on demand: a FaultyEndpoint before PostgreSQL, or a StandIn for Aurora DSQL."""

    cut_before_commit: int
    cut_after_commit: int
    hang_at_commit: int
    commit_arrived: asyncio.Event

    @property
    def url(self) -> str: ...

    def down(self) -> None: ...

    async def up(self) -> None: ...


class FaultyEndpoint:
    """A proxy before a PostgreSQL on a Unix socket. Each fault lowers its count by one.

    `cut_before_commit`: connections to drop when a COMMIT is sent, before the database gets it.
    `cut_after_commit`: connections to drop when a COMMIT is done, before the client gets its answer.
    `hang_at_commit`: COMMITs that the database never gets, on connections that stay open.
    `down` drops the open connections and refuses new ones, until `up`.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket_path = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._database = parts.path.lstrip("/")
        self._port = 0
        self._open: set[asyncio.StreamWriter] = set()
        self._down = False
        self.cut_before_commit = 0
        self.cut_after_commit = 0
        self.hang_at_commit = 0
        self.commit_arrived = asyncio.Event()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self._port}/{self._database}?sslmode=disable"

    def down(self) -> None:
        self._down = True
        for writer in self._open:
            writer.transport.abort()

    async def up(self) -> None:
        self._down = False

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["FaultyEndpoint"]:
        try:
            async with accepting(await asyncio.start_server(self._serve, "127.0.0.1", 0)) as self._port:
                yield self
        finally:
            for writer in self._open:
                writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._down:
            writer.transport.abort()
            return
        backend_reader, backend = await asyncio.open_unix_connection(self._socket_path)
        self._open |= {writer, backend}
        swallow = asyncio.Event()
        answers = asyncio.create_task(self._copy_answers(backend_reader, writer, swallow))
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await self._copy_requests(reader, backend, swallow)
        answers.cancel()
        for end in (writer, backend):
            end.transport.abort()
            self._open.discard(end)

    async def _copy_requests(
        self, reader: asyncio.StreamReader, backend: asyncio.StreamWriter, swallow: asyncio.Event
    ) -> None:
        size = await reader.readexactly(4)  # the start-up message has no type
        backend.write(size + await reader.readexactly(int.from_bytes(size) - 4))
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
            if head[:1] == b"Q" and re.match(rb"\s*COMMIT", body):
                self.commit_arrived.set()
                if self.hang_at_commit:
                    self.hang_at_commit -= 1
                    continue
                if self.cut_before_commit:
                    self.cut_before_commit -= 1
                    return
                if self.cut_after_commit:
                    self.cut_after_commit -= 1
                    swallow.set()
            backend.write(head + body)

    async def _copy_answers(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, swallow: asyncio.Event
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if swallow.is_set():
                    break  # the COMMIT is done, and `data` is its answer
                writer.write(data)
        writer.transport.abort()
