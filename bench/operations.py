"""The operations that benches send again and again, and wrk as their sender."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from api.storefront.pages import documents
from bench.servers import Process

SCRIPT = Path(__file__).with_name("operation.lua")

PAGE = next(text for text in documents() if text.startswith("query Drops"))
"""The query that the storefront's first page sends, for 100 products."""

PRODUCT = "query ($id: ID!) { product(id: $id) { name stock soldOut } }"
PURCHASE = (
    "mutation ($input: PurchaseInput!) "
    "{ purchase(input: $input) { status attempts ... on PurchaseSoldOut { remaining } } }"
)


@dataclass(frozen=True)
class Operation:
    """A request's document with its variables."""

    name: str
    query: str
    variables: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> str:
        return json.dumps({"query": self.query, "variables": self.variables})


@dataclass(frozen=True)
class Answered:
    """What wrk counted. Latencies are in milliseconds."""

    seconds: float
    requests: int
    p50: float
    p99: float
    errors: int
    """Answers without status 200, and requests without an answer."""


def send(server: Process, operation: Operation, clients: int, seconds: float) -> Answered:
    """Let `clients` send the operation for some seconds, each over a connection of its own. The operator sends it, if
    the server has one. Ends the bench at an error."""
    command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds:g}s", "--timeout", "60s", "-s", str(SCRIPT)]
    arguments = [f"{server.url}/graphql", "--", operation.body, server.token]
    finished = subprocess.run([*command, *arguments], check=True, capture_output=True, text=True)
    counted = next(line[5:] for line in finished.stdout.splitlines() if line.startswith("JSON "))
    answered = Answered(**json.loads(counted))
    if answered.errors:
        raise SystemExit(f"{operation.name}: {answered.errors} errors beside {answered.requests} answers")
    return answered
