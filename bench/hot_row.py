"""One product, one inventory row: purchases per second with group commit, one by one, and by the published loop.

    python -m bench.hot_row            everything, about 8 minutes
    python -m bench.hot_row --quick    one commit delay and two numbers of buyers, about a minute

All servers of a run use the same embedded PostgreSQL, whose commits are made to take a given time. wrk sends the
purchases, each with a name and key of its own. Every confirmed answer is then compared with the table.
"""

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from bench import metrics, wrk
from bench.database import Database
from bench.report import console, print_table, save_plot, write_json
from bench.servers import Process, dropzero, node_peer, redis

COMMIT_DELAYS_MS = (0, 5, 20, 50)
BUYERS = (1, 10, 50, 200, 1000)
SECONDS = 6
TOKEN = "the-operators-token-of-a-bench"
PEER_BUYERS = 50

_TRANSACTIONS = "dropzero_purchase_transactions_total"


def measure(kind: str, server: Process, product_id: str, delay: int, buyers: int) -> tuple[wrk.Load, dict[str, Any]]:
    """Measure one cell of the table: load one product for some seconds."""
    ran, cpu = metrics.total(server.url, _TRANSACTIONS, TOKEN), server.cpu_seconds()
    with tempfile.TemporaryDirectory() as log:
        load = wrk.purchases(server.url, product_id, buyers, SECONDS, Path(log))
    ran = metrics.total(server.url, _TRANSACTIONS, TOKEN) - ran or load.attempts  # a peer counts none
    cpu = server.cpu_seconds() - cpu
    row = {
        "server": kind,
        "commit_delay_ms": delay,
        "buyers": buyers,
        "purchases_per_s": load.confirmed / load.seconds,
        "p50_ms": load.p50,
        "p95_ms": load.p95,
        "p99_ms": load.p99,
        "attempts": load.attempts / max(1, load.answered),
        "most_attempts": load.most_attempts,
        "transactions_per_1000": ran / max(1, load.confirmed) * 1000,
        "busy": load.busy,
        "errors": load.other + load.lost,
        "server_us_per_purchase": cpu / max(1, load.confirmed) * 1e6,
    }
    console.print(
        f"{kind}, {delay} ms, {buyers} buyers: {row['purchases_per_s']:,.0f}/s, p99 {load.p99:,.0f} ms", highlight=False
    )
    return load, row


def run(delays: Sequence[int], numbers: Sequence[int]) -> list[dict[str, Any]]:
    """Measure all cells. For each delay and number of buyers, all servers are measured one after the other."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        database = Database(Path(folder) / "data")
        grouped = stack.enter_context(dropzero(database.data))
        one_by_one = {
            "DROPZERO_ENDPOINTS": f"ap-northeast-1={database.url}",
            "DROPZERO_ADMIN_TOKEN": TOKEN,
            "DROPZERO_GROUP_COMMIT": "off",
            "DROPZERO_CONNECTIONS": "40",  # with the peer's 50 within the embedded PostgreSQL's 100
        }
        loop = stack.enter_context(dropzero(Path(folder) / "other", **one_by_one))
        counter = stack.enter_context(node_peer("redis_counter.mjs", REDIS_PORT=str(stack.enter_context(redis()))))

        def add(kind: str, server: Process, delay: int, buyers: int) -> None:
            product_id = database.new_product()
            load, row = measure(kind, server, product_id, delay, buyers)
            if server is not counter:
                database.check_books(product_id, load.order_ids, in_flight=buyers)
            rows.append(row)

        for delay in delays:
            database.set_commit_delay(delay)
            # Node's driver does not survive the end of its sessions, so each delay has a peer of its own.
            with node_peer("published_loop.mjs", PGHOST=str(database.socket_folder)) as peer:
                for buyers in numbers:
                    add("group commit", grouped, delay, buyers)
                    add("one by one", loop, delay, buyers)
                    if buyers >= PEER_BUYERS:
                        add("published loop, Node", peer, delay, buyers)
                        if delay == 0:
                            add("Redis counter, Node", counter, delay, buyers)
    return rows


def plot(rows: Sequence[dict[str, Any]]) -> Path:
    """Purchases per second over buyers, a panel for each commit delay."""
    from matplotlib import pyplot

    delays = sorted({row["commit_delay_ms"] for row in rows})
    figure, panels = pyplot.subplots(1, len(delays), figsize=(4 * len(delays), 3.6), sharey=True, squeeze=False)
    for panel, delay in zip(panels[0], delays, strict=True):
        for kind in dict.fromkeys(row["server"] for row in rows):
            cells = [row for row in rows if (row["server"], row["commit_delay_ms"]) == (kind, delay)]
            rates = [row["purchases_per_s"] for row in cells]
            panel.plot([row["buyers"] for row in cells], rates, marker="o", label=kind)
        panel.set(title=f"a commit takes {delay} ms more", xlabel="buyers at a time", xscale="log", yscale="log")
        panel.grid(alpha=0.3)
    panels[0][0].set_ylabel("confirmed purchases/s")
    panels[0][0].legend(fontsize="small")
    return save_plot("hot_row", figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="no delay and 20 ms, 50 and 200 buyers")
    quick = parser.parse_args().quick
    rows = run(*(((0, 20), (50, 200)) if quick else (COMMIT_DELAYS_MS, BUYERS)))
    print_table("One hot row", rows)
    if not quick:
        console.print(f"written to {write_json('hot_row', rows)} and {plot(rows)}")


if __name__ == "__main__":
    main()
