"""The opening of a drop: within ten seconds 5,000 clients load the page, buy one of 500 units, and watch its stock.

    python -m bench.opening                     this checkout with one process, and with two worker processes
    python -m bench.opening --before FOLDER     beside the code of an earlier version
    python -m bench.opening --clients 1000      fewer clients
    python -m bench.opening --visited           some clients have come before the opening as well

The server is `dropzero serve` on its embedded PostgreSQL, as on a laptop. Clients are guests whose tokens were made
before the opening, and each has an address of its own. They come after the opening, half of them in the first second
(see bench/crowd.py). The bench ends with an error when this checkout fails one of the requirements in `judge`.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from api.client.load import percentile
from api.identity.guests import GuestTokens
from bench.crowd import PRODUCTS, Seen, Visit, crowd
from bench.database import Database
from bench.products import new_product, new_products
from bench.report import console, print_table, write_json
from bench.servers import TOKEN, Process, checkout, own_environment
from bench.version import ROOT, code_folder

CLIENTS = 5_000
CLIENTS_PER_UNIT = 10
WORKERS = (1, 2)
LAST_ANSWER = 10.0
"""Seconds from the opening within which the last buyer has an answer."""

LEAD = 8.0
"""Seconds from the creation of the drop to its opening: the crowd's process starts meanwhile."""

EARLY = 20
"""Clients that come before the opening, so that each of two worker processes has had one."""

GUEST_KEY = "the-key-of-guest-tokens-of-a-bench"
OPERATOR = "the-operators-token-of-a-bench"
THIS, BEFORE = "this checkout", "before"
AWAY = " is away"
"""What a server logs when it calls a Region away."""


def measure(name: str, code: Path, workers: int, clients: int, visited: bool) -> tuple[dict[str, Any], list[str]]:
    """Open one drop on a server of its own. Returns the figures, and every requirement that the server failed."""
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder) / "data", Path(folder) / "log"
        environment = {"DROPZERO_DATA": str(data), "DROPZERO_GUEST_KEY": GUEST_KEY, TOKEN: OPERATOR}
        with checkout(code, ("-m", "api"), log, ("--workers", str(workers)), **environment) as server:
            new_products(server, PRODUCTS - 1)
            visit = new_drop(server, clients, EARLY if visited else 0)
            with crowd(visit) as answers:
                cpu = server.cpu_seconds()
                seen = answers()
                cpu = server.cpu_seconds() - cpu
                peak = server.peak_memory_mib()
            orders = Database(data).order_ids(visit.product_id)
            audited = audit(code, environment)
        failures = judge(seen, clients, orders, audited, log.read_text(encoding="utf-8"))
    figures = row(name, workers, clients, seen) | {"server_cpu_s": cpu, "server_peak_mib": peak}
    figures |= {"crowd_cpu_s": seen.cpu_seconds, "crowd_peak_mib": seen.peak_mib, "failed": failures}
    return figures, failures


def new_drop(server: Process, clients: int, early: int) -> Visit:
    """Create the product that everybody wants, which opens after LEAD."""
    opening = time.perf_counter() + LEAD
    opens_at = datetime.fromtimestamp(time.time() + LEAD, UTC)
    product_id = new_product(server, clients // CLIENTS_PER_UNIT, opens_at=opens_at)
    guests = GuestTokens([GUEST_KEY])
    tokens = [guests.issue(time.time()).token for _ in range(clients)]
    return Visit(server.url, product_id, opening, tokens, early)


def audit(code: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `dropzero audit` beside the server."""
    variables = {**own_environment(), "PYTHONPATH": str(code), **environment}
    command = [sys.executable, "-P", "-m", "api", "audit"]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False)


def judge(seen: Seen, clients: int, orders: set[str], audited: subprocess.CompletedProcess[str], log: str) -> list[str]:
    """Every requirement that was failed, with what was seen."""
    units = clients // CLIENTS_PER_UNIT
    wanted = {"CONFIRMED": units, "SOLD_OUT": clients - units}
    requirements = {
        f"{seen.errors.total()} errors: {seen.errors.most_common(5)}": not seen.errors,
        f"outcomes {dict(seen.outcomes)}, not {wanted}": seen.outcomes == wanted,
        f"{len(orders)} orders, and {len(seen.order_ids)} answers that name one": orders == seen.order_ids,
        f"last stocks {dict(seen.last_stocks)}, not 0 at {clients}": seen.last_stocks == {0: clients},
        f"audit: {(audited.stderr or audited.stdout).strip()[-300:]}": audited.returncode == 0,
        f"a Region was called away: {[line for line in log.splitlines() if AWAY in line][:3]}": AWAY not in log,
        f"the last answer after {seen.last_answer:.1f} s, not {LAST_ANSWER:g} s": seen.last_answer <= LAST_ANSWER,
    }
    return [failure for failure, holds in requirements.items() if not holds]


def row(name: str, workers: int, clients: int, seen: Seen) -> dict[str, Any]:
    """The figures of the clients. Latencies in milliseconds."""
    latencies = {"page": seen.pages, "purchase": seen.purchases, "first_stock": seen.first_stocks}
    return {
        "server": name,
        "processes": workers,
        "clients": clients,
        "confirmed": seen.outcomes["CONFIRMED"],
        "sold_out": seen.outcomes["SOLD_OUT"],
        "errors": seen.errors.total(),
        "busy": seen.busy,
        **{
            f"{what}_{label}_ms": percentile(seconds, percent) * 1000
            for what, seconds in latencies.items()
            for label, percent in (("p50", 50), ("p99", 99), ("max", 100))
        },
        "last_answer_s": seen.last_answer,
        "messages": seen.messages,
        "crowd_late_ms": seen.latest_start * 1000,
    }


def run(before: Path | None, clients: int, numbers: Sequence[int], visited: bool) -> tuple[list[dict[str, Any]], bool]:
    """Open a drop on each version with each number of processes. Returns the rows, and whether this checkout failed."""
    versions = {THIS: ROOT} | ({} if before is None else {BEFORE: before})
    rows, failed = [], False
    for workers in numbers:
        for name, code in versions.items():
            figures, failures = measure(name, code, workers, clients, visited)
            rows.append(figures)
            failed |= bool(failures) and name == THIS
            console.print(
                f"{name}, {workers} process{'es' * (workers > 1)}: the last answer after "
                f"{figures['last_answer_s']:.1f} s; {'; '.join(failures) or 'every requirement is met'}",
                highlight=False,
            )
    return rows, failed


def turned(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each figure and a column for each server, so that the table fits a terminal."""
    servers = {f"{row['server']}, {row['processes']}": row for row in rows}
    figures = [figure for figure in rows[0] if figure not in ("server", "processes", "failed")]
    return [
        {"figure": figure.replace("_", " ")} | {server: row[figure] for server, row in servers.items()}
        for figure in figures
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=code_folder, help="a folder with the code of an earlier version")
    parser.add_argument("--clients", type=int, default=CLIENTS, help="clients; nothing is written with another number")
    parser.add_argument("--workers", type=int, action="append", help="server processes; may be repeated")
    parser.add_argument("--visited", action="store_true", help="some clients have come before the opening as well")
    asked = parser.parse_args()
    rows, failed = run(asked.before, asked.clients, asked.workers or WORKERS, asked.visited)
    print_table("The opening", turned(rows))
    if asked.clients == CLIENTS and not failed:
        console.print(f"written to {write_json('opening-visited' if asked.visited else 'opening', rows)}")
    if failed:
        raise SystemExit("this checkout failed a requirement, see above")


if __name__ == "__main__":
    main()
