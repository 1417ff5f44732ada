"""Webhooks: what they cost purchases, and how soon an event is sent.

    python -m bench.webhooks            everything, about 3 minutes
    python -m bench.webhooks --quick    one round; nothing is written

50 buyers purchase from a server without a webhook, from one whose receiver takes every event, and from one whose
receiver is down, in turns. Then buyers come at a fixed rate, and the receiver counts how long after its transaction
each event arrives. Servers, receiver and load share the machine.
"""

import argparse
import asyncio
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from api.client.load import percentile
from bench import wrk
from bench.client import purchase
from bench.products import new_product
from bench.report import console, print_table, write_json
from bench.servers import Process
from bench.version import ROOT, Version, prepared

BUYERS = 50
SECONDS = 6
ROUNDS = 3
RATE, RATE_SECONDS = 200, 20
"""Purchases per second, and for how long."""

SETTLED = 3.0
"""Seconds after the last purchase in which the last event arrives."""

STOP_TIMEOUT = 30.0

SECRET = "whsec_" + "QUJD" * 10
NONE, TAKES, DOWN = "no webhook", "the receiver takes events", "the receiver is down"


@dataclass
class Arrived:
    """What the receiver has counted. `lags` in seconds."""

    lags: list[float]
    events: int


@contextmanager
def receiving() -> Iterator[tuple[str, Callable[[], Arrived]]]:
    """The address of a receiver, and what ends it and returns what it has counted."""
    command = [sys.executable, "-m", "bench.receiver"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def stop() -> Arrived:
            out, _ = process.communicate(timeout=STOP_TIMEOUT)
            return Arrived(**json.loads(out))

        try:
            yield f"http://127.0.0.1:{next(iter(process.stdout or ())).strip()}/webhooks", stop
        finally:
            process.kill()


@contextmanager
def selling(url: str | None) -> Iterator[tuple[Version, Process]]:
    """A server on a database of its own, with a webhook unless `url` is None."""
    variables = {} if url is None else {"DROPZERO_WEBHOOK_URL": url, "DROPZERO_WEBHOOK_SECRET": SECRET}
    if url is not None:
        variables["DROPZERO_WEBHOOK_PRIVATE"] = "on"
    with (
        tempfile.TemporaryDirectory() as folder,
        prepared(ROOT, Path(folder) / "0") as version,
        version.server("-m", "api", **variables) as server,
    ):
        yield version, server


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def cost(rounds: int) -> list[dict[str, Any]]:
    """Purchases per second of each server, in turns; of each, the round with the median rate."""
    found: dict[str, list[wrk.Load]] = {NONE: [], TAKES: [], DOWN: []}
    with ExitStack() as stack:
        receiver, _ = stack.enter_context(receiving())
        urls = {NONE: None, TAKES: receiver, DOWN: f"http://127.0.0.1:{free_port()}/"}
        servers = {name: stack.enter_context(selling(url)) for name, url in urls.items()}
        for _ in range(rounds):
            for name, (version, server) in servers.items():
                product_id = new_product(server)
                with tempfile.TemporaryDirectory() as log:
                    load = wrk.purchases(server, product_id, BUYERS, SECONDS, Path(log))
                version.database.check_books(product_id, load.order_ids, in_flight=BUYERS)
                found[name].append(load)
                console.print(f"{name}: {load.confirmed / load.seconds:,.0f}/s", highlight=False)
    medians = {name: sorted(loads, key=lambda load: load.confirmed)[rounds // 2] for name, loads in found.items()}
    return [
        {
            "webhook": name,
            "purchases_per_s": load.confirmed / load.seconds,
            "of_none": load.confirmed / medians[NONE].confirmed,
            "p99_ms": load.p99,
        }
        for name, load in medians.items()
    ]


def lateness() -> list[dict[str, Any]]:
    """How long after its transaction an event arrives, at RATE purchases per second."""
    with receiving() as (receiver, stop):
        with selling(receiver) as (_, server):
            statuses = asyncio.run(buy_at_rate(server, new_product(server)))
            time.sleep(SETTLED)
        arrived = stop()
    confirmed = statuses.count("CONFIRMED")
    if arrived.events < confirmed:
        raise SystemExit(f"{confirmed} purchases were confirmed, and {arrived.events} events arrived")
    return [
        {
            "purchases_per_s": RATE,
            "events": arrived.events,
            "sent_twice": len(arrived.lags) - arrived.events,
            "p50_ms": percentile(arrived.lags, 50) * 1000,
            "p99_ms": percentile(arrived.lags, 99) * 1000,
            "max_ms": max(arrived.lags) * 1000,
        }
    ]


async def buy_at_rate(server: Process, product_id: str) -> list[str]:
    """Send a purchase every 1 / RATE seconds, whether the earlier ones are answered or not. Returns the statuses."""
    begun = time.perf_counter()
    async with aiohttp.ClientSession(
        headers=server.authorization, connector=aiohttp.TCPConnector(limit=BUYERS)
    ) as session:
        buying = []
        for number in range(RATE * RATE_SECONDS):
            due = begun + number / RATE
            await asyncio.sleep(due - time.perf_counter())
            buying.append(asyncio.create_task(purchase(session, server.url, product_id, due)))
        return [answer.status for answer in await asyncio.gather(*buying)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round; nothing is written")
    quick = parser.parse_args().quick
    costs = cost(1 if quick else ROUNDS)
    print_table("What a webhook costs purchases", costs)
    late = lateness()
    print_table("From the transaction to the receiver", late)
    if not quick:
        console.print(f"written to {write_json('webhooks', [*costs, *late])}")


if __name__ == "__main__":
    main()
