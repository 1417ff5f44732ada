"""`dropzero serve`, called by `api/cli.py`: binds a socket and serves the application of `api/app.py` at it, with
uvicorn.

It relies on something that uvicorn's types do not allow: the protocol classes may be any callable. The classes
themselves are in `http_protocol.py`, `websocket_protocol.py`, `serving.py` and `workers.py`.
"""

import logging
import math
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from api.app import create_admission, create_app
from api.database.pool import TRANSACTION_TIMEOUT
from api.hosts import UNNAMED, parse_hosts
from api.http_protocol import BoundedHttp
from api.identity import gate
from api.identity.admission import Admission
from api.inlet import Inlet
from api.metrics.shared_figures import shared_folder
from api.process import CannotServe, configure_logging, raise_file_limit, tune_garbage_collector
from api.serving import SINGLE_PROCESS_ACTIONS, ServingProcess
from api.settings import Settings, SocketTimes
from api.signals import BrokenOff, end_as_signalled, hold_signals, run_until_signal, unwind_on_signals
from api.startup import prepare
from api.websocket_pings import WebsocketPings
from api.websocket_protocol import BoundedWebSocket
from api.workers import Workers

logger = logging.getLogger("dropzero.server")

MAX_MESSAGE = 32 * 1024
"""Bytes of one websocket message. A document has 20,000 characters at most, the variables of a subscription 4 KB."""

OTHER_FILES = 1_000
"""Open files left for connections that are neither websockets nor event streams: buyers' requests, the database."""

UNREAD = 64 * 1024
"""Bytes of each connection that the kernel keeps until this process reads them. Its default is up to 6 MB, which a
client that only sends fills at the speed of memory. The largest body has 256 kB."""

UNKEPT = OTHER_FILES // 2
"""Connections beyond those that may stay open. Each of them is closed after one answer. The other half of OTHER_FILES
is left for the database."""


def bind(host: str, port: int) -> socket.socket:
    """Bind a socket, before anything slow begins. Raises CannotServe."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD)
        bound.bind(where)
        bound.listen(0)  # fails where another process listens already; uvicorn sets the real backlog
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
    with suppress(ValueError):  # getaddrinfo knows more spellings of an address than browsers send
        names = parse_hosts(host)
    return replace(settings, hosts=(*settings.hosts, *names))


def warn_of_names(settings: Settings) -> None:
    """Log a warning when a server for buyers has no host names configured."""
    if not settings.embedded and not settings.hosts:
        logger.warning(UNNAMED)


def run(
    settings: Settings, listening: socket.socket, workers: int, *, embedded: bool, announce: Callable[[], None]
) -> None:
    """Serve until SIGINT or SIGTERM, answer what is in flight, and return with signals held.

    Raises CannotServe, BrokenOff on a second SIGINT, and what `prepare` raises.
    """
    most = max(1, raise_file_limit() - OTHER_FILES)
    settings = _with_sockets(settings, most)
    try:
        with figures_folder() if workers > 1 else nullcontext() as figures:
            make_app = partial(_process_app, settings, figures)
            config = uvicorn_config(settings, make_app, workers, most)
            started = (_run_workers if workers > 1 else _run_here)(config, settings, listening, embedded, announce)
    except BrokenOff as end:
        logger.warning(
            "%s: what was in flight is broken off; buyers who send the same idempotencyKey again find their orders",
            end,
        )
        raise
    finally:
        hold_signals()
        unwind_on_signals()
    if not started:
        raise CannotServe("the server could not start; the lines above say why")
    logger.info("stopped")


def uvicorn_config(
    settings: Settings, make_app: Callable[[Admission], ASGIApp], workers: int = 1, most: float = math.inf
) -> uvicorn.Config:
    """uvicorn's configuration, to serve the application that `make_app` makes once in each worker process. A process
    keeps connections for a next request while it has no more than `most`."""
    times = settings.socket_times
    admission = create_admission(settings, most + UNKEPT)
    return uvicorn.Config(
        partial(make_app, admission),
        factory=True,
        interface="asgi3",  # uvicorn would take an application for an older one whose call is no coroutine function
        workers=workers,
        http=partial(_connection, times, admission, most),  # type: ignore[arg-type]  # called as a class is
        ws=partial(BoundedWebSocket, times, admission, WebsocketPings(times.ping)),  # type: ignore[arg-type]
        ws_ping_interval=None,  # WebsocketPings has one timer for all sockets
        ws_per_message_deflate=False,
        ws_max_size=MAX_MESSAGE,
        proxy_headers=False,  # Clients reads X-Forwarded-For, but only of trusted proxies
        log_config=None,
        access_log=False,
        server_header=False,
        # In every answer, also in those of uvicorn itself to broken requests.
        headers=[("x-content-type-options", "nosniff")],
        timeout_graceful_shutdown=shutdown_timeout(settings),
    )


def _connection(times: SocketTimes, admission: Admission, most_kept: float, **named: Any) -> Inlet:
    """The protocol of a new connection."""
    return Inlet(BoundedHttp(times, admission, most_kept, **named), admission)


def _run_here(
    config: uvicorn.Config, settings: Settings, listening: socket.socket, embedded: bool, announce: Callable[[], None]
) -> bool:
    running = ServingProcess(
        config, settings.drain, SINGLE_PROCESS_ACTIONS, lambda: prepare(settings, embedded=embedded), announce
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
    """Whether the server accepted connections. If a signal came before, it ends the command here."""
    if running.signalled is not None and not running.started:
        end_as_signalled(running.signalled)
    return running.started


@contextmanager
def figures_folder() -> Iterator[Path]:
    """Make a folder for the figures of worker processes, until the block is left. Raises CannotServe."""
    with ExitStack() as stack:
        try:
            folder = stack.enter_context(shared_folder())
        except OSError as error:
            raise CannotServe(
                f"workers need a temporary folder for their figures: {error}; set TMPDIR to one that can be written"
            ) from None
        yield folder


def shutdown_timeout(settings: Settings) -> int:
    """Seconds that requests in flight have when the server stops. A purchase may wait at the gate, then in line until
    its deadline, and then for its transaction and the answer to its COMMIT."""
    transaction = TRANSACTION_TIMEOUT + settings.region_times.pool.commit
    return math.ceil(gate.PATIENCE + settings.budget.seconds + transaction) + 2


def _with_sockets(settings: Settings, most: float) -> Settings:
    """The settings, with `most` sockets where they have more."""
    if most >= settings.sockets:
        return settings
    logger.info("%d sockets can stay open, not %d: the system's limit is ulimit -Hn", most, settings.sockets)
    return replace(settings, sockets=int(most))


def _process_app(settings: Settings, figures: Path | None, admission: Admission) -> ASGIApp:
    """Make the application of one process that serves. `figures` is the folder that it shares with other workers."""
    configure_logging(json=settings.json_log)
    app = create_app(settings, admission, figures)
    tune_garbage_collector()
    return app
