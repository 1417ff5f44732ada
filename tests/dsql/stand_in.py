"""One regional endpoint of the stand-in: where it listens, and everything that can be made to go wrong there."""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from tests.dsql.certificates import HOST, Authority
from tests.dsql.wire import Refusal, Refused

Serve = Callable[["StandIn", asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def utc_now() -> datetime:
    return datetime.now(UTC)


def _tcp_socket() -> socket.socket:
    # The protocol is named because asyncio switches Nagle's algorithm off only where it is.
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)


class StandIn:
    """Attributes are faults, to be set at any time. A count is used up by the faults that it causes; times in seconds.

    At a COMMIT, which here is that of a statement without BEGIN too, if it writes:
    `conflicts`: COMMITs that lose to a rival (40001, OC000); nothing of them is written.
    `cut_before_commit`: connections to lose when a COMMIT is on its way, so that it is never done.
    `cut_after_commit`: connections to lose when a COMMIT was done, so that its answer never arrives.
    `hang_at_commit`: COMMITs that are never done on connections that stay open.
    `internal_before_commit`: COMMITs that are not done, and answered with an internal error (XX000).
    `internal_after_commit`: COMMITs that are done, and answered with one all the same.
    `commit_latency`: what a COMMIT takes, before it is decided.

    At any other statement, BEGIN among them:
    `internal_errors`: how many are answered with an internal error (XX000).
    `statement_latency`: what every one but BEGIN takes.
    `transaction_age`: the longest that a transaction may last.

    At a step of a client, which is a new connection, a statement to prepare, and one to execute, BEGIN included:
    `failing_steps`: by their number, see `steps`, the SQLSTATE that they are refused with, None to lose the connection.

    At a new connection:
    `refusing`: say that there are too many.
    `waking_up`: how many are told to come back later.
    `expired_tokens`: how many tokens are found to be expired, whatever they say.
    `revoked`: database roles that IAM lets nobody log in as.
    `max_age`: how long it lives once it is open; it is then dropped without a word.
    `tls`: what is presented; see Authority.
    `clock`: what time it is, for a token.

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
        self.waking_up = 0
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
        # The one that never listens keeps the port while the endpoint is down.
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
        """Whether this fault is to happen now; one of its count is then used up."""
        left: int = getattr(self, fault)
        if left:
            setattr(self, fault, left - 1)
        return left > 0

    def step(self) -> None:
        """Count a step, and let it fail if it is to. Raises ConnectionError, Refused."""
        self.steps += 1
        if self.steps in self.failing_steps:
            sqlstate = self.failing_steps.pop(self.steps)
            if sqlstate is None:
                raise ConnectionResetError("cut at a step")
            raise Refused(Refusal(sqlstate, "failed at a step"))

    def hang(self) -> None:
        """Answer nothing from now on, on open connections and on new ones."""
        self._flowing.clear()

    @property
    def is_hanging(self) -> bool:
        return not self._flowing.is_set()

    def release(self) -> None:
        """Go on where `hang` stopped."""
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
        """Lose every open connection without a word, as at the end of their lives."""
        for writer in self._writers:
            _abort(writer)

    def down(self) -> None:
        """Lose every open connection, and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop()

    async def close(self) -> None:
        """End for good. Raises what went wrong in the stand-in itself."""
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
            pass  # the client went away, or a fault says that it is to be cut off
        finally:
            self.connections_open -= 1
            _abort(writer)
            self._writers.discard(writer)


def _abort(writer: asyncio.StreamWriter) -> None:
    if writer.transport is not None:  # as it is for a moment, when a client went away during the TLS handshake
        writer.transport.abort()
