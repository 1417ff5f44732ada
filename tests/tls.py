"""PostgreSQL over TCP and TLS for tests: a front that terminates TLS, which the embedded PostgreSQL is built
without."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from tests.listener import accepting

_SSL_REQUEST = (8).to_bytes(4) + (80877103).to_bytes(4)


@dataclass(slots=True)
class Front:
    """Listens at `port`; `encrypted` and `plain` are the connections that it has passed on."""

    port: int
    encrypted: int = 0
    plain: int = 0


@contextlib.asynccontextmanager
async def tls_front(postgres_url: str, context: ssl.SSLContext | None) -> AsyncIterator[Front]:
    """Pass connections on until the block is left. Without a context it refuses TLS, like a server without TLS."""
    socket_path = f"{parse_qs(urlsplit(postgres_url).query)['host'][0]}/.s.PGSQL.5432"
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers = [writer]
        try:
            head = await reader.readexactly(8)
            encrypted = head == _SSL_REQUEST and context is not None
            if head == _SSL_REQUEST:
                writer.write(b"N" if context is None else b"S")
                if context is not None:
                    await writer.start_tls(context)
                head = await reader.readexactly(8)
            front.encrypted += encrypted
            front.plain += not encrypted
            backend_reader, backend = await asyncio.open_unix_connection(socket_path)
            writers.append(backend)
            backend.write(head)
            await asyncio.gather(_copy(reader, backend), _copy(backend_reader, writer))
        except (OSError, EOFError):
            pass  # the client has disconnected, or does not trust the certificate
        finally:
            for end in writers:
                if end.transport is not None:  # None when the client disconnected during the TLS handshake
                    end.transport.abort()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.get_running_loop().create_task(serve(reader, writer)))

    try:
        async with accepting(await asyncio.start_server(accept, "127.0.0.1", 0)) as port:
            front = Front(port)
            yield front
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    raise EOFError
