"""One regional endpoint of the stand-in: where it listens, and the faults that a test can cause there."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from tests.dsql.certificates import HOST, Authority
from tests.dsql.wire import Refusal, Refused
from tests.listener import stop_listening

Serve = Callable[["StandIn", asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def utc_now() -> datetime:
    return datetime.now(UTC)


def _tcp_socket() -> socket.socket:
    # asyncio switches Nagle's algorithm off only for a socket whose protocol is named.
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)


class StandIn:
    """Attributes are faults, to be set at any time. Each fault lowers its count by one. Times are in seconds.

    At a COMMIT, also that of a statement without BEGIN that writes:
    `conflicts`: COMMITs that are answered with a conflict (40001, OC000), and write nothing.
    `cut_before_commit`: connections to drop when a COMMIT arrives, before it is done.
    `cut_after_commit`: connections to drop when a COMMIT is done, before its answer.
    `hang_at_commit`: COMMITs that are never done or answered, on connections that stay open.
    `internal_before_commit`: COMMITs that are not done, and answered with an internal error (XX000).
    `internal_after_commit`: COMMITs that are done, and answered with the same error.
    `commit_latency`: before a COMMIT is decided.

    At any other statement, BEGIN included:
    `internal_errors`: how many are answered with an internal error (XX000).
    `statement_latency`: of every statement but BEGIN.
    `transaction_age`: the longest that a transaction may last.

    At a step of a client: a new connection, a statement to prepare, a statement to execute, BEGIN included:
    `failing_steps`: the SQLSTATEs that steps are refused with, by the steps' numbers. None drops the connection.

    At a new connection:
    `refusing`: whether it is refused as one too many.
    `rate_exceeded`: how many are refused because too many were opened in this second.
    `waking_up`: how many are refused because the cluster wakes up.
    `internal_at_login`: how many are refused with an internal error (XX000).
    `expired_tokens`: how many tokens count as expired, whatever their time.
    `revoked`: database roles whose logins IAM refuses.
    `max_age`: after that time an open connection is dropped without a message.
    `tls`: the context with the certificate; see Authority.
    `clock`: the time that tokens are checked by.

    The endpoint as a whole: `hang` and `release`, `drop`, `down` and `up`.
    """

    def __init__(self, region: str | None, authority: Authority, serve: Serve) -> None:
        self.region = region
        self._authority = authority
        self._serve = serve

        self.conflicts = 0
        self.cut_before_commit = 0
        self.cut_after_commit = 0
        self.hang_at_commit = 0
        self.internal_before_commit = 0
        self.internal_after_commit = 0
        self.internal_errors = 0
        self.commit_latency = 0.0
        self.statement_latency = 0.0
        self.transaction_age = 300.0
        self.failing_steps: dict[int, str | None] = {}
        self.refusing = False
        self.rate_exceeded = 0
        self.waking_up = 0
        self.internal_at_login = 0
        self.expired_tokens = 0
        self.revoked: set[str] = set()
        self.max_age = 3600.0
        self.tls: ssl.SSLContext = authority.tls
        self.clock: Callable[[], datetime] = utc_now

        self.commit_arrived = asyncio.Event()
        self.connections_opened = 0
        self.connections_open = 0
        self.statements = 0
        self.steps = 0
        self.commits = 0

        self._flowing = asyncio.Event()
        self._flowing.set()
        # This socket never listens: it keeps the port while the endpoint is down.
        self._placeholder = _tcp_socket()
        self._placeholder.bind(("127.0.0.1", 0))
        self._placeholder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.port: int = self._placeholder.getsockname()[1]
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return self.url_as("app")

    def url_as(self, role: str) -> str:
        return f"dsql://{role}@{HOST}:{self.port}/postgres?sslrootcert={self._authority.file}"

    def take(self, fault: str) -> bool:
        """Whether this fault is to happen now. Lowers its count by one."""
        left: int = getattr(self, fault)
        if left:
            setattr(self, fault, left - 1)
        return left > 0

    def step(self) -> None:
        """Count a step. Raises ConnectionError or Refused if it is to fail."""
        self.steps += 1
        if self.steps in self.failing_steps:
            sqlstate = self.failing_steps.pop(self.steps)
            if sqlstate is None:
                raise ConnectionResetError("cut at a step")
            raise Refused(Refusal(sqlstate, "failed at a step"))

    def hang(self) -> None:
        """Send no answer from now on, on open connections and on new ones."""
        self._flowing.clear()

    @property
    def is_hanging(self) -> bool:
        return not self._flowing.is_set()

    def release(self) -> None:
        """End a `hang`: send the answers that waited."""
        self._flowing.set()

    async def flowing(self) -> None:
        await self._flowing.wait()

    async def up(self) -> None:
        """Listen."""
        listening = _tcp_socket()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind(("127.0.0.1", self.port))
        self._server = await asyncio.start_server(self._accept, sock=listening)

    def drop(self) -> None:
        """Drop every open connection without a message, as after `max_age`."""
        for writer in self._writers:
            _abort(writer)

    def down(self) -> None:
        """Drop every open connection, and refuse new ones."""
        if self._server is not None:
            stop_listening(self._server)
            self._server = None
        self.drop()

    async def close(self) -> None:
        """Close the endpoint for good. Raises an error of the stand-in itself."""
        self.down()
        self._placeholder.close()
        for task in self._tasks:
            task.cancel()
        for result in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._server is None:  # it went down between the connection and this call
            _abort(writer)
            return
        self._writers.add(writer)
        task = asyncio.get_running_loop().create_task(self._connection(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled() or task.exception() is None:  # a defect is kept for `close`
            self._tasks.discard(task)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections_opened += 1
        self.connections_open += 1
        try:
            await self._serve(self, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client disconnected, or a fault drops its connection
        finally:
            self.connections_open -= 1
            _abort(writer)
            self._writers.discard(writer)


def _abort(writer: asyncio.StreamWriter) -> None:
    if writer.transport is not None:  # it is None for a moment if a client disconnected during the TLS handshake
        writer.transport.abort()
