"""How the server stops: the first signal lets it answer what is in flight, a second Ctrl-C breaks that off.

From the first raise or the end of serving on, signals wait until the embedded database has stopped, so that nothing
interrupts what stops it.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from socket import socket
from types import FrameType
from typing import NoReturn

import uvicorn

logger = logging.getLogger("dropzero.server")

STOPPING = (signal.SIGINT, signal.SIGTERM)


class BrokenOff(Exception):
    """A second Ctrl-C ended the server; what is left is to end the process with os._exit.

    Keep the exception until then. It holds the event loop, whose tasks do not run again: were they cancelled or
    collected, each would run its cleanup and write why it ended.
    """

    def __init__(self, runner: asyncio.Runner | None = None) -> None:
        super().__init__("the server was told to stop a second time")
        self.runner = runner


def hold_signals() -> None:
    """Let SIGINT and SIGTERM wait, until `release_signals` or the end of the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPPING)


def release_signals() -> None:
    """Let SIGINT and SIGTERM through again; one that waited is handled now."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPING)


def unwind_on_signals() -> None:
    """Let SIGINT and SIGTERM unwind the stack, so that the embedded database is stopped."""
    for number in STOPPING:
        signal.signal(number, _unwind)


def _unwind(number: int, frame: FrameType | None) -> None:
    hold_signals()  # a second one would interrupt the unwinding
    end_as_signalled(number)


def end_as_signalled(number: int) -> NoReturn:
    """End a command as the signal is expected to: SIGINT with status 130, SIGTERM with 0."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    sys.exit(0)


def run_until_signal(main: Callable[[], Coroutine[None, None, None]]) -> None:
    """Run a coroutine function to its end. A signal cancels it, and then ends the command."""
    signals: list[int] = []

    async def run() -> None:
        task = asyncio.create_task(main())
        loop = asyncio.get_running_loop()

        def stop(number: int, frame: FrameType | None) -> None:
            signals.append(number)
            loop.call_soon_threadsafe(task.cancel)

        for number in STOPPING:
            signal.signal(number, stop)
        await asyncio.wait([task])
        unwind_on_signals()
        if not signals:
            task.result()

    asyncio.run(run())
    if signals:
        end_as_signalled(signals[0])


class Server(uvicorn.Server):
    """uvicorn's server with something to do before it accepts connections, and something to say when it does.

    Its handlers of SIGINT and SIGTERM raise nothing. The first signal stops the server; SIGINT after that breaks off
    what is in flight. SIGTERM after that does not: some supervisors send it to a whole group of processes that each
    pass it on.
    """

    def __init__(
        self, config: uvicorn.Config, prepare: Callable[[], Coroutine[None, None, None]], announce: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._prepare = prepare
        self._announce = announce
        self._preparing: asyncio.Task[None] | None = None
        self._runner = asyncio.Runner(loop_factory=config.get_loop_factory())
        self._broken_off = False
        self.signalled: int | None = None
        """The signal that stops the server."""

    def run(self, sockets: list[socket] | None = None) -> None:
        """Serve until a signal, and leave signals held. Raises BrokenOff."""
        try:
            self._runner.run(self.serve(sockets))
        except RuntimeError:
            if not self._broken_off:  # that the loop was stopped
                raise
        finally:
            hold_signals()
            if self._broken_off:
                raise BrokenOff(self._runner)
            self._runner.close()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals from here on. They are held when the handlers are no longer of use."""
        for number in STOPPING:
            signal.signal(number, self.handle_exit)
        yield

    async def startup(self, sockets: list[socket] | None = None) -> None:
        release_signals()
        self._preparing = asyncio.create_task(self._prepare())
        await asyncio.wait([self._preparing])
        if self._preparing.cancelled():
            return
        self._preparing.result()
        await super().startup(sockets)
        if self.started:
            self._announce()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        loop = self._runner.get_loop()
        if self.signalled is None:
            self.signalled = sig
            self.should_exit = True
            if self._preparing is not None:
                loop.call_soon_threadsafe(self._preparing.cancel)
        elif sig == signal.SIGINT and not self._broken_off:
            self._broken_off = True
            loop.call_soon_threadsafe(self._break_off)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        logger.info("stopping; what is in flight has %d s to be answered", self.config.timeout_graceful_shutdown)
        await super().shutdown(sockets)

    def _break_off(self) -> None:
        """Close every connection and leave the loop, wherever its tasks are."""
        say_broken_off()
        for connection in list(self.server_state.connections):
            if connection.transport is not None:
                connection.transport.abort()
        loop = self._runner.get_loop()
        loop.call_soon(loop.stop)  # after the connections' own last calls


def say_broken_off() -> None:
    """The one line of the log about a second Ctrl-C."""
    logger.warning("told to stop a second time: what was in flight is broken off")
