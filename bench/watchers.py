"""Thousands of watchers of one stock: how soon each change arrives at the last of them, and what that costs.

    python -m bench.watchers                              everything, about 12 minutes
    python -m bench.watchers --case 10000 --case bare     some cases, with nothing written to results/
    python -m bench.watchers --crowd 500                  the same with fewer watchers, to try it out

Each case has a server process of its own, on one data folder. Each watcher's last message is compared with the
database. If one differs, or a version fell, the bench ends with an error.
"""

import argparse
import asyncio
import re
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from bench import changes, idle_watchers, metrics, watched_purchases
from bench.audience import Audience, audience
from bench.changes import PHASE, Change, latencies
from bench.database import Database
from bench.products import Level, levels, new_product, new_products
from bench.report import console, plot_lines, print_table, write_json
from bench.servers import TOKEN, Process, bare_websocket, dropzero
from bench.watching_socket import Watch

CASES = ("100", "1000", "10000", "spread", "stalled", "bare", "memory", "purchases")
CROWD = 10_000
POLLS_PER_S = 4
"""Polls per second of a server with the default interval."""

SETTLED = 5.0
"""Seconds after which memory is read."""

STALLED = tuple("12345678")
"""The operations of a socket that does not read."""

GIVEN_UP_TIMEOUT = 30.0

BARE = "bare send"

LATENCIES = (
    *("case", "watchers", "products", "changes"),
    *(f"{which}_p{percent}_ms" for which in ("first", "median", "last") for percent in (50, 99)),
)
COSTS = (
    *("case", "deliveries", "server_us_per_delivery", "of_bare", "idle_cpu"),
    *("kib_per_watcher", "mib_before", "mib_full", "mib_after", "readings_per_interval", "given_up"),
)


class Results(NamedTuple):
    """The rows of the tables."""

    rows: list[dict[str, Any]]
    idle: list[dict[str, Any]]
    sold: list[dict[str, Any]]


def watched(
    data: Path, name: str, watchers: int, *, products: int = 1, per_second: int = 1, polled: bool = False
) -> list[dict[str, Any]]:
    """Watchers spread over products, with this many purchases per second, of one unit each. If `polled`, then also
    changes that are not made through the server."""
    with dropzero(data) as server:
        ids, unwatched = new_products(server, products), new_products(server, products)
        _warm_up(server)
        memory = server.memory_mib()
        with audience(server.url, [Watch(ids[number % products]) for number in range(watchers)]) as crowd:
            time.sleep(SETTLED)
            full, readings = server.memory_mib(), metrics.total(server.url, "dropzero_stock_readings_total")
            idle = _idle_cpu(server, changes.buy(server, unwatched, per_second))
            readings = metrics.total(server.url, "dropzero_stock_readings_total") - readings

            def told(case: str, changing: Coroutine[Any, Any, list[Change]]) -> dict[str, Any]:
                return _row(case, crowd, server, changing, idle, lambda: levels(server, ids))

            rows = [told(name, changes.buy(server, ids, per_second))]
            if polled:
                with _second(data) as second:
                    changing = changes.buy(second, ids, per_second, scattered=True)
                    rows.append(told(f"{name}, polled", changing))
            crowd.leave()
            time.sleep(SETTLED)
        rows[0] |= {
            "kib_per_watcher": (full - memory) * 1024 / watchers,
            "mib_before": memory,
            "mib_full": full,
            "mib_after": server.memory_mib(),
            "readings_per_interval": readings / (PHASE * POLLS_PER_S),
        }
    return rows


def _second(data: Path) -> AbstractContextManager[Process]:
    """Another server on the database of `data`. The first one finds its changes by polling."""
    environment = {
        "DROPZERO_ENDPOINTS": f"ap-northeast-1={Database(data).url}",
        TOKEN: "the-operators-token-of-a-bench",
        "DROPZERO_DRAIN_S": "0",
    }
    return dropzero(data.parent / "second", **environment)


def beside_stalled(data: Path, name: str, watchers: int, stalled: int) -> dict[str, Any]:
    """Watchers of one product, some of which stop reading after their first message."""
    with dropzero(data) as server:
        product_id = new_product(server)
        _warm_up(server)
        reading, silent = (
            [Watch(product_id)] * (watchers - stalled),
            [Watch(product_id, STALLED, stalls=True)] * stalled,
        )
        with audience(server.url, reading + silent) as crowd:
            changing = changes.buy(server, [product_id], 1)
            row = _row(name, crowd, server, changing, None, lambda: levels(server, [product_id]))
            deadline = time.monotonic() + GIVEN_UP_TIMEOUT
            while (left := server.connections()) > len(reading) and time.monotonic() < deadline:
                time.sleep(0.5)
    if left != len(reading):
        raise SystemExit(f"{left} sockets are left of {watchers}, of which {stalled} do not read")
    return {**row, "given_up": watchers - left}


def bare(data: Path, watchers: int) -> dict[str, Any]:
    """The same message from a server that does nothing but send."""
    with dropzero(data) as server:
        product_id = new_product(server)
        with audience(server.url, [Watch(product_id)]) as crowd:
            message = crowd.message()
    stock = re.search(r'"stock":(\d+)', message)
    if stock is None:
        raise AssertionError(message)
    messages = [
        (version, re.sub(r'"version":\d+', f'"version":{version}', message)) for version in range(10, 10 + int(PHASE))
    ]
    with bare_websocket() as server, audience(server.url, [Watch(product_id, operations=())] * watchers) as crowd:
        time.sleep(SETTLED)
        idle = _idle_cpu(server, changes.post(server.url, [(0, "")] * len(messages), product_id, 1))
        truth = {product_id: Level(int(stock[1]), messages[-1][0])}
        return _row(BARE, crowd, server, changes.post(server.url, messages, product_id, 1), idle, lambda: truth)


def _row(
    name: str,
    crowd: Audience,
    server: Process,
    changing: Coroutine[Any, Any, list[Change]],
    idle: float | None,
    truth: Callable[[], dict[str, Level]],
) -> dict[str, Any]:
    """Make changes, and measure their arrival. `idle` is the share of a core that the server uses for the same changes
    without any delivery, if that was measured."""
    crowd.mark()
    cpu, started = server.cpu_seconds(), time.perf_counter()
    made = asyncio.run(changing)
    crowd.settle(truth())
    cpu, seconds = server.cpu_seconds() - cpu, time.perf_counter() - started
    arrived = crowd.deliveries()
    row: dict[str, Any] = {
        "case": name,
        "watchers": len(crowd.watches),
        "products": len({watch.product_id for watch in crowd.watches}),
        "changes": len(made),
        **latencies(made, arrived, crowd.watches),
        "deliveries": len(arrived.times),
    }
    if idle is not None:
        row |= {"server_us_per_delivery": (cpu - idle * seconds) / len(arrived.times) * 1e6, "idle_cpu": idle}
    console.print(
        f"{name}: first {row['first_p50_ms']:,.0f}, median {row['median_p50_ms']:,.0f}, "
        f"last {row['last_p50_ms']:,.0f}, its p99 {row['last_p99_ms']:,.0f} ms",
        highlight=False,
    )
    return row


def _idle_cpu(server: Process, changing: Coroutine[Any, Any, list[Change]]) -> float:
    """The share of a core that the server uses during changes that nobody watches."""
    cpu = server.cpu_seconds()
    asyncio.run(changing)
    return (server.cpu_seconds() - cpu) / PHASE


def _warm_up(server: Process) -> None:
    """Have the server load everything that watching and buying need, before its memory is read."""
    product_id = new_product(server)
    with audience(server.url, [Watch(product_id)] * 10) as crowd:
        asyncio.run(changes.buy_once(server, product_id))
        crowd.settle(levels(server, [product_id]))
        crowd.leave()


def run(cases: Sequence[str], crowd: int) -> Results:
    rows, idle, sold = results = Results([], [], [])
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        for case in cases:
            match case:
                case "spread":
                    products = max(1, crowd // 10)
                    rows += watched(
                        data, f"{crowd:,} over {products:,} products", crowd, products=products, per_second=100
                    )
                case "stalled":
                    stalled = max(1, crowd // 100)
                    rows.append(beside_stalled(data, f"{stalled} of {crowd:,} not reading", crowd, stalled))
                case "bare":
                    rows.append(bare(data, crowd))
                case "memory":
                    idle += idle_watchers.measure(data, crowd)
                case "purchases":
                    sold += watched_purchases.measure(data, crowd)
                case number:
                    watchers = min(int(number), crowd)
                    rows += watched(data, f"{watchers:,} of one product", watchers, polled=number == CASES[2])
    for floor in [row["server_us_per_delivery"] for row in rows if row["case"] == BARE]:
        for row in rows:
            if "server_us_per_delivery" in row:
                row["of_bare"] = row["server_us_per_delivery"] / floor
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=CASES, help="only this case; may be repeated")
    parser.add_argument("--crowd", type=int, default=CROWD, help="watchers at most")
    arguments = parser.parse_args()
    rows, idle, sold = run(arguments.case or CASES, arguments.crowd)
    if rows:
        print_table("Until a change has arrived", [{name: row[name] for name in LATENCIES} for row in rows])
        print_table("What it costs the server", [{name: row.get(name, "") for name in COSTS} for row in rows])
    if idle:
        print_table("Memory of an idle socket", idle)
    if sold:
        print_table(f"Purchases of a watched product, {watched_purchases.BUYERS} buyers", sold)
    if arguments.case is None and arguments.crowd == CROWD:
        write_json("watched_purchases", sold)
        write_json("idle_watchers", idle)
        written = write_json("watchers", rows)
        of_one = [row for row in rows if row["products"] == 1 and "kib_per_watcher" in row]
        drawn = plot_lines(
            "watchers",
            of_one,
            x="watchers",
            y=["first_p99_ms", "median_p99_ms", "last_p99_ms"],
            title="until a change has arrived, p99, ms",
        )
        console.print(f"written to {written} and {drawn}")


if __name__ == "__main__":
    main()
