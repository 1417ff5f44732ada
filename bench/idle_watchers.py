"""The memory of an idle watcher: of this server, and of servers that do less for a socket."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.audience import audience
from bench.machine import kernel_kib
from bench.products import new_product
from bench.servers import Process, bare_websocket, dropzero, idle_websocket
from bench.watching_socket import Watch

SETTLED = 5.0
"""Seconds after which memory is read."""

WARMING_UP = 100
"""Sockets that connect and leave before memory is read."""

READING = Watch("", operations=())


def measure(data: Path, crowd: int) -> list[dict[str, Any]]:
    """A row for each server, with the resident memory of its process for each socket, and with that of the kernel."""
    rows = []
    with dropzero(data) as server:
        rows.append(_row("DROPZERO, watching a product", server, Watch(new_product(server)), crowd))
    others = {
        "bare send: uvicorn and Starlette": bare_websocket(),
        "websockets' own server": idle_websocket("server"),
        "websockets' parser alone": idle_websocket("parser"),
    }
    for name, running in others.items():
        with running as server:
            rows.append(_row(name, server, READING, crowd))
    return rows


def _row(name: str, server: Process, watch: Watch, crowd: int) -> dict[str, Any]:
    with _connected(server, watch, WARMING_UP):
        pass
    resident, kernel = server.memory_mib() * 1024, kernel_kib()
    with _connected(server, watch, crowd):
        # Both ends of a connection are on this machine.
        return {
            "server": name,
            "sockets": crowd,
            "resident_kib": (server.memory_mib() * 1024 - resident) / crowd,
            "kernel_kib": (kernel_kib() - kernel) / crowd / 2,
        }


@contextmanager
def _connected(server: Process, watch: Watch, number: int) -> Iterator[None]:
    """Sockets that have all they wait for."""
    with audience(server.url, [watch] * number) as crowd:
        time.sleep(SETTLED)
        yield
        crowd.leave()
        time.sleep(SETTLED)
