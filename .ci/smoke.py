"""Start the `dropzero` of this Python's environment, buy one of the sample drop, watch the stock fall, and stop it.

Needs dropzero with its extra `local` and nothing of the tests, so that it runs in an environment that a user has.
Prints one line and ends with status 0; else with what went wrong and what the server logged. Every wait has an end, and
the server and its database are ended whatever happens.
"""

# ruff: noqa: S101 - what fails here is to fail

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

PATIENCE = 60.0 * float(os.environ.get("TEST_TIME_FACTOR", "1"))
"""Seconds to wait for one event."""

SAMPLE = "0d509e70-0000-4000-8000-000000000001"
BUY_ONE = f'mutation {{ purchase(input: {{ productId: "{SAMPLE}", userRef: "smoke" }}) {{ status }} }}'
WATCH = f'subscription {{ stockChanged(productIds: ["{SAMPLE}"]) {{ stock version }} }}'

_opener = build_opener(ProxyHandler({}))


@dataclass(frozen=True)
class Server:
    """A server that listens, its data folder, and the file of what it logs."""

    url: str
    process: "subprocess.Popen[bytes]"
    data: Path
    log: Path

    def fetch(self, path: str, accept: str, body: dict[str, str] | None = None) -> str:
        """Send a request, a POST if there is a body, and return the body of the response."""
        headers = {"accept": accept, "content-type": "application/json"}
        request = Request(self.url + path, None if body is None else json.dumps(body).encode(), headers)  # noqa: S310
        with _opener.open(request, timeout=PATIENCE) as response:
            text: str = response.read().decode()
            return text

    @contextmanager
    def watching(self) -> Iterator[ClientConnection]:
        """Subscribe to the sample's stock over a websocket, which is closed when the block is left."""
        address = self.url.replace("http", "ws", 1) + "/graphql"
        spoken = [Subprotocol("graphql-transport-ws")]
        with connect(address, subprotocols=spoken, proxy=None, open_timeout=PATIENCE, close_timeout=PATIENCE) as socket:
            socket.send(json.dumps({"type": "connection_init"}))
            assert _receive(socket)["type"] == "connection_ack"
            socket.send(json.dumps({"type": "subscribe", "id": "1", "payload": {"query": WATCH}}))
            yield socket


def _receive(socket: ClientConnection) -> dict[str, Any]:
    message: dict[str, Any] = json.loads(socket.recv(timeout=PATIENCE))
    return message


def next_level(socket: ClientConnection) -> tuple[int, int]:
    """Wait for the next change, and return its stock and version."""
    message = _receive(socket)
    assert message["type"] == "next", message
    change = message["payload"]["data"]["stockChanged"]
    return change["stock"], change["version"]


def close_code(socket: ClientConnection) -> int | None:
    """Wait for the server to close the websocket, and return its code; None if it sent no close frame."""
    try:
        raise AssertionError(f"the server stops, and sends {_receive(socket)}")
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else closed.rcvd.code


@contextmanager
def serving(folder: Path, workers: int) -> Iterator[Server]:
    """Serve on a free port, with everything in `folder`, and end whatever is left when the block is left."""
    data, out, log = folder / "data", folder / "out", folder / "log"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DROPZERO_")}
    command: list[Path | str] = [
        Path(sys.executable).parent / "dropzero",
        "serve",
        "--port",
        "0",
        f"--workers={workers}",
    ]
    with out.open("wb") as stdout, log.open("wb") as stderr:
        process = subprocess.Popen(  # noqa: S603
            command,
            cwd=folder,
            env={**environment, "DROPZERO_DATA": str(data)},
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,  # so that its workers can be ended with it
        )
    try:
        wait_until(lambda: process.poll() is not None or "Regions" in out.read_text(), "the server starts")
        [url] = re.findall(r"Storefront +(http://\S+)/", out.read_text()) or [""]
        assert url, "the server did not start"
        yield Server(url, process, data, log)
    except BaseException:
        sys.stderr.write(log.read_text(errors="replace"))
        raise
    finally:
        end(process, data)


def end(process: "subprocess.Popen[bytes]", data: Path) -> None:
    """Kill the server and its workers if they run, and stop the database that a killed server leaves behind."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(PATIENCE)
    postmaster = data / "postgres" / "postmaster.pid"
    with suppress(FileNotFoundError, IndexError, ValueError, ProcessLookupError):
        os.kill(int(postmaster.read_text().splitlines()[0]), signal.SIGQUIT)
        wait_until(lambda: not postmaster.exists(), "the database that was left ends")


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition is true. Raises TimeoutError after PATIENCE seconds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.02)


def use(server: Server) -> None:
    """Open both pages, buy one, and see it arrive; then stop the server under a websocket that is open."""
    assert "DROPZERO" in server.fetch("/", "text/html")
    assert SAMPLE in server.fetch("/graphql", "text/html"), "GraphiQL's tabs"
    with server.watching() as socket:
        stock, edition = next_level(socket)
        answer = json.loads(server.fetch("/graphql", "application/json", {"query": BUY_ONE}))
        assert answer == {"data": {"purchase": {"status": "CONFIRMED"}}}, answer
        after = next_level(socket)
        assert after == (stock - 1, edition + 1), after
    with server.watching() as socket:
        assert next_level(socket) == after
        server.process.terminate()
        assert close_code(socket) == 1012
    assert server.process.wait(PATIENCE) == 0, server.process.returncode
    assert not (server.data / "postgres" / "postmaster.pid").exists(), "the database is stopped"
    # The end of a connection can fail without anybody else noticing.
    assert not re.search(r"Traceback| ERROR ", server.log.read_text()), "the log has no error"


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by way of `finally`
    for workers in (1, 2):
        with tempfile.TemporaryDirectory(prefix="dropzero-smoke-") as folder, serving(Path(folder), workers) as server:
            use(server)
    versions = ", ".join(f"{name} {version(name)}" for name in ("uvicorn", "starlette", "websockets", "asyncpg"))
    sys.stdout.write(f"bought one, saw it arrive, and stopped: with {versions}\n")


if __name__ == "__main__":
    main()
