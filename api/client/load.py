"""The published load test: N purchases by V concurrent buyers of M units, and whether exactly M were sold."""

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from api.client.graphql import GraphQLClient, NoAnswer, RequestFailed

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


@dataclass(slots=True)
class LoadReport:
    """What came of it.

    `errors` counts purchases without an outcome, by message; `asked_again` those whose first answer was lost.
    Latencies are in milliseconds, one per outcome. `final_stock` is None when it could not be read.
    """

    load: Load
    product_id: str
    regions: list[str]
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    asked_again: int = 0
    attempts: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    final_stock: int | None = None

    @property
    def purchases_per_second(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    @property
    def objection(self) -> str | None:
        """Why this run does not show that exactly the stock was sold; None when it does."""
        if self.final_stock is None:
            return "the final stock could not be read, so it is not known what was sold"
        confirmed, units = self.outcomes["CONFIRMED"], self.load.units
        unaccounted = units - confirmed - self.final_stock
        if unaccounted < 0:
            return f"oversold: {confirmed} confirmed and {self.final_stock} left of {units} units"
        if unaccounted > 0:
            return (
                f"{unaccounted} of {units} units are neither confirmed nor left; "
                f"{self.errors.total()} purchases have no known outcome"
            )
        if self.outcomes["SOLD_OUT"] and self.final_stock:
            return f"undersold: buyers were told sold out, and {self.final_stock} of {units} units are left"
        if self.errors:
            return f"{self.errors.total()} purchases ended in errors"
        return None


def percentile(latencies: Sequence[float], percent: float) -> float:
    """The latency that `percent` of them did not exceed (nearest rank); 0 without any."""
    if not latencies:
        return 0.0
    return sorted(latencies)[max(0, math.ceil(len(latencies) * percent / 100) - 1)]


async def run_load(
    clients: Sequence[GraphQLClient], load: Load, regions: list[str] | None, on_answer: Callable[[], None]
) -> LoadReport:
    """Create a product, buy it out, and look what is left.

    Purchases are spread over the clients and over the regional endpoints that each of them reaches, or over those
    that are named. Raises RequestFailed when the test cannot begin.
    """
    ways = [(client, region) for client in clients for region in await _regions(client, regions)]
    name = f"Load test {time.strftime('%H:%M:%S')}"
    product = {"name": name, "dropName": "Load test", "stock": load.units}
    product_id: str = (await clients[0].execute(_CREATE, {"input": product}))["createProduct"]["id"]

    report = LoadReport(load, product_id, list(dict.fromkeys(region for _, region in ways)))
    purchases = zip(range(load.purchases), itertools.cycle(ways), strict=False)

    async def buyer() -> None:
        for number, (client, region) in purchases:
            await _buy(client, report, {"productId": product_id, "userRef": f"buyer-{number}", "region": region})
            on_answer()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as buyers:
        for _ in range(load.buyers):
            buyers.create_task(buyer())
    report.seconds = time.perf_counter() - started
    report.final_stock = await _final_stock(clients, product_id)
    return report


async def _regions(client: GraphQLClient, wanted: list[str] | None) -> list[str]:
    reached = [region["name"] for region in (await client.execute(_REGIONS))["regions"]]
    for region in wanted or ():
        if region not in reached:
            raise RequestFailed(f"{client.url} does not reach the region {region!r}, only {', '.join(reached)}")
    return wanted or reached


async def _buy(client: GraphQLClient, report: LoadReport, purchase: dict[str, Any]) -> None:
    """Buy, and ask once more under the same key when the answer was lost: it is the same purchase."""
    variables = {"input": {**purchase, "idempotencyKey": str(uuid4())}}
    started = time.perf_counter()
    try:
        try:
            data = await client.execute(_PURCHASE, variables)
        except NoAnswer:
            report.asked_again += 1
            data = await client.execute(_PURCHASE, variables)
    except RequestFailed as error:
        report.errors[str(error)] += 1
        return
    report.latencies.append((time.perf_counter() - started) * 1000)
    report.outcomes[data["purchase"]["status"]] += 1
    report.attempts.append(data["purchase"]["attempts"])


async def _final_stock(clients: Sequence[GraphQLClient], product_id: str) -> int | None:
    """What any of the servers says is left; None when none of them answers."""
    for client in clients:
        try:
            stock: int = (await client.execute(_STOCK, {"id": product_id}))["product"]["stock"]
        except RequestFailed:
            continue
        return stock
    return None
