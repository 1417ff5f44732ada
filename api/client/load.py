"""The published load test: N purchases by V concurrent buyers of M units, and whether exactly M were sold."""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from api.client.graphql import GraphQLClient, RequestFailed

_REGIONS = "query Regions { regions { name } }"
_CREATE = """
mutation LoadTestProduct($input: CreateProductInput!) { createProduct(input: $input) { id } }
"""
_STOCK = "query Stock($id: ID!) { product(id: $id) { stock } }"
_PURCHASE = """
mutation LoadTestPurchase($input: PurchaseInput!) { purchase(input: $input) { status attempts } }
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: `purchases` in all, of one unit each, `buyers` of them at a time, for `units` in stock."""

    purchases: int
    buyers: int
    units: int


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What came of it. Latencies are in milliseconds, sorted, one per purchase that was answered."""

    load: Load
    product_id: str
    regions: list[str]
    outcomes: Counter[str]
    errors: Counter[str]
    attempts: list[int]
    latencies: list[float]
    seconds: float
    final_stock: int

    @property
    def exact(self) -> bool:
        """Whether every unit is either sold or left."""
        return self.outcomes["CONFIRMED"] + self.final_stock == self.load.units

    @property
    def purchases_per_second(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def percentile(self, percent: float) -> float:
        """The latency in milliseconds that `percent` of the answers did not exceed; 0 without answers."""
        if not self.latencies:
            return 0.0
        rank = min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))
        return self.latencies[rank]


async def run_load(
    clients: Sequence[GraphQLClient], load: Load, regions: list[str] | None, on_answer: Callable[[], None]
) -> LoadReport:
    """Create a product, buy it out, and look what is left.

    Purchases are spread over the clients and over the regional endpoints, all that the first server reaches if
    none are named. Raises RequestFailed when the test cannot begin or its end cannot be read.
    """
    if regions is None:
        regions = [region["name"] for region in (await clients[0].execute(_REGIONS))["regions"]]
    name = f"Load test {time.strftime('%H:%M:%S')}"
    product = {"name": name, "dropName": "Load test", "stock": load.units}
    product_id: str = (await clients[0].execute(_CREATE, {"input": product}))["createProduct"]["id"]

    outcomes: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    attempts: list[int] = []
    latencies: list[float] = []
    numbers = iter(range(load.purchases))
    ways = itertools.cycle(itertools.product(clients, regions))

    async def buyer() -> None:
        for number in numbers:
            client, region = next(ways)
            purchase = {
                "productId": product_id,
                "userRef": f"buyer-{number}",
                "region": region,
                "idempotencyKey": str(uuid4()),
            }
            started = time.perf_counter()
            try:
                result = (await _purchase(client, purchase))["purchase"]
            except RequestFailed as error:
                errors[str(error)] += 1
            else:
                latencies.append((time.perf_counter() - started) * 1000)
                outcomes[result["status"]] += 1
                attempts.append(result["attempts"])
            on_answer()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as buyers:
        for _ in range(load.buyers):
            buyers.create_task(buyer())
    seconds = time.perf_counter() - started
    final_stock = (await clients[0].execute(_STOCK, {"id": product_id}))["product"]["stock"]
    return LoadReport(load, product_id, regions, outcomes, errors, attempts, sorted(latencies), seconds, final_stock)


async def _purchase(client: GraphQLClient, purchase: dict[str, Any]) -> dict[str, Any]:
    """Buy, and ask once more under the same key when the answer was lost: it is the same purchase."""
    try:
        return await client.execute(_PURCHASE, {"input": purchase})
    except RequestFailed:
        return await client.execute(_PURCHASE, {"input": purchase})
