"""How much memory of the server a long drop and a sudden drop use.

    python -m bench.endurance

200,000 purchases from 200 buyers, and then 10,000 buyers in the same moment. Every purchase is answered, and every
answer is compared with the table.
"""

import asyncio
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from api.client.load import percentile
from bench.client import Answer, purchase
from bench.database import Database
from bench.products import new_product
from bench.report import console, plot_lines, print_table, write_json
from bench.servers import Process, dropzero

PURCHASES = 200_000
BUYERS = 200
BURST = 10_000
ROUNDS = 10


async def buy(url: str, product_id: str, purchases: int, buyers: int) -> list[Answer]:
    """Send this many purchases from this many buyers at the same time, and wait for every answer."""
    answers: list[Answer] = []
    numbers: Iterator[int] = iter(range(purchases))
    timeout = aiohttp.ClientTimeout(total=120)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:

        async def buyer() -> None:
            for _ in numbers:
                answers.append(await purchase(session, url, product_id, time.perf_counter()))

        await asyncio.gather(*(buyer() for _ in range(buyers)))
    return answers


def measure(name: str, server: Process, database: Database, purchases: int, buyers: int) -> dict[str, Any]:
    product_id = new_product(server)
    before, started = server.memory_mib(), time.perf_counter()
    answers = asyncio.run(buy(server.url, product_id, purchases, buyers))
    seconds = time.perf_counter() - started
    told = [answer.order_id for answer in answers if answer.order_id is not None]
    if len(answers) != purchases or len(told) != len(set(told)) or set(told) != database.order_ids(product_id):
        raise SystemExit(f"{len(answers)} answers and {len(told)} confirmed do not fit the table")
    counts = Counter(answer.status for answer in answers)
    return {
        "load": name,
        "purchases": purchases,
        "buyers": buyers,
        "confirmed": counts["CONFIRMED"],
        "busy": counts["BUSY"],
        "errors": sum(count for status, count in counts.items() if status.startswith("error")),
        "purchases_per_s": purchases / seconds,
        "p99_ms": percentile([answer.latency_ms for answer in answers], 99),
        "memory_before_mib": before,
        "memory_after_mib": server.memory_mib(),
        "peak_mib": server.peak_memory_mib(),
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "data")
        with dropzero(database.data) as server:
            rows = [
                measure(f"part {number} of {ROUNDS}", server, database, PURCHASES // ROUNDS, BUYERS)
                for number in range(1, ROUNDS + 1)
            ]
            database.set_commit_delay(20)
            rows.append(measure("burst, 20 ms commit", server, database, BURST, BURST))
    print_table("Endurance", rows)
    parts = [{**row, "purchases so far": number * PURCHASES // ROUNDS} for number, row in enumerate(rows[:-1], start=1)]
    written = write_json("endurance", rows)
    drawn = plot_lines(
        "endurance", parts, x="purchases so far", y=["memory_after_mib"], title="resident memory of the server, MiB"
    )
    console.print(f"written to {written} and {drawn}")


if __name__ == "__main__":
    main()
