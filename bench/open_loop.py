"""A fixed rate of purchases, independent of the server. Latency counts from the moment a purchase was due.

    python -m bench.open_loop

A closed loop waits for an answer before it sends the next purchase, and so hides every stall. Here a purchase that is
late because an earlier purchase was late counts as late.
"""

import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from api.client.load import percentile
from bench.client import Answer, purchase
from bench.database import Database
from bench.products import new_product
from bench.report import console, plot_lines, print_table, write_json
from bench.servers import Process, dropzero

RATES = (100, 500, 1000)
COMMIT_DELAYS_MS = (0, 20, 50)
SECONDS = 10


async def offer(url: str, product_id: str, rate: int) -> list[Answer]:
    """Send `rate` purchases per second, each at its due moment, and wait for all answers."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        start = time.perf_counter() + 0.1
        sent = []
        for number in range(rate * SECONDS):
            due = start + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            sent.append(group.create_task(purchase(session, url, product_id, due)))
    return [task.result() for task in sent]


def measure(server: Process, database: Database, delay: int, rate: int) -> dict[str, Any]:
    product_id = new_product(server)
    answers = asyncio.run(offer(server.url, product_id, rate))
    told = [answer.order_id for answer in answers if answer.order_id is not None]
    orders = database.order_ids(product_id)
    if len(told) != len(set(told)) or set(told) != orders:
        raise SystemExit(f"{len(told)} were told confirmed, and there are {len(orders)} orders")
    latencies = [answer.latency_ms for answer in answers]
    counts = Counter(answer.status for answer in answers)
    return {
        "commit_delay_ms": delay,
        "offered_per_s": rate,
        "confirmed": counts["CONFIRMED"],
        "busy": counts["BUSY"],
        "errors": sum(count for status, count in counts.items() if status.startswith("error")),
        "p50_ms": percentile(latencies, 50),
        "p95_ms": percentile(latencies, 95),
        "p99_ms": percentile(latencies, 99),
        "max_ms": max(latencies),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "data")
        with dropzero(database.data) as server:
            rows = []
            for delay in COMMIT_DELAYS_MS:
                database.set_commit_delay(delay)
                for rate in RATES:
                    rows.append(measure(server, database, delay, rate))
            database.set_commit_delay(0)
    print_table("A fixed rate of purchases of one product", rows)
    written = write_json("open_loop", rows)
    drawn = plot_lines(
        "open_loop",
        rows,
        x="offered_per_s",
        y=["p99_ms"],
        by="commit_delay_ms",
        title="p99 from the moment it was due, ms",
    )
    console.print(f"written to {written} and {drawn}")


if __name__ == "__main__":
    main()
