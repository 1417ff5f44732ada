"""Several processes that serve at one listening socket, and the supervisor that starts, replaces and stops them."""

import logging
import os
import signal
import socket
import time
from collections.abc import Callable

import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from api.serving import ServingProcess

logger = logging.getLogger("dropzero.server")

START_TIMEOUT = 60.0
"""Seconds that worker processes are given until they accept connections."""

RETIRE = signal.SIGUSR1
"""What the supervisor sends to a worker that another has replaced. SIGTERM would take the whole service off its load
balancer: /readyz answers 503 then."""


class _Worker(Process):
    """uvicorn's worker process with a server that drains."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], drain: float) -> None:
        self._drain = drain
        super().__init__(config, sockets)

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        # Some send SIGTERM to every process of a service, and the supervisor sends another: SIGINT alone cuts short.
        cut_short_by = frozenset({signal.SIGINT})
        serving = ServingProcess(self.config, self._drain, cut_short_by, _nothing, lambda: None)
        signal.signal(RETIRE, serving.retire)
        self._server = serving
        super().target(sockets)

    def retire(self) -> None:
        """Have the process stop by itself. Its health is not checked any more."""
        self.send(RETIRE)
        self.parent_conn.close()
        self.child_conn.close()

    def send(self, sig: int) -> None:
        """Send a signal, if the process still runs."""
        if self.process.is_alive() and self.pid is not None:
            os.kill(self.pid, sig)


class Workers(Multiprocess):
    """uvicorn's supervisor of worker processes, which announces when all of them accept connections.

    SIGTERM drains them all; SIGINT, and any signal of the two that comes second, stops them at once. SIGHUP replaces
    them one by one, and each goes only after another has begun to serve.
    """

    processes: list[_Worker]  # type: ignore[assignment]

    def __init__(
        self, config: uvicorn.Config, listening: socket.socket, drain: float, announce: Callable[[], None]
    ) -> None:
        """`drain` in seconds; see ServingProcess."""
        super().__init__(config, [listening])
        self._drain = drain
        self._announce = announce
        self._retired: list[_Worker] = []
        self._stop_signal = signal.SIGINT
        self.started = False

    def init_processes(self) -> None:
        self.processes = [self._start_worker() for _ in range(self.processes_num)]
        self.started = all(self._is_started(worker) for worker in self.processes)
        if self.started:
            self._announce()
        else:
            self.signal_queue.clear()  # the signal that ended the start has done its work
            self.should_exit.set()

    def handle_term(self) -> None:
        if not self.should_exit.is_set():
            self._stop_signal = signal.SIGTERM
        self.should_exit.set()

    def handle_int(self) -> None:
        self._stop_signal = signal.SIGINT
        self.should_exit.set()

    def handle_ttin(self) -> None:
        self.processes_num += 1
        self.processes.append(self._start_worker())

    def handle_ttou(self) -> None:
        if self.processes_num > 1:
            self.processes_num -= 1
            self._retire(self.processes.pop())

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
        for index, worker in enumerate(self.processes):
            if self._is_told_to_stop():
                return
            if worker.is_alive(timeout=self.config.timeout_worker_healthcheck):
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
        for worker in self.processes:
            worker.send(self._stop_signal)

    def join_all(self) -> None:
        """Wait for the end of all workers. A signal to stop that comes now cuts their drain short, and the next one
        what they were still answering."""
        while any(worker.process.is_alive() for worker in (*self.processes, *self._retired)):
            if self._is_signalled():
                self.signal_queue.clear()
                for worker in (*self.processes, *self._retired):
                    worker.send(signal.SIGINT)
            time.sleep(0.05)

    def _start_worker(self) -> _Worker:
        worker = _Worker(self.config, self.sockets, self._drain)
        worker.start()
        return worker

    def _retire(self, worker: _Worker) -> None:
        worker.retire()
        self._retired.append(worker)

    def _is_started(self, worker: _Worker) -> bool:
        """Wait until the worker accepts connections; False if it ends before, or this process is told to stop."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline and worker.process.is_alive() and not self._is_told_to_stop():
            if worker.is_ready(timeout=1):
                return True
            time.sleep(0.05)
        return False

    def _is_told_to_stop(self) -> bool:
        return self.should_exit.is_set() or self._is_signalled()

    def _is_signalled(self) -> bool:
        return signal.SIGTERM in self.signal_queue or signal.SIGINT in self.signal_queue


async def _nothing() -> None:
    """What a worker prepares: the supervisor has done it."""
