"""Requests per second and processor time of five operations, from 200 clients at once.

    python -m bench.graphql                     this checkout, beside the peer on Node, about two minutes
    python -m bench.graphql --before FOLDER     and beside the code of an earlier version
    python -m bench.graphql --quick             one round

The peer reads the tables of this checkout by the same statements. Each operation is measured on all servers, one after
the other, in three rounds, and the round with the median of requests per second counts. At first every server executes
each operation once: the bench ends when their data differ.
"""

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.operations import PAGE, PRODUCT, PURCHASE, Operation, send
from bench.products import execute, new_product
from bench.report import console, plot_lines, print_table, ratio, write_json
from bench.servers import Process, node_peer
from bench.version import ROOT, code_folder, prepared

CLIENTS = 200
SECONDS = 6
ROUNDS = 3
WARM_UP = 1
IDLE_INTERVAL, IDLE_TIMEOUT = 0.3, 60.0
"""Seconds. A server that uses less than a tenth of an interval is idle."""

PRODUCTS = 100
THIS, BEFORE, PEER = "this checkout", "before", "Node"
PEER_PROGRAMS = ("node", "npm")


def fill(server: Process) -> list[Operation]:
    """Create the products, and return the operations. Products have the same ids in every version."""
    opened = datetime(2026, 1, 1, tzinfo=UTC)
    sold_out = new_product(server, 0, opens_at=opened, key="sold out")
    product_ids = [new_product(server, 100, opens_at=opened, key=f"product {number}") for number in range(PRODUCTS)]
    return [
        Operation("a query that reads nothing", "{ __typename }"),
        Operation("a mutation that does nothing", "mutation { __typename }"),
        Operation("one product", PRODUCT, {"id": product_ids[0]}),
        Operation("a page of 100 products", PAGE),
        Operation("a purchase, sold out", PURCHASE, {"input": {"productId": sold_out, "userRef": "ada"}}),
    ]


@contextmanager
def running(before: Path | None) -> Iterator[tuple[dict[str, Process], list[Operation]]]:
    """Yield the servers by name, and the operations that all of them execute."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        versions = {THIS: stack.enter_context(prepared(ROOT, Path(folder) / "this"))}
        if before is not None:
            versions[BEFORE] = stack.enter_context(prepared(before, Path(folder) / "before"))
        servers = {name: stack.enter_context(version.server("-m", "api")) for name, version in versions.items()}
        *_, operations = map(fill, servers.values())
        missing = [program for program in PEER_PROGRAMS if shutil.which(program) is None]
        if missing:
            console.print(f"without the peer on Node: {', '.join(missing)} not found", highlight=False)
        else:
            tables = versions[THIS].database.socket_folder
            servers[PEER] = stack.enter_context(node_peer("shop.mjs", PGHOST=str(tables)))
        yield servers, operations


def check_answers(servers: dict[str, Process], operations: Sequence[Operation]) -> None:
    """Execute each operation once on each server. Ends the bench when a server's data differ from this checkout's."""
    for operation in operations:
        answers = {name: answer(server, operation) for name, server in servers.items()}
        for name, data in answers.items():
            if data != answers[THIS]:
                raise SystemExit(f"{operation.name}: {name} answers {str(data)[:500]}, not {str(answers[THIS])[:500]}")


def answer(server: Process, operation: Operation) -> Any:
    """The data, with moments as such, since `Z` and `+00:00` are the same, and without the present moment."""
    data = execute(server, operation.query, dict(operation.variables))
    data.pop("now", None)
    for edge in data.get("products", {}).get("edges", ()):
        edge["node"]["opensAt"] = datetime.fromisoformat(edge["node"]["opensAt"])
    return data


def measure(name: str, server: Process, operation: Operation) -> dict[str, Any]:
    send(server, operation, CLIENTS, WARM_UP)
    await_idle(server)
    cpu = server.cpu_seconds()
    answered = send(server, operation, CLIENTS, SECONDS)
    cpu = server.cpu_seconds() - cpu
    await_idle(server)
    row = {
        "operation": operation.name,
        "server": name,
        "requests_per_s": answered.requests / answered.seconds,
        "p50_ms": answered.p50,
        "p99_ms": answered.p99,
        "server_us_per_request": cpu / answered.requests * 1e6 if answered.requests else 0.0,
    }
    console.print(f"{operation.name}, {name}: {row['requests_per_s']:,.0f}/s", highlight=False)
    return row


def await_idle(server: Process) -> None:
    """Wait until the server has executed the requests whose connections wrk has closed. Ends the bench if that takes
    IDLE_TIMEOUT."""
    deadline = time.monotonic() + IDLE_TIMEOUT
    while time.monotonic() < deadline:
        cpu = server.cpu_seconds()
        time.sleep(IDLE_INTERVAL)
        if server.cpu_seconds() - cpu < IDLE_INTERVAL / 10:
            return
    raise SystemExit(f"the server at {server.url} is still busy after {IDLE_TIMEOUT:g} s")


def run(before: Path | None, rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with running(before) as (servers, operations):
        check_answers(servers, operations)
        for operation in operations:
            measured = [[measure(name, server, operation) for name, server in servers.items()] for _ in range(rounds)]
            for of_server in zip(*measured, strict=True):
                rows.append(sorted(of_server, key=lambda row: float(row["requests_per_s"]))[rounds // 2])
    return rows


def ratios(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What this checkout has as a multiple of the other servers, for each operation."""
    cells = {(row["operation"], row["server"]): row for row in rows}
    others = [server for server in dict.fromkeys(row["server"] for row in rows) if server != THIS]
    return [
        {"operation": operation}
        | {
            f"{what}, {THIS} : {other}": ratio(cells[operation, THIS][column], cells[operation, other][column])
            for what, column in (("requests/s", "requests_per_s"), ("CPU", "server_us_per_request"))
            for other in others
        }
        for operation in dict.fromkeys(row["operation"] for row in rows)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=code_folder, help="a folder with the code of an earlier version")
    parser.add_argument("--quick", action="store_true", help="one round; nothing is written")
    asked = parser.parse_args()
    rows = run(asked.before, 1 if asked.quick else ROUNDS)
    print_table(f"GraphQL, {CLIENTS} clients", rows)
    compared = ratios(rows)
    if len(compared[0]) > 1:
        print_table("Beside the others", compared)
    if not asked.quick:
        drawn = plot_lines(
            "graphql", rows, x="operation", y=["requests_per_s"], by="server", title=f"{CLIENTS} clients"
        )
        console.print(f"written to {write_json('graphql', rows)} and {drawn}")


if __name__ == "__main__":
    main()
