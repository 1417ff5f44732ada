"""The published load test: V concurrent buyers send N purchases for M units, and exactly the stock must be sold."""

import asyncio
import itertools
import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from api.client.graphql import GONE_AFTER, GraphQLClient, RequestFailed, pause_before_retry
from api.client.lateness import sampled_lateness

_REGIONS = "query Regions { regions { name } }"
_CREATE = """
mutation LoadTestProduct($input: CreateProductInput!) { createProduct(input: $input) { id } }
"""
_STOCK = "query Stock($id: ID!) { product(id: $id) { stock } }"
_PURCHASE = """
mutation LoadTestPurchase($input: PurchaseInput!) { purchase(input: $input) { status attempts } }
"""


PERCENTILES = (50, 95, 99)

TOO_LATE = 0.1
"""The largest share of a latency that may be this process's own lateness. Above it, the report says that the latency is
not the server's alone. The share is small because answers come in batches, and the last answer of a batch waits longer
than a sample."""


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: `purchases` in all, of one unit each, by `buyers` at the same time, for `units` in stock.

    The load stops early when no purchase has had an outcome for `patience` seconds. A purchase whose answer is lost is
    sent again for the same time.
    """

    purchases: int
    buyers: int
    units: int
    patience: float = GONE_AFTER


@dataclass(slots=True)
class LoadReport:
    """The result of a load.

    `errors` counts the purchases without an outcome, by message. `resent` counts the purchases whose first answer was
    lost. `latencies` are in milliseconds, one per outcome. `late` are the samples of this process's own lateness, in
    milliseconds too. `stopped`: the load ended before all purchases were sent, because there was no outcome for
    `patience` seconds. `seconds` is the time to the end, or to the last outcome before the load stopped. `final_stock`
    is None if it could not be read.
    """

    load: Load
    product_id: str
    regions: list[str]
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    resent: int = 0
    attempts: list[int] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    late: list[float] = field(default_factory=list)
    seconds: float = 0.0
    stopped: bool = False
    final_stock: int | None = None

    @property
    def purchases_per_second(self) -> float:
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    @property
    def caution(self) -> str | None:
        """Which latencies are not the server's alone, because this process was late itself; None if all of them are."""
        own = {percent: percentile(self.late, percent) for percent in PERCENTILES}
        spoiled = [percent for percent in PERCENTILES if own[percent] > TOO_LATE * percentile(self.latencies, percent)]
        if not self.latencies or not spoiled:
            return None
        names = ", ".join(f"p{percent}" for percent in spoiled)
        times = ", ".join(f"{own[percent]:,.1f}" for percent in spoiled)
        return (
            f"Not the server's alone: {names}. This command was late itself by {times} ms. To see the server's, run it "
            "on another machine, or with fewer buyers."
        )

    @property
    def objection(self) -> str | None:
        """Why this run does not show that exactly the stock was sold; None if it does."""
        if not self.stopped:
            return self._inexactness
        sent = len(self.latencies) + self.errors.total()
        stop = (
            f"no purchase had an outcome for {self.load.patience:g} s, so the load stopped after {sent:,} of "
            f"{self.load.purchases:,} purchases"
        )
        return f"{stop}; {self._inexactness}" if self._inexactness else stop

    @property
    def _inexactness(self) -> str | None:
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
            return f"undersold: buyers got SOLD_OUT, and {self.final_stock} of {units} units are left"
        if self.errors:
            return f"{self.errors.total()} purchases ended in errors"
        return None


def percentile(latencies: Sequence[float], percent: float) -> float:
    """The latency that `percent` % of the latencies do not exceed (nearest rank); 0 for an empty sequence."""
    if not latencies:
        return 0.0
    return sorted(latencies)[max(0, math.ceil(len(latencies) * percent / 100) - 1)]


async def run_load(
    clients: Sequence[GraphQLClient], load: Load, regions: list[str] | None, on_answer: Callable[[], None]
) -> LoadReport:
    """Create a product, send the purchases, and read the stock that is left.

    Purchases are spread over the clients, and over `regions` or all Regions that each client reaches. `on_answer` is
    called after each purchase. Raises RequestFailed when the test cannot begin.
    """
    routes = [(client, region) for client in clients for region in await _regions(client, regions)]
    name = f"Load test {time.strftime('%H:%M:%S')}"
    product = {"name": name, "dropName": "Load test", "stock": load.units}
    with clients[0].checking_data():
        product_id = str((await clients[0].execute(_CREATE, {"input": product}))["createProduct"]["id"])

    report = LoadReport(load, product_id, list(dict.fromkeys(region for _, region in routes)))
    purchases = zip(range(load.purchases), itertools.cycle(routes), strict=False)

    started = last_outcome = time.perf_counter()

    async def buyer() -> None:
        nonlocal last_outcome
        failures = 0
        for number, (client, region) in purchases:
            patience = load.patience - (time.perf_counter() - last_outcome)
            if patience <= 0:
                report.stopped = True
                return
            purchase = {"productId": product_id, "userRef": f"buyer-{number}", "region": region}
            has_outcome = await _buy(client, report, purchase, patience)
            on_answer()
            if has_outcome:
                failures, last_outcome = 0, time.perf_counter()
            else:
                await asyncio.sleep(pause_before_retry(failures))
                failures += 1

    async with sampled_lateness() as report.late, asyncio.TaskGroup() as buyers:
        for _ in range(load.buyers):
            buyers.create_task(buyer())
    report.seconds = (last_outcome if report.stopped else time.perf_counter()) - started
    report.final_stock = await _final_stock(clients, product_id, 0 if report.stopped else load.patience)
    return report


async def _regions(client: GraphQLClient, wanted: list[str] | None) -> list[str]:
    with client.checking_data():
        reached = [str(region["name"]) for region in (await client.execute(_REGIONS))["regions"]]
    for region in wanted or ():
        if region not in reached:
            raise RequestFailed(f"{client.url} does not reach the region {region!r}, only {', '.join(reached)}")
    return wanted or reached


async def _buy(client: GraphQLClient, report: LoadReport, purchase: dict[str, Any], patience: float) -> bool:
    """Send a purchase, and send it again while its answer is lost. The same key makes it the same purchase.

    Returns whether it had an outcome.
    """
    variables = {"input": {**purchase, "idempotencyKey": str(uuid4())}}
    losses = 0

    def count_loss() -> None:
        nonlocal losses
        losses += 1
        report.resent += losses == 1

    started = time.perf_counter()
    try:
        with client.checking_data():
            data = await client.execute_until_answered(_PURCHASE, variables, seconds=patience, on_loss=count_loss)
            status, attempts = str(data["purchase"]["status"]), int(data["purchase"]["attempts"])
    except RequestFailed as error:
        report.errors[str(error)] += 1
        return False
    report.latencies.append((time.perf_counter() - started) * 1000)
    report.outcomes[status] += 1
    report.attempts.append(attempts)
    return True


async def _final_stock(clients: Sequence[GraphQLClient], product_id: str, patience: float) -> int | None:
    """The stock by the first server that returns it within `patience` seconds; None if no server does."""
    for client in clients:
        try:
            with client.checking_data():
                data = await client.execute_until_answered(_STOCK, {"id": product_id}, seconds=patience)
                return int(data["product"]["stock"])
        except RequestFailed:
            continue
    return None
