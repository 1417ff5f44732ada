"""Running the server: a bound socket, a database that is ready, and uvicorn between them."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType

import uvicorn

from api.app import create_app, require_current_schema
from api.database.embedded import embedded_postgres, running_embedded_url
from api.database.migrations import load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.drops.sample import create_sample_drop
from api.operator_token import make_operator_token
from api.settings import Settings

logger = logging.getLogger("dropzero.server")

SHUTDOWN_TIMEOUT = 20
"""Seconds that requests in flight are given when the server stops: longer than a purchase's deadline."""


_STOPPING = (signal.SIGINT, signal.SIGTERM)


class CannotServe(Exception):
    """The server cannot start; the message says why and what to do."""


def bind(host: str, port: int) -> socket.socket:
    """A bound socket, taken before anything slow begins. Raises CannotServe."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(0)  # refuses what another process already listens on; uvicorn sets the real backlog
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotServe(f"cannot listen on {host}:{port}: {reason}; choose another with --port or --host") from None
    return bound


def address(listening: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


@contextmanager
def database_to_serve(settings: Settings) -> Iterator[Settings]:
    """Settings with endpoints to connect to, for the server, which owns the embedded database while it runs.

    Raises EmbeddedUnavailable.
    """
    _exit_on_sigterm()
    if not settings.embedded:
        yield settings
        return
    with _embedded(settings) as url:
        yield settings.with_embedded(url, settings.admin_token or make_operator_token(settings.data_directory))


@contextmanager
def database_to_visit(settings: Settings) -> Iterator[Settings]:
    """Settings with endpoints to connect to, for a command beside the server: those configured, the embedded
    database that a server is running, or else the embedded database started for this command alone.

    Raises EmbeddedUnavailable.
    """
    _exit_on_sigterm()
    if not settings.embedded:
        yield settings
        return
    running = running_embedded_url(settings.data_directory)
    with nullcontext(running) if running is not None else _embedded(settings) as url:
        yield settings.with_embedded(url, settings.admin_token)


def _embedded(settings: Settings) -> AbstractContextManager[str]:
    """The embedded database with room for every connection of each Region, and of commands beside the server."""
    room = max(100, 2 * settings.connections + 20)
    return embedded_postgres(settings.data_directory, settings.commit_delay_ms, room)


async def prepare(settings: Settings, *, embedded: bool) -> None:
    """Make sure of the schema: the embedded database is brought up to date and given a sample drop; any other
    is only looked at. Raises SchemaBehind, MigrationChanged, Unavailable."""
    async with Pool(settings.endpoints[0], size=1) as pool:
        if not embedded:
            await require_current_schema(pool)
            return
        await migrate(pool, load_migrations(migrations_directory()))
        sample = await create_sample_drop(pool)
        if sample is not None:
            logger.info("created the sample drop %s: %d x %s", sample.drop_name, sample.stock, sample.name)


class _Server(uvicorn.Server):
    """uvicorn's server with something to do before it accepts connections, and something to say when it does.

    Both happen under uvicorn's own handling of SIGINT and SIGTERM, which raises nothing in the midst of things.
    """

    def __init__(
        self, config: uvicorn.Config, prepare: Callable[[], Coroutine[None, None, None]], announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._prepare = prepare
        self._announce = announce
        self._preparing: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOPPING)
        self._preparing = asyncio.create_task(self._prepare())
        await asyncio.wait([self._preparing])
        if self._preparing.cancelled():
            return
        self._preparing.result()
        await super().startup(sockets)
        if self.started:
            self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._preparing is not None:
            self._preparing.get_loop().call_soon_threadsafe(self._preparing.cancel)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logger.info("stopping; what is in flight has %d s to be answered", SHUTDOWN_TIMEOUT)
        await super().shutdown(sockets)


def run(settings: Settings, listening: socket.socket, *, embedded: bool, announce: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM, then answer what is in flight and return.

    Raises CannotServe, and whatever `prepare` does.
    """
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,
        access_log=False,
        server_header=False,
        ws="websockets-sansio",
        ws_per_message_deflate=False,
        ws_max_size=256 * 1024,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT,
    )
    running = _Server(config, lambda: prepare(settings, embedded=embedded), announce)
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)  # until uvicorn handles them
    try:
        running.run(sockets=[listening])
    except (KeyboardInterrupt, SystemExit):
        # uvicorn raises the signal again after it has stopped; after a failure it exits by itself.
        if running.should_exit and not running.started:
            raise
    if not running.started:
        raise CannotServe("the server could not start; the lines above say why")
    logger.info("stopped")


def _exit_on_sigterm() -> None:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that the embedded database is stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
