"""The counts of a server itself, read from its /metrics."""

import re
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable

from bench.servers import Process

DRAIN_TIMEOUT = 30.0


def total(url: str, name: str, token: str = "") -> float:
    """The sum of all samples of a metric; 0 if the server has no metrics, such as a peer."""
    return sum(float(line.rpartition(" ")[2]) for line in _samples(url, name, token))


def by_label(server: Process, name: str, label: str) -> Counter[str]:
    """The samples of a counter, summed by the values of one label."""
    counts: Counter[str] = Counter()
    for line in _samples(server.url, name, server.token):
        value = re.search(rf'{label}="([^"]*)"', line)
        counts[value[1] if value else ""] += int(float(line.rpartition(" ")[2]))
    return counts


def drain(servers: Iterable[Process]) -> None:
    """Wait until no purchase waits in the servers, such as those whose connections wrk has closed."""
    deadline = time.monotonic() + DRAIN_TIMEOUT
    for server in servers:
        while total(server.url, "dropzero_purchases_waiting", server.token):
            if time.monotonic() > deadline:
                raise SystemExit(f"purchases still wait after {DRAIN_TIMEOUT:g} s")
            time.sleep(0.1)


def _samples(url: str, name: str, token: str) -> list[str]:
    asking = urllib.request.Request(f"{url}/metrics", headers={"authorization": f"Bearer {token}"})  # noqa: S310
    try:
        with urllib.request.urlopen(asking) as response:  # noqa: S310 - our own address
            lines = response.read().decode().splitlines()
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return []
        raise
    return [line for line in lines if line.startswith((f"{name} ", f"{name}{{"))]
