"""Several processes that serve at one listening socket, and the supervisor that starts, replaces and stops them."""

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
"""Seconds that worker processes are given until they accept connections. They do not answer while they import."""

ANSWER_TIMEOUT = 30.0
"""Seconds of silence after which a worker is killed and replaced. Its event loop may be busy, another thread answers;
uvicorn's 5 s were too short on a busy machine."""

_ASK = 1.0
"""Seconds that one answer of a worker is waited for. Signals to the supervisor wait for as long."""

_LOOK = 0.05
"""Seconds between two looks at workers that start or stop, and at the signals that came meanwhile."""

STOP = signal.SIGUSR2
"""What the supervisor sends to workers that are to stop without a drain. They ignore SIGINT, which a terminal sends to
every process: how often it came is for the supervisor to count."""

RETIRE = signal.SIGUSR1
"""What the supervisor sends to a worker that another has replaced. SIGTERM would take the whole service off its load
balancer: /readyz answers 503 then."""

_ACTIONS = {signal.SIGTERM: ServingProcess.drain, STOP: ServingProcess.stop, RETIRE: ServingProcess.retire}
"""What signals do to a worker. Another SIGTERM changes nothing: some send it to every process of a service, and the
supervisor sends one too."""


class _Worker(Process):
    """A process that serves, in the hands of its supervisor."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], drain: float) -> None:
        self._drain = drain
        self._silence_left = START_TIMEOUT
        super().__init__(config, sockets)

    def start(self) -> None:
        with _ctrl_c_held():  # for good in the new process, until it ignores it
            super().start()

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        serving = ServingProcess(self.config, self._drain, _ACTIONS, _nothing, lambda: None)
        threading.Thread(target=self._answer_supervisor, args=(serving,), daemon=True).start()
        serving.run(sockets)

    def _answer_supervisor(self, serving: ServingProcess) -> None:
        """Answer for as long as the supervisor runs. A worker whose supervisor was killed would serve for ever, and
        keep its address from the next server."""
        ended = multiprocessing.parent_process().sentinel  # type: ignore[union-attr]  # there is one in a worker
        with suppress(EOFError, OSError):  # it can end in the middle of a question
            while ended not in wait([self.child_conn, ended]):
                self.child_conn.recv()
                self.child_conn.send(serving.stage)
        logger.error("the supervisor of worker process %d is gone: it stops as on SIGTERM", os.getpid())
        os.kill(os.getpid(), signal.SIGTERM)

    def ask(self) -> Stage | None:
        """How far the process is; None if it ends, or does not answer in time."""
        self._hear()  # late answers to questions before
        try:
            self.parent_conn.send(b"ping")
        except OSError:
            return None
        wait([self.parent_conn, self.process.sentinel], _ASK)
        stage = self._hear()
        if stage is None:
            self._silence_left -= _ASK
        return stage

    def _hear(self) -> Stage | None:
        """The latest answer that has arrived."""
        stage = None
        try:
            while self.parent_conn.poll():
                stage = self.parent_conn.recv()
                self._silence_left = ANSWER_TIMEOUT
        except (OSError, EOFError):
            return None
        return stage

    def is_well(self) -> bool:
        """Whether the process runs, and has not been silent for too long. What counts is the time that this process
        was waiting for an answer, not the time for which it was itself suspended."""
        return self.process.is_alive() and (self.ask() is not None or self._silence_left > 0)

    def send(self, number: int) -> None:
        """Send a signal, if the process still runs."""
        if self.process.is_alive() and self.pid is not None:
            os.kill(self.pid, number)


class Workers(Multiprocess):
    """uvicorn's supervisor of worker processes, which announces when all of them accept connections.

    The first SIGTERM drains them all, the first SIGINT stops them without a drain. During the drain another of the two
    skips the rest of it; SIGINT after that kills the workers. SIGHUP replaces them one by one, and each goes only after
    another has begun to serve.
    """

    processes: list[_Worker]  # type: ignore[assignment]

    def __init__(
        self, config: uvicorn.Config, listening: socket.socket, drain: float, announce: Callable[[], None]
    ) -> None:
        """`drain` in seconds; see ServingProcess."""
        resource_tracker.ensure_running()  # multiprocessing starts it with the first worker, and releases signals then
        super().__init__(config, [listening])
        self._drain = drain
        self._announce = announce
        self._retired: list[_Worker] = []
        self._draining = False
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
        self.processes = [self._start_worker() for _ in range(self.processes_num)]
        self.started = all(self._is_started(worker) for worker in self.processes)
        if self.started:
            self._announce()
        else:
            self.signalled = self._next_to_stop()
            self.should_exit.set()

    def handle_signals(self) -> None:
        """Handle what came, up to the first signal to stop. `join_all` handles those after it."""
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
                if not self._is_told_to_stop():
                    logger.error("a new worker process did not start; process %s and those after it stay", old.pid)
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
            if self._is_told_to_stop():
                return
            if worker.is_well():
                continue
            worker.kill()
            worker.join()
            if worker.exitcode == STARTUP_FAILURE:  # another would fail in the same way
                logger.error("worker process %s could not start; the others are stopped", worker.pid)
                self.should_exit.set()
                return
            logger.error("worker process %s ended by itself or was stuck, with status %s", worker.pid, worker.exitcode)
            self.processes[index] = self._start_worker()

    def terminate_all(self) -> None:
        for listening in self.sockets:
            listening.close()  # the workers have it too, and while anybody has it, it takes connections
        self._draining = self.signalled == signal.SIGTERM and self._drain > 0
        self._send(signal.SIGTERM if self._draining else STOP)

    def join_all(self) -> None:
        """Wait for the end of all workers. Another signal to stop skips what is left of the drain; SIGINT when there is
        none breaks off what is in flight."""
        while any(worker.process.is_alive() for worker in (*self.processes, *self._retired)):
            number = self._next_to_stop()
            if number is not None and self._is_draining():
                self._draining = False
                self._send(STOP)
            elif number == signal.SIGINT and not self._broken_off:
                self._broken_off = True
                self._send(signal.SIGKILL)
            time.sleep(_LOOK)

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
        """Wait until the worker accepts connections; False if it ends before, or this process is told to stop."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and worker.process.is_alive() and not self._is_told_to_stop():
            stage = worker.ask()
            if stage is not None and stage >= Stage.SERVING:
                return True
            time.sleep(_LOOK)
        return False

    def _is_draining(self) -> bool:
        """Whether the drain of any worker goes on. Each keeps the time by itself, and stops when its time is over."""
        if self._draining:
            self._draining = any(worker.ask() in (Stage.SERVING, Stage.LEAVING) for worker in self.processes)
        return self._draining

    def _is_told_to_stop(self) -> bool:
        return self.should_exit.is_set() or any(number in STOPPING for number in self.signal_queue)

    def _next_to_stop(self) -> int | None:
        """The next signal to stop that came; the signals before it have no effect any more."""
        while self.signal_queue:
            number = self.signal_queue.pop(0)
            if number in STOPPING:
                return number
        return None


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Hold SIGINT back for the time of the block. A process that is started in it does so for good."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


async def _nothing() -> None:
    """What a worker prepares: the supervisor has done it."""
