"""What tracing costs: the server's processor time for a purchase with traces off, of 1 % of the requests, and of all.

    python -m bench.tracing                    about two minutes
    python -m bench.tracing --quick            a few purchases of each kind
    python -m bench.tracing --before FOLDER    beside the code in another folder, with traces off

The servers share an embedded PostgreSQL, and take turns. The collector is a thread of the bench: the server's time
includes the encoding and the sending of spans.
"""

import argparse
import statistics
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.database import Database
from bench.identity import PURCHASES, QUICK_PURCHASES, QUICK_ROUNDS, ROUNDS, SEEN, Kind, measure
from bench.report import console, print_table, write_json
from bench.servers import TOKEN, checkout, dropzero

SHARES = {"off": "", "1 %": "0.01", "all": "1"}
BEFORE = "before"


class _Collector(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def collector() -> Iterator[str]:
    """A collector that reads and forgets what it is sent; its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def variables(url: str, share: str) -> dict[str, str]:
    if not share:
        return {}
    sampler = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": share}
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **sampler}


def run(purchases: int, rounds: int, before: Path | None) -> list[dict[str, Any]]:
    """Measure the servers one after the other, in each round in the opposite order."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        log, database = Path(folder), Database(Path(folder) / "data")
        url = stack.enter_context(collector())
        stack.enter_context(dropzero(database.data))  # it runs the database
        own = {
            "DROPZERO_ENDPOINTS": f"ap-northeast-1={database.url}",
            "DROPZERO_HOSTS": "127.0.0.1",
            TOKEN: "the-operators-token-of-a-bench",
        }
        servers = {
            name: stack.enter_context(dropzero(log / name, **own, **variables(url, share)))
            for name, share in SHARES.items()
        }
        if before is not None:
            servers[BEFORE] = stack.enter_context(checkout(before, ["-m", "api"], log / "before.log", **own))
        buyer = Kind("operator", SEEN, lambda: own[TOKEN], named=True)
        cost: dict[str, list[float]] = {name: [] for name in servers}
        for server in servers.values():
            measure(server, database, buyer, buyer.tokens(purchases), purchases // 3, log)  # warms up
        for number in range(rounds):
            for name, server in list(servers.items())[:: -1 if number % 2 else 1]:
                cost[name].append(measure(server, database, buyer, buyer.tokens(purchases), purchases, log))
                console.print(f"{name}: {cost[name][-1]:,.0f} us", highlight=False)
    return [
        {
            "traced": name,
            "server_us_per_purchase": statistics.median(costs),
            "least_us": min(costs),
            "most_us": max(costs),
            "of_off": statistics.median(costs) / statistics.median(cost["off"]),
            "least_of_off": min(costs) / min(cost["off"]),
        }
        for name, costs in cost.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PURCHASES} purchases of each kind")
    parser.add_argument("--before", type=Path, help="a folder with other code, measured with traces off")
    arguments = parser.parse_args()
    quick = arguments.quick
    rows = run(*((QUICK_PURCHASES, QUICK_ROUNDS) if quick else (PURCHASES, ROUNDS)), arguments.before)
    print_table("What a purchase costs the server, by the share of the requests that is traced", rows)
    if not quick:
        console.print(f"written to {write_json('tracing', rows)}")


if __name__ == "__main__":
    main()
