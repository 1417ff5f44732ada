"""One process that serves: what it does before it takes connections, and how it leaves without losing a request."""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import FrameType

import uvicorn

from api.app import DRAINING
from api.protocol import CLOSING, BoundedHttp

logger = logging.getLogger("dropzero.server")

LINGER = 2.0
"""Seconds that open connections are given, after the listening socket has closed, for a request that is on its way.
It is one turn of a load balancer's event loop and one round trip, with much to spare."""

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class ServingProcess(uvicorn.Server):
    """uvicorn's server, which prepares before it accepts connections, announces when it does, and drains when SIGTERM
    comes: it goes on as it was for `drain` seconds, but /readyz answers 503 and each answer closes its connection.

    All of it happens under uvicorn's own handling of SIGINT and SIGTERM, which raises nothing in the midst of things.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: float,
        cut_short_by: frozenset[signal.Signals],
        prepare: Callable[[], Coroutine[None, None, None]],
        announce: Callable[[], None],
    ) -> None:
        """`drain` in seconds; 0 stops at once. `cut_short_by`: the signals that end a drain before its time."""
        super().__init__(config)
        self._drain = drain
        self._cut_short_by = cut_short_by
        self._prepare = prepare
        self._announce = announce
        self._preparing: asyncio.Task[None] | None = None
        self._draining = False
        self._drained: asyncio.TimerHandle | None = None
        self._gently = False
        self._hurried = False

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
        if sig == signal.SIGTERM and self._drain and self.started and not self.should_exit and self._preparing:
            if not self._draining:
                self._draining = True
                self._captured_signals.append(sig)
                self._preparing.get_loop().call_soon_threadsafe(self._begin_draining)
                return
            if sig not in self._cut_short_by:
                return
        self._hurried = self.should_exit or self._draining
        super().handle_exit(sig, frame)
        if self._preparing is not None:
            self._preparing.get_loop().call_soon_threadsafe(self._preparing.cancel)

    def retire(self, sig: int, frame: FrameType | None) -> None:
        """Handle the signal of a supervisor that has another process at the same listening socket: stop taking
        connections at once and let the open ones go gently. The service as a whole stays ready."""
        self._gently = True
        self.should_exit = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._drained is not None:
            self._drained.cancel()
        if self._gently:
            await self._let_go(sockets or [])
        logger.info("stopping; what is in flight has %d s to be answered", self.config.timeout_graceful_shutdown)
        await super().shutdown(sockets)

    def _begin_draining(self) -> None:
        logger.info(
            "draining for %g s: /readyz answers 503, and each answer closes its connection; "
            "a second SIGTERM, or Ctrl-C, stops at once",
            self._drain,
        )
        self.lifespan.state[DRAINING] = True
        self._close_after_answers()
        self._drained = asyncio.get_running_loop().call_later(self._drain, self._end_draining)

    def _end_draining(self) -> None:
        self._gently = True
        self.should_exit = True

    async def _let_go(self, sockets: list[socket.socket]) -> None:
        """Stop listening, and answer what comes on open connections until none waits for a request, or for LINGER s."""
        self._close_after_answers()
        await self._stop_listening(sockets)
        logger.info("no more connections are taken; requests on open ones have %g s to arrive", LINGER)
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                # uvicorn waits in the same way for the end of its connections, which sets no event.
                while self._waiting_connections() and not self._hurried:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    def _close_after_answers(self) -> None:
        self.lifespan.state[CLOSING] = True
        for connection in self.server_state.connections:
            if isinstance(connection, BoundedHttp):
                connection.close_after_answer()

    def _waiting_connections(self) -> bool:
        return any(
            isinstance(connection, BoundedHttp) and connection.idle for connection in self.server_state.connections
        )

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Accept the connections that wait in the kernel, which would be reset otherwise, and close the sockets."""
        accepted: list[socket.socket] = []
        for listening in sockets:
            listening.setblocking(False)
            with suppress(OSError):  # BlockingIOError when none waits
                while True:
                    accepted.append(listening.accept()[0])
        for server in self.servers:
            server.close()
        for listening in sockets:
            listening.close()
        loop = asyncio.get_running_loop()
        for connection in accepted:
            connection.setblocking(False)
            with suppress(OSError):  # its client has left meanwhile
                await loop.connect_accepted_socket(self._make_protocol, connection)

    def _make_protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn calls it
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )
