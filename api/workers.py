"""Several processes that serve at one listening socket, and the supervisor that starts, replaces and stops them.

It borrows uvicorn's supervisor and its pipe to each worker, until uvicorn retires a worker without a pause, lets
workers drain, and judges a silent worker by its own time. tests/test_borrowed.py lists every name.
"""

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from api.serving import ServingProcess, Stage
from api.signals import STOPPING, BrokenOff

logger = logging.getLogger("dropzero.server")

START_TIMEOUT = 60.0
"""Seconds until worker processes must accept connections. They do not answer the supervisor while they import."""

ANSWER_TIMEOUT = 30.0
"""Seconds of silence after which a worker is killed and replaced. A busy event loop causes none: another thread
answers. uvicorn's 5 s were too short on a busy machine."""

_ANSWER_WAIT = 1.0
"""Seconds to wait for one answer of a worker. Signals to the supervisor wait as long."""

_CHECK_INTERVAL = 0.05
"""Seconds between two checks of workers that start or stop, and of the signals that arrived."""

STOP = signal.SIGUSR2
"""The supervisor's signal to a worker to stop without a drain. Workers ignore SIGINT, which a terminal sends to every
process: the supervisor counts it."""

RETIRE = signal.SIGUSR1
"""The supervisor's signal to a worker that another has replaced. On SIGTERM the worker's /readyz would answer 503,
which would take the whole service off its load balancer."""

_ACTIONS = {signal.SIGTERM: ServingProcess.drain, STOP: ServingProcess.stop, RETIRE: ServingProcess.retire}
"""What signals do to a worker. A second SIGTERM changes nothing: some service managers send it to every process, and
the supervisor sends one too."""


class _Worker(Process):
    """A process that serves, as its supervisor sees it."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], drain: float) -> None:
        self._drain = drain
        self._silence_left = START_TIMEOUT
        super().__init__(config, sockets)

    def start(self) -> None:
        with _ctrl_c_held():  # the new process inherits this, until it ignores SIGINT
            super().start()

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serving = ServingProcess(self.config, self._drain, _ACTIONS, _nothing, lambda: None)
        threading.Thread(target=self._answer_supervisor, args=(serving,), daemon=True).start()
        serving.run(sockets)

    def _answer_supervisor(self, serving: ServingProcess) -> None:
        """Send the stage for each ping, until the supervisor has ended; then stop this worker. A worker whose
        supervisor was killed would otherwise serve for ever, and occupy the address."""
        ended = multiprocessing.parent_process().sentinel  # type: ignore[union-attr]  # a worker has one
        with suppress(EOFError, OSError):  # it can end in the middle of a ping
            while ended not in wait([self.child_conn, ended]):
                self.child_conn.recv()
                self.child_conn.send(serving.stage)
        logger.error(
            "the supervisor of worker process %d is gone: it stops as on SIGTERM; start the server again, and look for "
            "what killed it",
            os.getpid(),
        )
        os.kill(os.getpid(), signal.SIGTERM)

    def query_stage(self) -> Stage | None:
        """Ping the process, and return its stage; None if it has ended, or does not answer in time."""
        self._receive()  # late answers to earlier pings
        try:
            self.parent_conn.send(b"ping")
        except OSError:
            return None
        wait([self.parent_conn, self.process.sentinel], _ANSWER_WAIT)
        stage = self._receive()
        if stage is None:
            self._silence_left -= _ANSWER_WAIT
        return stage

    def _receive(self) -> Stage | None:
        """Return the latest answer that has arrived, if any."""
        stage = None
        try:
            while self.parent_conn.poll():
                stage = self.parent_conn.recv()
                self._silence_left = ANSWER_TIMEOUT
        except (OSError, EOFError):
            return None
        return stage

    def is_well(self) -> bool:
        """Whether the process runs, and was not silent for too long. Only time spent waiting for an answer counts, not
        time for which this process was itself suspended."""
        return self.process.is_alive() and (self.query_stage() is not None or self._silence_left > 0)

    def send(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        if self.process.is_alive() and self.pid is not None:
            os.kill(self.pid, number)


class Workers(Multiprocess):
    """uvicorn's supervisor of worker processes, with an announcement when all of them accept connections.

    The first SIGTERM drains all workers; the first SIGINT stops them without a drain. During the drain either signal
    skips the rest of the drain. A SIGINT after that kills the workers. SIGHUP replaces the workers one by one: each
    retires after its replacement has begun to serve.
    """

    processes: list[_Worker]  # type: ignore[assignment]

    def __init__(
        self, config: uvicorn.Config, listening: socket.socket, drain: float, announce: Callable[[], None]
    ) -> None:
        """`drain` in seconds; see ServingProcess."""
        resource_tracker.ensure_running()  # else it starts with the first worker, and unblocks signals
        super().__init__(config, [listening])
        self._drain = drain
        self._announce = announce
        self._retired: list[_Worker] = []
        self._draining = False
        self._broken_off = False
        self.started = False
        self.signalled: int | None = None
        """The signal that stopped the server."""

    def run(self) -> None:
        """Serve until a signal. Raises BrokenOff."""
        super().run()
        if self._broken_off:
            raise BrokenOff

    def init_processes(self) -> None:
        self.processes = [self._start_worker() for _ in range(self.processes_num)]
        self.started = all(self._is_started(worker) for worker in self.processes)
        if self.started:
            self._announce()
        else:
            self.signalled = self._next_stop_signal()
            self.should_exit.set()

    def handle_signals(self) -> None:
        """Handle the signals that arrived, up to the first that stops the server. `join_all` handles later ones."""
        actions = {signal.SIGHUP: self.restart_all, signal.SIGTTIN: self._add, signal.SIGTTOU: self._remove}
        while self.signal_queue and not self.should_exit.is_set():
            number = self.signal_queue.pop(0)
            if number in STOPPING:
                self.signalled = number
                self.should_exit.set()
            elif number in actions:
                actions[signal.Signals(number)]()

    def restart_all(self) -> None:
        for index, old in enumerate(self.processes):
            new = self._start_worker()
            if not self._is_started(new):
                new.kill()
                new.join()
                if not self._must_stop():
                    logger.error(
                        "a new worker process did not start; process %s and those after it stay; the lines above say "
                        "why. Send SIGHUP again once it is repaired",
                        old.pid,
                    )
                return
            self.processes[index] = new
            self._retire(old)
        logger.info("all worker processes are replaced; the old ones answer what they have begun")

    def keep_subprocess_alive(self) -> None:
        self._retired = [worker for worker in self._retired if worker.process.is_alive()]
        for worker in self._retired:
            if not worker.is_well():
                worker.process.kill()
        for index, worker in enumerate(self.processes):
            if self._must_stop():
                return
            if worker.is_well():
                continue
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:  # a new one would fail in the same way
                logger.error(
                    "worker process %s could not start; the others are stopped; the lines above say why",
                    worker.pid,
                )
                self.should_exit.set()
                return
            logger.error(
                "worker process %s ended by itself or was stuck, with status %s; another starts. Status -9 can be the "
                "system, short of memory; report any other",
                worker.pid,
                worker.exitcode,
            )
            self.processes[index] = self._start_worker()

    def terminate_all(self) -> None:
        for listening in self.sockets:
            listening.close()  # the workers have it open too; while any process has it open, it accepts connections
        self._draining = self.signalled == signal.SIGTERM and self._drain > 0
        self._send(signal.SIGTERM if self._draining else STOP)

    def join_all(self) -> None:
        """Wait until all workers have ended. A signal to stop skips the rest of the drain. Without a drain, SIGINT
        kills the workers, with what is in flight."""
        while any(worker.process.is_alive() for worker in (*self.processes, *self._retired)):
            number = self._next_stop_signal()
            if number is not None and self._is_draining():
                self._draining = False
                self._send(STOP)
            elif number == signal.SIGINT and not self._broken_off:
                self._broken_off = True
                self._send(signal.SIGKILL)
            time.sleep(_CHECK_INTERVAL)

    def _start_worker(self) -> _Worker:
        worker = _Worker(self.config, self.sockets, self._drain)
        worker.start()
        return worker

    def _add(self) -> None:
        self.processes_num += 1
        self.processes.append(self._start_worker())

    def _remove(self) -> None:
        if self.processes_num > 1:
            self.processes_num -= 1
            self._retire(self.processes.pop())

    def _retire(self, worker: _Worker) -> None:
        worker.send(RETIRE)
        self._retired.append(worker)

    def _send(self, number: int) -> None:
        for worker in (*self.processes, *self._retired):
            worker.send(number)

    def _is_started(self, worker: _Worker) -> bool:
        """Wait until the worker accepts connections. False if it ends before, or this process receives a signal to
        stop."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and worker.process.is_alive() and not self._must_stop():
            stage = worker.query_stage()
            if stage is not None and stage >= Stage.SERVING:
                return True
            time.sleep(_CHECK_INTERVAL)
        return False

    def _is_draining(self) -> bool:
        """Whether any worker still drains. Each worker measures its drain, and stops at its end."""
        if self._draining:
            self._draining = any(worker.query_stage() in (Stage.SERVING, Stage.LEAVING) for worker in self.processes)
        return self._draining

    def _must_stop(self) -> bool:
        return self.should_exit.is_set() or any(number in STOPPING for number in self.signal_queue)

    def _next_stop_signal(self) -> int | None:
        """Return the next signal to stop, if any, and drop the signals before it, which have no effect any more."""
        while self.signal_queue:
            number = self.signal_queue.pop(0)
            if number in STOPPING:
                return number
        return None


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Hold SIGINT until the block is left. A process that starts in the block keeps holding it."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _nothing() -> None:
    """Prepare nothing in a worker: the supervisor has prepared the database."""
