"""The products that a bench sells: created and read through the server's GraphQL API, as its operator.

So a bench knows nothing of the tables that keep the stock, and measures an older version as well as this one.
"""

import json
import urllib.request
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bench.servers import Process

STOCK = 100_000_000
"""Units of a product that must never sell out."""

PRODUCTS_READ = 20
"""Products in one query. A document of 20 products stays within the server's limit of tokens."""

TIMEOUT = 60.0
"""Seconds for one request."""

_CREATE = "mutation ($input: CreateProductInput!) { createProduct(input: $input) { id } }"
_ARGUMENTS = '{ __type(name: "CreateProductInput") { inputFields { name } } }'


@dataclass(frozen=True)
class Level:
    """The stock of a product at one version."""

    stock: int
    version: int


def takes_shards(server: Process) -> bool:
    """Whether the server's createProduct has the argument `shards`. Versions that keep a product's stock in one row
    have no such argument."""
    return any(field["name"] == "shards" for field in execute(server, _ARGUMENTS)["__type"]["inputFields"])


def new_product(
    server: Process,
    stock: int = STOCK,
    *,
    shards: int | None = None,
    limit: int | None = None,
    opens_at: datetime | None = None,
    hold_seconds: int | None = None,
    key: str | None = None,
) -> str:
    """Create a product and return its id.

    `shards`: rows of stock; the server's default if None, and one row where the server knows no shards. `limit`: units
    that one buyer can hold. `opens_at`: when buying begins, at once if None. `hold_seconds`: for which a purchase is
    held; it is final at once if None. `key`: the same key gives the same id in every database; a random one if None.
    """
    wanted: dict[str, Any] = {"name": "Tee", "dropName": "Bench", "stock": stock, "limitPerBuyer": limit}
    if shards is not None and takes_shards(server):
        wanted["shards"] = shards
    if opens_at is not None:
        wanted["opensAt"] = opens_at.isoformat()
    if hold_seconds is not None:
        wanted["holdSeconds"] = hold_seconds
    wanted["idempotencyKey"] = key or str(uuid.uuid4())
    return str(execute(server, _CREATE, {"input": wanted})["createProduct"]["id"])


def new_products(server: Process, count: int) -> list[str]:
    """Create this many products with the server's default of shards, and return their ids."""
    return [new_product(server) for _ in range(count)]


def levels(server: Process, product_ids: Sequence[str]) -> dict[str, Level]:
    """The level of each of these products now."""
    found: dict[str, Level] = {}
    for first in range(0, len(product_ids), PRODUCTS_READ):
        chunk = product_ids[first : first + PRODUCTS_READ]
        fields = " ".join(f'p{number}: product(id: "{name}") {{ stock version }}' for number, name in enumerate(chunk))
        data = execute(server, f"{{ {fields} }}")
        for number, product_id in enumerate(chunk):
            product = data[f"p{number}"]
            found[product_id] = Level(product["stock"], product["version"])
    return found


def execute(server: Process, query: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run an operation as the operator and return its data. Ends the bench if there are errors."""
    body = json.dumps({"query": query, "variables": variables or {}}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {server.token}"}
    request = urllib.request.Request(f"{server.url}/graphql", body, headers)  # noqa: S310 - our own address
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:  # noqa: S310
        answer: dict[str, Any] = json.loads(response.read())
    if answer.get("errors"):
        raise SystemExit(f"{server.url} answered with errors: {answer['errors']}")
    data: dict[str, Any] = answer["data"]
    return data
