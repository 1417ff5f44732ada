"""The servers that are measured: real processes, each on a free port, which end with their block."""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from api.operator_token import find_operator_token

START_TIMEOUT = 60.0
PORTS = range(20_000, 32_000)
STOP_TIMEOUT = 30.0

TOKEN = "DROPZERO_ADMIN_TOKEN"
"""The variable with the operator's token. A server without endpoints makes a token of its own if it is not set."""

PEERS = Path(__file__).with_name("peers")
PEER_PACKAGES = ("fastify@5", "mercurius@16", "pg@8", "ioredis@5", "graphql@16")


class Process:
    """A running server: its address, its operator's token, and the CPU time and memory that it has used, each with that
    of its worker processes."""

    def __init__(self, url: str, pid: int, token: str = "") -> None:
        self.url = url
        self.pid = pid
        self.token = token
        """Empty if the server has no operator, as a peer has none."""

    @property
    def authorization(self) -> dict[str, str]:
        """The headers of the operator, who alone may name buyers where endpoints are configured."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}

    def cpu_seconds(self) -> float:
        """User and system time of the processes that run now."""
        ticks = 0
        for pid in self._pids():
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def memory_mib(self) -> float:
        """Resident memory now."""
        return self._status("VmRSS") / 1024

    def peak_memory_mib(self) -> float:
        """The largest resident memory that each process has had, added up. Pages that they share count for each."""
        return self._status("VmHWM") / 1024

    def connections(self) -> int:
        """Connections on its port that the process has not closed."""
        port = f":{urlsplit(self.url).port:04X}"
        lines = Path(f"/proc/{self.pid}/net/tcp").read_text(encoding="ascii").splitlines()[1:]
        # The system may list a closed connection for a while, without an inode. State 0A is a listening socket.
        return sum(
            address.endswith(port) and state != "0A" and inode != "0"
            for _, address, _, state, _, _, _, _, _, inode, *_ in map(str.split, lines)
        )

    def _status(self, name: str) -> int:
        return sum(
            int(line.split()[1])
            for pid in self._pids()
            for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
            if line.startswith(name)
        )

    def _pids(self) -> list[int]:
        """The process and its children, without PostgreSQL."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii").split()
        return [self.pid, *(int(child) for child in children if _command(int(child)) != "postgres")]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()


@contextlib.contextmanager
def dropzero(data: Path, *arguments: str, **environment: str) -> Iterator[Process]:
    """`dropzero serve` on a data folder, with further DROPZERO_ variables."""
    port = free_port()
    command = [str(Path(sys.executable).with_name("dropzero")), "serve", "--port", str(port), *arguments]
    with _running(command, port, {"DROPZERO_DATA": str(data), **environment}) as process:
        process.token = environment.get(TOKEN, "") or find_operator_token(data) or ""
        yield process


@contextlib.contextmanager
def checkout(
    code: Path, entry: Sequence[str], log: Path, arguments: Sequence[str] = (), **environment: str
) -> Iterator[Process]:
    """The server whose code is in the folder `code`, started as `python ENTRY serve ARGUMENTS`. Its log is written to
    `log`."""
    port = free_port()
    # -P: without it this folder's `api` would come first.
    command = [sys.executable, "-P", *entry, "serve", "--port", str(port), *arguments]
    with log.open("wb") as errors, _running(command, port, {"PYTHONPATH": str(code), **environment}, errors) as process:
        process.token = environment.get(TOKEN, "")
        yield process


@contextlib.contextmanager
def node_peer(script: str, **environment: str) -> Iterator[Process]:
    """A peer on Node. Its packages are first installed from npm into a cache folder."""
    folder = Path(tempfile.gettempdir()) / "dropzero-bench-peers"
    if not (folder / "node_modules").exists():
        folder.mkdir(exist_ok=True)
        install = ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock", "--prefix", str(folder)]
        subprocess.run([*install, *PEER_PACKAGES], check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(PEERS, folder, dirs_exist_ok=True)  # Node looks for packages from the script's folder
    port = free_port()
    with _running(["node", str(folder / script)], port, {"PORT": str(port), **environment}) as process:
        yield process


@contextlib.contextmanager
def bare_websocket() -> Iterator[Process]:
    """A server that sends each posted body to all its sockets, and does nothing else."""
    port = free_port()
    with _running([sys.executable, "-m", "bench.bare_websocket", str(port)], port, {}) as process:
        yield process


@contextlib.contextmanager
def idle_websocket(kind: str) -> Iterator[Process]:
    """A server of websockets without an application; `kind` as in idle_websocket.py."""
    port = free_port()
    with _running([sys.executable, "-m", "bench.idle_websocket", str(port), kind], port, {}) as process:
        yield process


@contextlib.contextmanager
def redis() -> Iterator[int]:
    """A Redis without persistence; its port."""
    port = free_port()
    command = ["redis-server", "--port", str(port), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        _wait(process, lambda: _listens(port))
        yield port
    finally:
        _stop(process)


def free_port() -> int:
    """A port that nothing listens on. The system gives the ports above PORTS to outgoing connections, and a load
    generator could get the port of a server that is still starting."""
    while True:
        port = random.choice(PORTS)  # noqa: S311
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextlib.contextmanager
def _running(
    command: list[str], port: int, environment: Mapping[str, str], errors: IO[bytes] | None = None
) -> Iterator[Process]:
    variables = {**own_environment(), **environment}
    process = subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL, stderr=errors)
    url = f"http://127.0.0.1:{port}"
    try:
        try:
            _wait(process, lambda: _answers(url))
        except RuntimeError as error:
            log = "" if errors is None else Path(errors.name).read_text(encoding="utf-8", errors="replace")
            raise SystemExit(f"{error}: {log.strip()[-1000:]}") from None
        yield Process(url, process.pid)
    finally:
        _stop(process)


def own_environment() -> dict[str, str]:
    """This process's environment, without variables that would lead a server to a real database."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("DROPZERO_", "PG"))}


def _wait(process: "subprocess.Popen[bytes]", ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not become ready")
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own address
            return True
    except urllib.error.HTTPError:
        return True  # any answer shows that it is up
    except OSError:
        return False


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
