"""The supervisor of worker processes: with workers that are silent, that still start, or that receive two signals to
stop; and workers without a supervisor."""

import asyncio
import os
import signal
from collections.abc import Callable
from functools import partial
from multiprocessing import Pipe
from pathlib import Path
from types import SimpleNamespace

import pytest

from api import workers
from api.app import create_app
from api.database.pool import Pool
from api.server import uvicorn_config
from api.serving import Stage
from api.settings import read_settings
from api.workers import ANSWER_TIMEOUT, START_TIMEOUT
from tests.command import Serving, dropzero_serve
from tests.patience import PATIENCE, until
from tests.server import ADMIN_TOKEN

LONG = str(int(PATIENCE) * 2)
"""Seconds of a drain, longer than any test waits."""

GATE = """
import pathlib, sys, time
while any("spawn_main" in argument for argument in sys.orig_argv) and pathlib.Path({gate!r}).exists():
    time.sleep(0.01)
"""
"""Keeps a worker from importing anything while a file exists."""


def worker_pids(server: Serving) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if "spawn_main" in command_line(pid)]


def command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended meanwhile


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> workers._Worker:
    """A worker that runs and never answers; no time is spent on waiting for its answers."""
    settings = read_settings({})
    silent = workers._Worker(uvicorn_config(settings, partial(create_app, settings)), [], 0)
    monkeypatch.setattr(silent, "process", SimpleNamespace(is_alive=lambda: True, sentinel=Pipe()[0]))
    monkeypatch.setattr(workers, "wait", lambda *_: [])
    return silent


def patience_with(worker: workers._Worker) -> float:
    """Return the seconds of silence after which the worker counts as stuck."""
    seconds = 0.0
    while worker.is_well():
        seconds += workers._ANSWER_WAIT
    return seconds + workers._ANSWER_WAIT


def test_a_worker_that_has_never_answered_has_the_time_to_start(worker: workers._Worker) -> None:
    assert patience_with(worker) == START_TIMEOUT


def test_a_silent_worker_counts_as_stuck_and_every_answer_resets_its_time(worker: workers._Worker) -> None:
    for _ in range(3):
        worker.child_conn.send(Stage.SERVING)
        assert worker.is_well()
        worker.query_stage()
    worker.child_conn.send(Stage.SERVING)
    assert patience_with(worker) == ANSWER_TIMEOUT
    assert not worker.is_well()


def test_the_latest_answer_counts(worker: workers._Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    worker.child_conn.send(Stage.SERVING)

    def answer(*_: object) -> list[object]:
        worker.child_conn.send(Stage.LEAVING)
        worker.child_conn.send(Stage.STOPPING)
        return []

    monkeypatch.setattr(workers, "wait", answer)
    assert worker.query_stage() is Stage.STOPPING


@pytest.mark.slow
@pytest.mark.parametrize("drain", ["0", "1"])
async def test_workers_without_a_supervisor_answer_what_is_in_flight_and_end(
    tmp_path: Path, postgres_url: str, behind: Pool, drain: str
) -> None:
    there = {
        "DROPZERO_ENDPOINTS": f"here={postgres_url}",
        "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN,
        "DROPZERO_DEADLINE_MS": "120000",
        "DROPZERO_DRAIN_S": drain,
    }
    async with dropzero_serve(tmp_path / "unused", "--workers", "2", **there) as server:
        orphans = worker_pids(server)
        assert len(orphans) == 2
        product_id = await server.create_product(stock=100)
        async with behind.begin(timeout=PATIENCE) as holding:
            await holding.execute("SELECT stock FROM stock_shards WHERE product_id = $1 FOR UPDATE", product_id)
            purchases = [asyncio.create_task(server.purchase(product_id, f"buyer-{n}")) for n in range(20)]
            await until(lambda: has_waiting(server, 20))
            server.process.kill()
            await until(lambda: server.log.count("stopping; what is in flight") == 2)
        assert [outcome["status"] for outcome in await asyncio.gather(*purchases)] == ["CONFIRMED"] * 20
        await until(lambda: not any(is_running(pid) for pid in orphans))
    assert server.log.count("is gone: it stops as on SIGTERM") == 2
    assert server.log.count("draining for") == (2 if int(drain) else 0)
    assert "Traceback" not in server.log


async def has_waiting(server: Serving, number: int) -> bool:
    """Whether so many purchases are in line or in a transaction, in all workers together."""
    headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
    async with server.session.get(f"{server.url}/metrics", headers=headers) as response:
        return f'dropzero_purchases_waiting{{region="here"}} {number:.1f}\n' in await response.text()


@pytest.mark.slow
async def test_a_worker_drains_on_however_often_sigterm_arrives(data: Path) -> None:
    """Some service managers send SIGTERM to every process, and the supervisor passes it on."""
    async with dropzero_serve(data, "--workers", "2", DROPZERO_DRAIN_S=LONG) as server:
        processes = worker_pids(server)
        for pid in (*processes, server.process.pid):
            os.kill(pid, signal.SIGTERM)
        await until(lambda: server.log.count("draining for") == 2)
        for pid in processes * 3:
            os.kill(pid, signal.SIGTERM)
        for _ in range(20):
            async with server.session.get(f"{server.url}/readyz") as response:
                assert (response.status, await response.json()) == (503, {"draining": True})
        assert worker_pids(server) == processes
        assert "stopping" not in server.log
        assert await server.stop(signal.SIGTERM) == 0, "to the supervisor it is the second"
    assert "Traceback" not in server.log


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_server_can_be_stopped_while_a_worker_starts(tmp_path: Path, data: Path, how: signal.Signals) -> None:
    gate = tmp_path / "gate"
    (tmp_path / "sitecustomize.py").write_text(GATE.format(gate=str(gate)))
    async with dropzero_serve(data, "--workers", "2", PYTHONPATH=python_path(tmp_path)) as server:
        before = worker_pids(server)
        gate.touch()
        os.kill(before[0], signal.SIGKILL)
        await until(replaced(server, before))
        assert await server.stop(how) == 0
    assert server.log.count("ended by itself or was stuck") == 1
    assert "Traceback" not in server.log


def python_path(folder: Path) -> str:
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH", ""))))


def replaced(server: Serving, before: list[int]) -> Callable[[], bool]:
    return lambda: len(worker_pids(server)) == 2 and worker_pids(server) != before
