"""The operations that schemathesis makes from the server's schema break neither the server nor its books.

SCHEMATHESIS_SEED=n makes other operations, and SCHEMATHESIS_EXAMPLES=100 makes more. The seed is printed.
"""

import asyncio
import json
import logging
import os
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from api.database.pool import Pool
from api.drops.audit import audit
from api.drops.reference import reference_of
from tests.command import environment, started
from tests.graphql.operations import ORDERS, PRODUCTS
from tests.patience import FACTOR, PATIENCE
from tests.server import ADMIN_TOKEN, Server

pytestmark = pytest.mark.slow

LOG = "{ operatorLog { edges { cursor } } }"
DROPS = "{ drops { edges { cursor } } }"

CLIENT = Path(__file__).with_name("schemathesis_client.py")

SEED = int(os.environ.get("SCHEMATHESIS_SEED", "4"))

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "8"))
"""Operations of each field that should work, and as many that should not. A field can have fewer different ones."""

SECONDS = PATIENCE + EXAMPLES * 28.0 * FACTOR
"""Seconds until the last operation must have been answered. On a quiet machine 430 operations take four; on two cores
at load 18, 400 took more than 180."""

QUERIES = {
    *("Query.now", "Query.order", "Query.orders", "Query.product", "Query.products", "Query.regions", "Query.viewer"),
    *("Query.drop", "Query.drops", "Query.node", "Query.nodes", "Query.productsByIds", "Query.purchaseByKey"),
}
STRANGERS = {*QUERIES, "Mutation.purchase", "Mutation.cancelOrder", "Mutation.releaseOrder"}
OPERATORS = {
    *STRANGERS,
    *("Query.operatorLog", "Query.dropHistory", "Query.orderCounts", "Mutation.createProduct", "Mutation.restock"),
    *("Mutation.updateProduct", "Mutation.pauseProduct", "Mutation.resumeProduct", "Mutation.archiveProduct"),
    "Mutation.confirmOrder",
}

REFUSED = {"Mutation.guest", "Query.orderEvents"}
"""This server has no guests, and keeps no events."""


@dataclass(frozen=True)
class Answered:
    """An operation that schemathesis made, and the server's answer."""

    field: str
    status: int
    codes: tuple[str, ...]
    document: str


async def known_values(server: Server) -> dict[str, list[Any]]:
    """Values of arguments by name. Sells something first, so that orders have values too."""
    product_id, held_id = await server.create_product(1000), await server.create_product(1000, holdSeconds=600)
    bought = [(product_id, "click-1"), (product_id, None), (held_id, None)]
    orders = [(await server.purchase(each, "ada", idempotencyKey=key))["order"]["id"] for each, key in bought]
    [product, *_] = (await server.data(PRODUCTS))["products"]["edges"]
    [entry, *_] = (await server.data(LOG, token=ADMIN_TOKEN))["operatorLog"]["edges"]
    [drop, *_] = (await server.data(DROPS))["drops"]["edges"]
    [order, *_] = (await server.data(ORDERS, {"userRef": "ada"}))["orders"]["edges"]
    return {
        "id": [product_id, *orders],
        "productId": [product_id, held_id],
        "paymentRef": ["pi_1", "pi_2"],
        "holdSeconds": [60],
        "revision": [0, 1],
        "orderId": orders,
        "userRef": ["ada"],
        "name": ["Tee"],
        "dropName": ["First Light"],
        "description": ["A tee"],
        "family": ["Tee"],
        "option": ["M"],
        "shards": [1, 16],
        "idempotencyKey": ["click-1", "click-2"],
        "slug": ["first-light"],
        "drop": ["first-light"],
        "region": [endpoint.region for endpoint in server.settings.endpoints],
        **{
            f"{field}.{name}": [page["cursor"]]
            for field, page in (("products", product), ("drops", drop), ("orders", order), ("operatorLog", entry))
            for name in ("after", "before")
        },
        "reference": [reference_of(UUID(order_id)) for order_id in orders],
        "since": ["2000-01-01T00:00:00Z"],
        "until": ["2999-01-01T00:00:00Z"],
        "opensAt": ["2000-01-01T00:00:00Z"],
        "closesAt": ["2999-01-01T00:00:00Z"],
        **{name: [1, 2, 100] for name in ("first", "last", "quantity", "delta", "limitPerBuyer", "stock")},
    }


async def fuzz(server: Server, headers: dict[str, str], folder: Path) -> list[Answered]:
    """Send the server the operations that schemathesis makes from its schema. hypothesis writes to `folder`."""
    wanted = {
        "url": f"{server.url}/graphql",
        "headers": headers,
        "seed": SEED,
        "examples": EXAMPLES,
        "timeout": PATIENCE,
        "values": await known_values(server),
    }
    print(f"SCHEMATHESIS_SEED={SEED}")  # noqa: T201
    fixed = {"PYTHONHASHSEED": "0", "HYPOTHESIS_STORAGE_DIRECTORY": str(folder), "NO_PROXY": "127.0.0.1"}
    variables = environment(fixed)
    async with started(sys.executable, "-P", CLIENT, env=variables, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        async with asyncio.timeout(SECONDS):
            out, err = await process.communicate(json.dumps(wanted).encode())
    assert process.returncode == 0, err.decode()
    return [
        Answered(field, status, tuple(codes), document)
        for field, status, codes, document in map(json.loads, out.splitlines())
    ]


async def assert_sells_exactly(server: Server, pool: Pool) -> None:
    """Check that five buyers get exactly three of three units, and that the books of every product balance."""
    product_id = await server.create_product(3)
    outcomes = await asyncio.gather(*(server.purchase(product_id, f"buyer {number}") for number in range(5)))
    assert Counter(outcome["status"] for outcome in outcomes) == {"CONFIRMED": 3, "SOLD_OUT": 2}
    books = await audit(pool)
    assert [line for line in books if not line.balanced] == []
    assert (3, 0, 3) in {(line.stocked, line.stock, line.sold) for line in books}


@pytest.mark.parametrize(
    ("headers", "accepted"),
    [({}, STRANGERS), ({"authorization": f"Bearer {ADMIN_TOKEN}"}, OPERATORS)],
    ids=["stranger", "operator"],
)
async def test_no_operation_that_is_made_from_the_schema_breaks_the_server(
    server: Server,
    pool: Pool,
    headers: dict[str, str],
    accepted: set[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    answered = await fuzz(server, headers, tmp_path)

    assert [each for each in answered if each.status >= 500 or {"INTERNAL", "not JSON"} & {*each.codes}] == []
    assert {each.status for each in answered} == {200}
    assert {each.field for each in answered if not each.codes} == accepted
    assert {each.field for each in answered} == {*OPERATORS, *REFUSED}
    await assert_sells_exactly(server, pool)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
