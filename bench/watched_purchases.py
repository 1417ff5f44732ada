"""Purchases of a product that thousands watch, compared with purchases that nobody watches."""

import tempfile
from pathlib import Path
from typing import Any

from bench import metrics, wrk
from bench.audience import audience
from bench.database import Database
from bench.products import levels, new_product
from bench.report import console
from bench.servers import Process, dropzero
from bench.watching_socket import Watch

BUYERS = 200
SECONDS = 6
WARM_UP = 2
WATCHERS = (100, 1_000, 10_000)
COMMIT_DELAYS_MS = (0, 20)


def measure(data: Path, most: int) -> list[dict[str, Any]]:
    """Measure each number of watchers on the same server, between two loads that nobody watches."""
    rows: list[dict[str, Any]] = []
    crowds = list(dict.fromkeys(min(watchers, most) for watchers in WATCHERS))
    for delay in COMMIT_DELAYS_MS:
        with dropzero(data, DROPZERO_COMMIT_DELAY_MS=str(delay)) as server, tempfile.TemporaryDirectory() as log:
            database = Database(data)
            wrk.purchases(server, new_product(server), BUYERS, WARM_UP, Path(log))
            alone = _sell(server, database, delay, 0, Path(log))
            rows.append(alone)
            for watchers in crowds:
                watched = _sell(server, database, delay, watchers, Path(log))
                before, alone = alone, _sell(server, database, delay, 0, Path(log))
                unwatched = (before["purchases_per_s"] + alone["purchases_per_s"]) / 2
                rows += [{**watched, "of_unwatched": watched["purchases_per_s"] / unwatched}, alone]
    return rows


def _sell(server: Process, database: Database, delay: int, watchers: int, log: Path) -> dict[str, Any]:
    product_id = new_product(server)
    with audience(server.url, [Watch(product_id)] * watchers) as crowd:
        crowd.mark()
        cpu = server.cpu_seconds()
        load = wrk.purchases(server, product_id, BUYERS, SECONDS, log)
        cpu = server.cpu_seconds() - cpu
        metrics.drain([server])
        crowd.settle(levels(server, [product_id]))
        delivered = len(crowd.deliveries().times)
        crowd.leave()
    database.check_books(product_id, load.order_ids, in_flight=BUYERS)
    row = {
        "commit_delay_ms": delay,
        "watchers": watchers,
        "purchases_per_s": load.confirmed / load.seconds,
        "p50_ms": load.p50,
        "p99_ms": load.p99,
        "busy": load.busy,
        "errors": load.other + load.lost,
        "updates_per_s_and_watcher": delivered / watchers / load.seconds if watchers else 0.0,
        "deliveries_per_s": delivered / load.seconds,
        "server_cpu": cpu / load.seconds,
        "of_unwatched": "",
    }
    console.print(
        f"+{delay} ms, {watchers:,} watchers: {row['purchases_per_s']:,.0f} purchases/s, p99 {load.p99:,.0f} ms, "
        f"{row['updates_per_s_and_watcher']:.1f} updates/s each",
        highlight=False,
    )
    return row
