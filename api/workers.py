"""uvicorn's supervisor of worker processes: it says when all of them accept connections, and decides how they stop."""

import logging
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from socket import socket

import uvicorn
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from api.stopping import BrokenOff, say_broken_off

logger = logging.getLogger("dropzero.server")

START_TIMEOUT = 60.0
"""Seconds that worker processes are given until they accept connections."""

ANSWER_TIMEOUT = 30
"""Seconds after which a worker that does not answer is killed and replaced, and one that replaces another at SIGHUP is
given up. Its event loop may be busy, another thread answers; uvicorn's 5 s were too short on a busy machine."""

_LOOK = 0.1
"""Seconds between two looks at a worker that starts or stops, and at the signals that came meanwhile."""


class Workers(Multiprocess):
    """The worker processes. A terminal sends Ctrl-C to them too; they do not get it, and are stopped from here."""

    def __init__(self, config: uvicorn.Config, listening: socket, announce: Callable[[], None]) -> None:
        resource_tracker.ensure_running()  # multiprocessing starts it with the first worker, and releases signals then
        super().__init__(config, [listening])
        self._announce = announce
        self._broken_off = False
        self.started = False
        self.signalled: int | None = None
        """The signal that stops the server."""

    def run(self) -> None:
        """Serve until a signal. Raises BrokenOff."""
        super().run()
        if self._broken_off:
            raise BrokenOff

    def init_processes(self) -> None:
        with _ctrl_c_held():
            super().init_processes()
        deadline = time.monotonic() + START_TIMEOUT
        self.started = all(self._wait_until_ready(process, deadline) for process in self.processes)
        if self.started:
            self._announce()
        else:
            self.should_exit.set()

    def keep_subprocess_alive(self) -> None:
        known = set(self.processes)
        with _ctrl_c_held():
            super().keep_subprocess_alive()
        # A worker does not answer while it imports. Where that takes long it would pass for a hung one, and be killed
        # and replaced for ever.
        for process in self.processes:
            if process not in known:
                self._wait_until_ready(process, time.monotonic() + START_TIMEOUT)

    def handle_signals(self) -> None:
        with _ctrl_c_held():  # some start workers
            super().handle_signals()

    def handle_int(self) -> None:
        if self.should_exit.is_set():
            self._broken_off = True
        self._stop(signal.SIGINT)

    def handle_term(self) -> None:
        self._stop(signal.SIGTERM)

    def terminate_all(self) -> None:
        if not self._broken_off:
            logger.info("stopping; what is in flight has %d s to be answered", self.config.timeout_graceful_shutdown)
        super().terminate_all()

    def join_all(self) -> None:
        for process in self.processes:
            while process.exitcode is None and not self._told_again():
                process.process.join(_LOOK)
        if self._broken_off:
            say_broken_off()
            for process in self.processes:
                process.kill()
        super().join_all()

    def _stop(self, number: int) -> None:
        if self.signalled is None:
            self.signalled = number
        self.should_exit.set()

    def _told_again(self) -> bool:
        """Whether Ctrl-C came after the signal that stops the server; other signals have no effect by now."""
        self._broken_off = self._broken_off or signal.SIGINT in self.signal_queue
        return self._broken_off

    def _wait_until_ready(self, process: Process, deadline: float) -> bool:
        while not process.wait_until_ready(_LOOK, self.should_exit):
            self.handle_signals()
            if self.should_exit.is_set() or process.exitcode is not None or time.monotonic() > deadline:
                return False
        return True


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Hold SIGINT back for the time of the block. A process that is started in it does so for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
