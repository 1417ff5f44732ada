"""Running the server: a bound socket, a database that is ready, and uvicorn between them."""

import gc
import logging
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from api.app import START_BACKOFF, START_BUDGET, create_admission, create_app, require_ready_database, web_identity
from api.database.embedded import embedded_postgres, running_embedded_url
from api.database.migrations import load_migrations, migrate, migrations_directory
from api.database.pool import TRANSACTION_TIMEOUT
from api.database.regions import Regions
from api.database.retry import run_again
from api.database.tokens import AuthTokens
from api.drops.sample import create_sample_drop
from api.hosts import UNNAMED, parse_hosts
from api.identity import gate
from api.identity.admission import Admission
from api.inlet import Inlet
from api.operator_token import make_operator_token
from api.protocol import BoundedHttp
from api.serving import SIGNALS_ALONE, ServingProcess
from api.settings import EMBEDDED_REGIONS, Settings, SocketTimes
from api.shared_figures import shared_folder
from api.signals import BrokenOff, end_as_signalled, hold_signals, release_signals, run_until_signal, unwind_on_signals
from api.websocket_protocol import BoundedWebSocket
from api.workers import Workers

logger = logging.getLogger("dropzero.server")

MAX_MESSAGE = 32 * 1024
"""Bytes of one websocket message. A document has 20,000 characters at most, the variables of a subscription 4 KB."""

OTHER_FILES = 1_000
"""Open files that are left for what is no websocket and no event stream: buyers' requests, and the database."""

UNREAD = 64 * 1024
"""Bytes that wait in the kernel for this process to read them, of each connection. The usual is up to 6 MB, which a
client that only sends fills at the speed of memory; the largest body has 256 kB."""

UNKEPT = OTHER_FILES // 2
"""Connections beyond those that may stay open. Each is closed after one answer, and the files that are then left are
for the database."""

LEAST_FILES = 64
"""Open files that a start needs. With fewer, the event loop or PostgreSQL ends it in words of its own."""

MAC_FILES = 10_240
"""Open files that macOS allows a process where it names no limit: it refuses to be asked for all (setrlimit(2))."""


class CannotServe(Exception):
    """The server cannot start; the message says why and what to do."""


def bind(host: str, port: int) -> socket.socket:
    """A bound socket, taken before anything slow begins. Raises CannotServe."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD)
        bound.bind(where)
        bound.listen(0)  # refuses what another process already listens on; uvicorn sets the real backlog
    except (OSError, OverflowError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotServe(f"cannot listen on {host}:{port}: {reason}; choose another with --port or --host") from None
    return bound


def address(listening: socket.socket) -> str:
    """The URL of a bound socket."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def reachable_as(host: str, settings: Settings) -> Settings:
    """The settings of a server that also answers to the host that it is bound to."""
    names: tuple[str, ...] = ()
    with suppress(ValueError):  # the system knows more spellings of an address than a browser ever sends
        names = parse_hosts(host)
    return replace(settings, hosts=(*settings.hosts, *names))


def warn_of_names(settings: Settings) -> None:
    """Log a warning when buyers need another name than that of this machine, and none is configured."""
    if not settings.embedded and not settings.hosts:
        logger.warning(UNNAMED)


@contextmanager
def database_to_serve(settings: Settings, workers: int) -> Iterator[Settings]:
    """Settings with endpoints to connect to, for the server, which owns the embedded database while it runs.

    Raises EmbeddedUnavailable, TokenNotKept, and KeyboardInterrupt on a signal that came while the database stopped.
    """
    unwind_on_signals()
    if settings.embedded:
        with _embedded(settings, workers) as url:
            yield settings.with_embedded(url, settings.admin_token or make_operator_token(settings.data_directory))
    else:
        yield settings
    release_signals()


@contextmanager
def database_to_visit(settings: Settings) -> Iterator[Settings]:
    """Settings with endpoints to connect to, for a command beside the server: those configured, the embedded
    database that a server is running, or else the embedded database started for this command alone.

    Raises EmbeddedUnavailable.
    """
    if not settings.embedded:
        yield settings
        return
    running = running_embedded_url(settings.data_directory)
    with nullcontext(running) if running is not None else _embedded(settings, workers=1) as url:
        yield settings.with_embedded(url, settings.admin_token)


def _embedded(settings: Settings, workers: int) -> AbstractContextManager[str]:
    """The embedded database with room for every connection of each Region and worker, and of commands beside them."""
    room = max(100, len(EMBEDDED_REGIONS) * workers * settings.connections + 20)
    return embedded_postgres(settings.data_directory, settings.commit_delay_ms, room)


async def prepare(settings: Settings, *, embedded: bool) -> None:
    """Make sure of the schema: the embedded database is brought up to date and given a sample drop; any other
    is only looked at. What a cut connection interrupts is done again within START_BUDGET. Raises StatementsLost,
    SchemaBehind, MigrationError, RightsMissing, Unavailable."""
    again = partial(run_again, budget=START_BUDGET, safe_after_lost_commit=True, backoff=START_BACKOFF)
    tokens = AuthTokens(web_identity(settings))
    async with Regions(settings.endpoints, connections=1, tokens=tokens, times=settings.region_times) as regions:
        if embedded:
            await again(partial(migrate, regions.home, load_migrations(migrations_directory())))
        schema = await require_ready_database(regions)
        if schema.ahead:
            logger.warning("serving a database that is ahead: it has %s of a newer version", ", ".join(schema.ahead))
        if not embedded:
            return
        sample = await again(partial(create_sample_drop, regions))
        if sample is not None:
            logger.info("created the sample drop %s: %d x %s", sample.drop_name, sample.stock, sample.name)


def run(
    settings: Settings, listening: socket.socket, workers: int, *, embedded: bool, announce: Callable[[], None]
) -> None:
    """Serve until SIGINT or SIGTERM, then answer what is in flight and return. Signals are held by then.

    Raises CannotServe, BrokenOff on a second SIGINT, and whatever `prepare` does.
    """
    most = max(1, raise_file_limit() - OTHER_FILES)
    settings = _with_sockets(settings, most)
    try:
        with figures_folder() if workers > 1 else nullcontext() as figures:
            make_app = partial(_process_app, settings, figures)
            config = uvicorn_config(settings, make_app, workers, most)
            started = (_run_workers if workers > 1 else _run_here)(config, settings, listening, embedded, announce)
    except BrokenOff as end:
        logger.warning("%s: what was in flight is broken off", end)
        raise
    finally:
        hold_signals()
        unwind_on_signals()
    if not started:
        raise CannotServe("the server could not start; the lines above say why")
    logger.info("stopped")


def uvicorn_config(
    settings: Settings, make_app: Callable[[Admission], Starlette], workers: int = 1, most: float = math.inf
) -> uvicorn.Config:
    """How uvicorn serves the application that `make_app` makes, once in each worker process, which keeps connections
    for a next request while it has no more than `most`."""
    times = settings.socket_times
    admission = create_admission(settings, most + UNKEPT)
    return uvicorn.Config(
        partial(make_app, admission),
        factory=True,
        workers=workers,
        http=partial(_connection, times, admission, most),  # type: ignore[arg-type]  # called as the class would be
        ws=partial(BoundedWebSocket, times, admission),  # type: ignore[arg-type]
        ws_ping_interval=times.ping,
        ws_ping_timeout=times.ping,
        ws_per_message_deflate=False,
        ws_max_size=MAX_MESSAGE,
        proxy_headers=False,  # Clients reads X-Forwarded-For, of trusted proxies alone
        log_config=None,
        access_log=False,
        server_header=False,
        # In every answer, those that uvicorn itself gives to broken requests included.
        headers=[("x-content-type-options", "nosniff")],
        timeout_keep_alive=times.keep_alive,  # type: ignore[arg-type]  # uvicorn hands it to call_later
        timeout_graceful_shutdown=shutdown_timeout(settings),
    )


def _connection(times: SocketTimes, admission: Admission, most_kept: float, **named: Any) -> Inlet:
    """The protocol of a new connection."""
    return Inlet(BoundedHttp(times, admission, most_kept, **named), admission)


def _run_here(
    config: uvicorn.Config, settings: Settings, listening: socket.socket, embedded: bool, announce: Callable[[], None]
) -> bool:
    running = ServingProcess(
        config, settings.drain, SIGNALS_ALONE, lambda: prepare(settings, embedded=embedded), announce
    )
    hold_signals()  # until the server handles them
    with suppress(SystemExit):  # uvicorn's, after a failure
        running.run(sockets=[listening])
    return _has_started(running)


def _run_workers(
    config: uvicorn.Config, settings: Settings, listening: socket.socket, embedded: bool, announce: Callable[[], None]
) -> bool:
    run_until_signal(lambda: prepare(settings, embedded=embedded))
    running = Workers(config, listening, settings.drain, announce)
    running.run()
    return _has_started(running)


def _has_started(running: ServingProcess | Workers) -> bool:
    """Whether the server accepted connections. A signal that kept it from that ends the command."""
    if running.signalled is not None and not running.started:
        end_as_signalled(running.signalled)
    return running.started


@contextmanager
def figures_folder() -> Iterator[Path]:
    """A folder for the figures of worker processes, until the block is left. Raises CannotServe."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(shared_folder())
        except OSError as error:
            raise CannotServe(
                f"workers need a temporary folder for their figures: {error}; set TMPDIR to one that can be written"
            ) from None
        yield folder


def shutdown_timeout(settings: Settings) -> int:
    """Seconds that requests in flight are given when the server stops: a purchase may wait before it begins, then in
    line until its deadline, and then be in a transaction that is answered, or not, by its COMMIT."""
    transaction = TRANSACTION_TIMEOUT + settings.region_times.pool.commit
    return math.ceil(gate.PATIENCE + settings.budget.seconds + transaction) + 2


def require_files() -> None:
    """Raise the limit of open files as far as the system lets us. Raises CannotServe when that is not far enough."""
    most = raise_file_limit()
    if most < LEAST_FILES:
        raise CannotServe(f"this process may open {most:g} files, and needs {LEAST_FILES}; raise the limit (ulimit -n)")


def raise_file_limit() -> float:
    """Allow as many open files as the system lets us, and return how many: every buyer's connection is one, and the
    usual limit is 1,024."""
    try:
        import resource
    except ImportError:  # not on Windows
        return math.inf
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(soft, MAC_FILES) if hard == resource.RLIM_INFINITY else hard
    if soft != most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def _with_sockets(settings: Settings, most: float) -> Settings:
    """The settings with no more sockets than `most`."""
    if most >= settings.sockets:
        return settings
    logger.info("%d sockets can stay open, not %d: the system's limit is ulimit -Hn", most, settings.sockets)
    return replace(settings, sockets=int(most))


def _process_app(settings: Settings, figures: Path | None, admission: Admission) -> Starlette:
    """The application of one process that serves, whose garbage collector is to leave the start-up heap alone.
    `figures` is the folder that it shares with other workers.

    A purchase leaves no reference cycles, and its objects come and go in groups of hundreds: with the usual thresholds
    a sixth of the time under load goes into looking for what is not there.
    """
    configure_logging()
    app = create_app(settings, admission, figures)
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    return app


def configure_logging() -> None:
    """One line for each event, on stderr; uvicorn's own from warnings on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
