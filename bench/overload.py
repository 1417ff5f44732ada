"""More requests than one process can answer: what is still answered, how late, and what is refused first.

    python -m bench.overload                      about a minute and a half
    python -m bench.overload --before FOLDER      beside the checkout of an earlier version

First 200 clients send as many purchases as the process answers. Then 17,000 clients send 10,000 requests a second for
20 s, whatever the process answers: purchases alone, and then purchases and reads.
"""

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from api.client.load import percentile
from api.operator_token import find_operator_token
from bench import stampede
from bench.database import Database
from bench.products import new_product
from bench.report import console, print_table, write_json
from bench.servers import Process, checkout
from bench.stampede import Counts, Crowd, Plan

RATE, SECONDS = 10_000, 20
CONNECTIONS = 17_000
"""More connections than requests can wait at the gate before the next one is refused."""

CLOSED, CLOSED_SECONDS = 200, 5
"""Connections of the load that measures the capacity: each sends its next purchase after an answer."""


@contextmanager
def server_of(code: Path) -> Iterator[tuple[Process, Database]]:
    """A server of this code as on a laptop, where a caller without a token may name any buyer."""
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "data")
        log = Path(folder) / "server.log"
        with checkout(code, ("-m", "api"), log, DROPZERO_DATA=str(database.data)) as server:
            server.token = find_operator_token(database.data) or ""
            yield server, database


def load(server: Process, database: Database, plan: Plan) -> tuple[Crowd, float]:
    """Send a plan and check the books. Returns what became of it, and the server's processor time in seconds."""
    cpu = server.cpu_seconds()
    sent = stampede.send(plan)
    cpu = server.cpu_seconds() - cpu
    database.check_books(plan.product_id, sent.order_ids, in_flight=sent.purchases.unanswered)
    return sent, cpu


def plan_for(server: Process, *, rate: int, seconds: float, connections: int, reads: int = 0) -> Plan:
    port = int(server.url.rpartition(":")[2])
    return Plan(port, new_product(server), rate, seconds, connections, reads)


def measure(name: str, code: Path) -> list[dict[str, Any]]:
    """Measure one version. Returns a row for the capacity and one for each overload."""
    rows = []
    with server_of(code) as (server, database):
        # More than it can answer, on so few connections that none of them waits long.
        load(server, database, plan_for(server, rate=RATE, seconds=2, connections=CLOSED))
        plan = plan_for(server, rate=RATE, seconds=CLOSED_SECONDS, connections=CLOSED)
        sent, cpu = load(server, database, plan)
        capacity, each = sent.purchases.done_under_load / CLOSED_SECONDS, cpu / len(sent.purchases.done)
        console.print(f"{name}: {capacity:,.0f} purchases/s, {each * 1e6:.0f} us each", highlight=False)
        for reads in (0, 5):
            plan = plan_for(server, rate=RATE, seconds=SECONDS, connections=CONNECTIONS, reads=reads)
            sent, cpu = load(server, database, plan)
            for kind, counts in (("purchases", sent.purchases), ("reads", sent.reads)):
                if counts.sent:
                    rows.append(row(name, f"{10 - reads}:{reads}", kind, counts, capacity))
            used = f"the server used {cpu:.1f} s, and the crowd {sent.cpu:.1f} s"
            console.print(f"{name}, {reads} reads of 10: {used}", highlight=False)
    return rows


def row(name: str, mix: str, kind: str, counts: Counts, capacity: float) -> dict[str, Any]:
    done = [latency * 1000 for latency in counts.done]
    refused = [latency * 1000 for latency in counts.refused]
    per_s = counts.done_under_load / SECONDS
    return {
        "version": name,
        "purchases_to_reads": mix,
        "of": kind,
        "done_per_s": per_s,
        "share_of_capacity": per_s / capacity,
        "p50_ms": percentile(done, 50),
        "p99_ms": percentile(done, 99),
        "refused": len(refused),
        "refused_p50_ms": percentile(refused, 50),
        "refused_p99_ms": percentile(refused, 99),
        "without_a_time": counts.without_time,
        "other_answers": counts.other,
        "unanswered": counts.unanswered,
        "not_sent": counts.unsent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="More requests than one process can answer.")
    parser.add_argument("--before", type=Path, help="a folder with the code of an earlier version")
    asked = parser.parse_args()
    if asked.before is not None and not (asked.before / "api").is_dir():
        parser.error(f"{asked.before} has no folder named api")
    here = Path(__file__).parent.parent
    rows = [] if asked.before is None else measure("before", asked.before.resolve())
    rows += measure("this version", here)
    print_table(f"{RATE:,} requests a second for {SECONDS} s", rows)
    console.print(f"written to {write_json('overload', rows)}")


if __name__ == "__main__":
    main()
