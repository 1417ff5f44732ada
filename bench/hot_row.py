"""One product: purchases per second with group commit, one by one, and by the published loop.

    python -m bench.hot_row            everything, about 12 minutes
    python -m bench.hot_row --quick    two commit delays and two numbers of buyers, about a minute

`one by one` is the published loop in this server: one transaction per purchase on one row of stock, retried. The
published loop on Node and the Redis counter are left out where Node, npm or redis-server is not installed.

All servers of a run use the same embedded PostgreSQL, whose commits are made to take a given time. wrk sends the
purchases, each with a name and key of its own. Every confirmed answer is then compared with the table.
"""

import argparse
import shutil
import tempfile
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from bench import metrics, published, wrk
from bench.database import Database
from bench.products import new_product
from bench.report import console, print_table, save_plot, write_json
from bench.servers import TOKEN, Process, dropzero, node_peer, redis

COMMIT_DELAYS_MS = (0, 5, 7, 20, 35, 50)
"""7 ms is the median commit of Aurora DSQL in one Region, and 35 ms that of two Regions such as Tokyo and Seoul."""

BUYERS = (1, 10, 50, 200, 1000)
SECONDS = 6
PEER_BUYERS = 50
PANELS_IN_A_ROW = 3
PEER_PROGRAMS = ("node", "npm", "redis-server")

GROUP_COMMIT, ONE_BY_ONE = "group commit", "one by one"
PUBLISHED_LOOP, REDIS_COUNTER = "published loop, Node", "Redis counter, Node"

_TRANSACTIONS = "dropzero_purchase_transactions_total"


def measure(kind: str, server: Process, product_id: str, delay: int, buyers: int) -> tuple[wrk.Load, dict[str, Any]]:
    """Measure one cell of the table: load one product for some seconds."""
    ran, cpu = metrics.total(server.url, _TRANSACTIONS, server.token), server.cpu_seconds()
    with tempfile.TemporaryDirectory() as log:
        load = wrk.purchases(server, product_id, buyers, SECONDS, Path(log))
    ran = metrics.total(server.url, _TRANSACTIONS, server.token) - ran or load.attempts  # a peer counts none
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
    missing = [program for program in PEER_PROGRAMS if shutil.which(program) is None]
    if missing:
        console.print(f"without the peers on Node: {', '.join(missing)} not found", highlight=False)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        database = Database(Path(folder) / "data")
        grouped = stack.enter_context(dropzero(database.data))
        loop = stack.enter_context(_one_by_one(database, Path(folder) / "other"))
        counter = None if missing else stack.enter_context(redis_counter())
        for delay in delays:
            database.set_commit_delay(delay)
            # Node's driver does not survive the end of its sessions, so each delay has a peer of its own.
            with nullcontext() if missing else _published_loop(database) as peer:
                for buyers in numbers:
                    rows.append(_with_books(database, grouped, GROUP_COMMIT, new_product(grouped), delay, buyers))
                    rows.append(_with_books(database, loop, ONE_BY_ONE, new_product(loop, shards=1), delay, buyers))
                    if peer is not None and buyers >= PEER_BUYERS:
                        product_id = published.new_product(database)
                        load, row = measure(PUBLISHED_LOOP, peer, product_id, delay, buyers)
                        published.check_books(database, product_id, load.order_ids, in_flight=buyers)
                        rows.append(row)
                        if counter is not None and delay == 0:
                            rows.append(measure(REDIS_COUNTER, counter, str(uuid.uuid4()), delay, buyers)[1])
    return rows


def _with_books(
    database: Database, server: Process, kind: str, product_id: str, delay: int, buyers: int
) -> dict[str, Any]:
    """Measure one cell of a server of ours, and check its books."""
    load, row = measure(kind, server, product_id, delay, buyers)
    database.check_books(product_id, load.order_ids, in_flight=buyers)
    return row


def _published_loop(database: Database) -> AbstractContextManager[Process]:
    return node_peer("published_loop.mjs", PGHOST=str(database.socket_folder))


def _one_by_one(database: Database, data: Path) -> AbstractContextManager[Process]:
    environment = {
        "DROPZERO_ENDPOINTS": f"ap-northeast-1={database.url}",
        TOKEN: "the-operators-token-of-a-bench",
        "DROPZERO_GROUP_COMMIT": "off",
        "DROPZERO_CONNECTIONS": "40",  # with the peer's 50 within the embedded PostgreSQL's 100
        "DROPZERO_DRAIN_S": "0",
    }
    return dropzero(data, **environment)


@contextmanager
def redis_counter() -> Iterator[Process]:
    with redis() as port, node_peer("redis_counter.mjs", REDIS_PORT=str(port)) as counter:
        yield counter


def ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Purchases per second of group commit as a multiple of the loops', for each delay and number of buyers."""
    cells: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)
    for row in rows:
        cells[row["commit_delay_ms"], row["buyers"]][row["server"]] = row["purchases_per_s"]
    return [
        {
            "commit_delay_ms": delay,
            "buyers": buyers,
            "group_commit_per_s": rates[GROUP_COMMIT],
            **{
                f"group commit : {loop}": rates[GROUP_COMMIT] / rates[loop] if rates.get(loop) else ""
                for loop in (ONE_BY_ONE, PUBLISHED_LOOP)
            },
        }
        for (delay, buyers), rates in cells.items()
    ]


def plot(rows: Sequence[dict[str, Any]]) -> Path:
    """Purchases per second over buyers, a panel for each commit delay."""
    from matplotlib import pyplot

    delays = sorted({row["commit_delay_ms"] for row in rows})
    columns = min(PANELS_IN_A_ROW, len(delays))
    lines = -(-len(delays) // columns)
    size = (4 * columns, 3.6 * lines)
    figure, panels = pyplot.subplots(lines, columns, figsize=size, sharey=True, squeeze=False, layout="constrained")
    for panel in panels.flat[len(delays) :]:
        panel.remove()
    for panel, delay in zip(panels.flat, delays, strict=False):
        for kind in dict.fromkeys(row["server"] for row in rows):
            cells = [row for row in rows if (row["server"], row["commit_delay_ms"]) == (kind, delay)]
            rates = [row["purchases_per_s"] for row in cells]
            panel.plot([row["buyers"] for row in cells], rates, marker="o", label=kind)
        panel.set(title=f"a commit takes {delay} ms more", xlabel="buyers at a time", xscale="log", yscale="log")
        panel.grid(alpha=0.3)
    for first in panels[:, 0]:
        first.set_ylabel("confirmed purchases/s")
    panels[0][0].legend(fontsize="small")
    return save_plot("hot_row", figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="no delay and 20 ms, 50 and 200 buyers")
    quick = parser.parse_args().quick
    rows = run(*(((0, 20), (50, 200)) if quick else (COMMIT_DELAYS_MS, BUYERS)))
    print_table("One hot row", rows)
    print_table("Group commit beside one transaction per purchase", ratios(rows))
    if not quick:
        console.print(f"written to {write_json('hot_row', rows)} and {plot(rows)}")


if __name__ == "__main__":
    main()
