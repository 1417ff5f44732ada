"""One process that serves: prepares, accepts connections, drains, and stops without losing a request.

It borrows the parts of uvicorn's Server, until uvicorn can drain and leaves signals to its caller.
tests/test_borrowed.py lists every name.
"""

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import IntEnum
from types import FrameType

import uvicorn

from api.health import DRAINING
from api.http_protocol import CLOSING, BoundedHttp
from api.open_files import OpenFiles
from api.signals import BrokenOff, hold_signals, release_signals

logger = logging.getLogger("dropzero.server")

LINGER = 2.0
"""Seconds that open connections stay open after the listening socket has closed, for requests that are on their way. A
request takes one turn of a load balancer's event loop and one round trip, much less than this."""


ACCEPTED_IN_ROUND = 16
"""Connections that are accepted in one round of the event loop, at most. uvloop accepts one connection for each
listening socket in a round (libuv 1.52). When a drop opens, a round takes 2 ms and more, so that the last of 1,000
connections waited 2 s to be accepted (measured on 2 shared cores). Workers share it: one of two that took sixteen at a
time had nearly all of 50 connections, and the other none."""


class Stage(IntEnum):
    """How far a process is, from its start to its end."""

    STARTING = 0
    SERVING = 1
    LEAVING = 2
    """It drains, or is retired: it answers every request, and closes each connection after an answer."""
    STOPPING = 3
    """It answers what is in flight, and nothing else."""


class ServingProcess(uvicorn.Server):
    """uvicorn's server, with a preparation before it accepts connections, an announcement when it does, and a drain.
    During the drain /readyz answers 503, and each answer closes its connection.

    Its signal handlers raise nothing: an exception could interrupt any line of code.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        drain: float,
        actions: Mapping[signal.Signals, Callable[["ServingProcess"], None]],
        prepare: Callable[[], Coroutine[None, None, None]],
        announce: Callable[[], None],
    ) -> None:
        """`drain` in seconds; 0 for a server that does not drain. `actions`: what each signal does."""
        super().__init__(config)
        self._drain = drain
        self._actions = actions
        self._prepare = prepare
        self._announce = announce
        self._preparing: asyncio.Task[None] | None = None
        self._end_of_drain: asyncio.TimerHandle | None = None
        self._broken_off = False
        self._open_files = OpenFiles()
        self._runner = asyncio.Runner(loop_factory=config.get_loop_factory())
        self.stage = Stage.STARTING
        self.signalled: int | None = None
        """The first signal that arrived."""

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until a signal, and return with SIGINT and SIGTERM held. Raises BrokenOff."""
        try:
            self._runner.run(self.serve(sockets))
        except RuntimeError:
            if not self._broken_off:  # by break_off, which stops the loop
                raise
        finally:
            hold_signals()
            if self._broken_off:
                raise BrokenOff(self._runner)
            self._runner.close()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals from here on. `run` holds them once the server has ended."""
        for number in self._actions:
            signal.signal(number, self.handle_exit)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.signalled is None:
            self.signalled = sig
        self._actions[signal.Signals(sig)](self)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        release_signals()
        self._preparing = asyncio.create_task(self._prepare())
        await asyncio.wait([self._preparing])
        if self._preparing.cancelled():
            return
        self._preparing.result()
        accepted = max(1, ACCEPTED_IN_ROUND // self.config.workers**2)
        await super().startup([*(sockets or []), *_copies(sockets or [], accepted - 1)])
        if self.started:
            if self.stage is Stage.STARTING:
                self.stage = Stage.SERVING
            self._announce()

    async def on_tick(self, counter: int) -> bool:
        """Check for free files once a second: uvicorn calls this ten times a second."""
        if counter % 10 == 0:
            self._open_files.check()
        return await super().on_tick(counter)

    def drain(self) -> None:
        """Drain, then stop. Stops at once where no drain is configured, and does nothing in a process that already
        ends."""
        if self.stage is Stage.SERVING and self._drain:
            self.stage = Stage.LEAVING
            self._runner.get_loop().call_soon_threadsafe(self._begin_draining)
        elif self.stage < Stage.LEAVING:
            self.stop()

    def retire(self) -> None:
        """Stop listening at once, and close each open connection after its next answer. For a process that another has
        replaced at the same listening socket: the service as a whole stays ready."""
        if self.stage is Stage.SERVING:
            self.stage = Stage.LEAVING
            self.should_exit = True
        elif self.stage < Stage.LEAVING:
            self.stop()

    def stop(self) -> None:
        """Answer what is in flight, and end. Skips the rest of a drain."""
        self.stage = Stage.STOPPING
        self.should_exit = True
        if self._preparing is not None and not self._preparing.done():
            self._runner.get_loop().call_soon_threadsafe(self._preparing.cancel)

    def break_off(self) -> None:
        """Close every connection, and stop the event loop without waiting for its tasks."""
        if not self._broken_off:
            self._broken_off = True
            self._runner.get_loop().call_soon_threadsafe(self._stop_loop)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._end_of_drain is not None:
            self._end_of_drain.cancel()
        if self.stage is Stage.LEAVING:
            await self._finish_connections(sockets or [])
        self.stage = Stage.STOPPING
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
        self._end_of_drain = asyncio.get_running_loop().call_later(self._drain, self._end_draining)

    def _end_draining(self) -> None:
        self.should_exit = True

    async def _finish_connections(self, sockets: list[socket.socket]) -> None:
        """Stop listening, and answer requests on open connections until none is idle, for LINGER seconds at most."""
        self._close_after_answers()
        await self._stop_listening(sockets)
        logger.info("no more connections are taken; requests on open ones have %g s to arrive", LINGER)
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                # uvicorn too waits so for its connections to close, for which there is no event.
                while self._has_idle_connections() and self.stage is Stage.LEAVING:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    def _close_after_answers(self) -> None:
        self.lifespan.state[CLOSING] = True
        for connection in self.server_state.connections:
            if isinstance(connection, BoundedHttp):
                connection.close_after_answer()

    def _has_idle_connections(self) -> bool:
        return any(
            isinstance(connection, BoundedHttp) and connection.idle for connection in self.server_state.connections
        )

    async def _stop_listening(self, sockets: list[socket.socket]) -> None:
        """Accept the connections that wait in the kernel, which would otherwise be reset, and close the listening
        sockets."""
        kept = [listening.dup() for listening in sockets]
        for server in self.servers:
            server.close()
        for listening in sockets:
            listening.close()
        await asyncio.sleep(0)  # uvloop closes its handles in the next round, and accepts nothing until then
        accepted: list[socket.socket] = []
        for listening in kept:
            listening.setblocking(False)
            with suppress(OSError):  # such as BlockingIOError, when none waits
                while True:
                    accepted.append(listening.accept()[0])
            listening.close()
        loop = asyncio.get_running_loop()
        for connection in accepted:
            connection.setblocking(False)
            with suppress(OSError):  # its client has disconnected meanwhile
                await loop.connect_accepted_socket(self._make_protocol, connection)

    def _make_protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn calls it
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            _loop=asyncio.get_running_loop(),
        )

    def _stop_loop(self) -> None:
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        loop = self._runner.get_loop()
        loop.call_soon(loop.stop)  # after the last calls of the connections


def _copies(sockets: list[socket.socket], number: int) -> list[socket.socket]:
    """So many copies of each listening socket, that let as many more connections be accepted in a round.

    A copy takes over whether its original blocks, and all workers have that setting in common. In a worker that is
    being started the originals would block, and another worker would stand still in accept() until a connection came.
    """
    for listening in sockets:
        listening.setblocking(False)
    return [listening.dup() for listening in sockets for _ in range(number)]


def _drain_or_stop(serving: ServingProcess) -> None:
    if serving.stage is Stage.LEAVING:
        serving.stop()
    else:
        serving.drain()


def _stop_or_break_off(serving: ServingProcess) -> None:
    if serving.stage is Stage.STOPPING:
        serving.break_off()
    else:
        serving.stop()


SINGLE_PROCESS_ACTIONS = {signal.SIGTERM: _drain_or_stop, signal.SIGINT: _stop_or_break_off}
"""What signals do to a server of one process. However often SIGTERM arrives, it breaks nothing off: some supervisors
send it to a whole group of processes, each of which passes it on."""
