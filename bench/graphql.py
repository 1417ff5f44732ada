"""Requests per second of a query, of a mutation that writes nothing, and of a list of 100.

python -m bench.graphql
"""

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from bench.products import new_product, new_products
from bench.report import console, plot_lines, print_table, write_json
from bench.servers import Process, dropzero

SCRIPT = Path(__file__).with_name("operation.lua")
SECONDS = 8
CONNECTIONS = 50

TYPENAME = "{ __typename }"
PRODUCT = "query ($id: ID!) { product(id: $id) { name stock soldOut } }"
LIST = "{ products(first: 100) { edges { cursor node { id name dropName stock soldOut } } pageInfo { hasNextPage } } }"
PURCHASE = "mutation ($input: PurchaseInput!) { purchase(input: $input) { status attempts message } }"


def measure(name: str, server: Process, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables})
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", str(SCRIPT), f"{server.url}/graphql"]
    cpu = server.cpu_seconds()
    finished = subprocess.run([*command, "--", body], check=True, capture_output=True, text=True)
    cpu = server.cpu_seconds() - cpu
    counted = json.loads(next(line[5:] for line in finished.stdout.splitlines() if line.startswith("JSON ")))
    return {
        "operation": name,
        "requests_per_s": counted["per_s"],
        "p50_ms": counted["p50"],
        "p99_ms": counted["p99"],
        "errors": counted["errors"],
        "server_us_per_request": cpu / (counted["per_s"] * SECONDS) * 1e6,
    }


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, dropzero(Path(folder) / "data") as server:
        product_id = new_product(server)
        sold_out = {"input": {"productId": new_product(server, stock=0), "userRef": "ada"}}
        new_products(server, 100)
        rows = [
            measure("a query that reads nothing", server, TYPENAME, {}),
            measure("one product", server, PRODUCT, {"id": product_id}),
            measure("a list of 100 products", server, LIST, {}),
            measure("a purchase, sold out", server, PURCHASE, sold_out),
        ]
    print_table(f"GraphQL, {CONNECTIONS} connections", rows)
    written = write_json("graphql", rows)
    drawn = plot_lines("graphql", rows, x="operation", y=["requests_per_s"], title=f"{CONNECTIONS} connections")
    console.print(f"written to {written} and {drawn}")


if __name__ == "__main__":
    main()
