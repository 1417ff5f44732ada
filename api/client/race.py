"""The race: one unit, a purchase through every Region at the same instant, and the stock that each then reads."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import uuid4

from api.client.graphql import GONE_AFTER, GraphQLClient, RequestFailed

DECIDED_WITHIN = 60.0
"""Seconds within which a purchase must be decided, including every time that it is sent again."""

_REGIONS = "query Regions { regions { name home } }"
_CREATE = """
mutation RaceProduct($input: CreateProductInput!) { createProduct(input: $input) { id } }
"""
_STOCK = "query Stock($id: ID!, $region: String) { product(id: $id, region: $region) { stock } }"
_PURCHASE = """
mutation RacePurchase($input: PurchaseInput!) {
  purchase(input: $input) { status region attempts ... on PurchaseBusy { retryAfterMs } }
}
"""

Routes: TypeAlias = Mapping[str, GraphQLClient]
"""For each Region that races, the client that sends its requests."""


@dataclass(slots=True)
class Finish:
    """How a purchase through one Region ended. `latency` is in milliseconds from the start to the decision.

    `attempts` is 2 or more when its transaction conflicted with a rival's and was tried again. `busy` counts the BUSY
    answers, and `lost` the lost ones. After both, the purchase was sent again with the same key.
    """

    region: str
    status: str | None = None
    error: str | None = None
    latency: float = 0.0
    attempts: int = 0
    busy: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class Round:
    """One unit, how each purchase of it ended, and the stock that each Region read before and after.

    A stock is None where the Region could not read it.
    """

    product_id: str
    before: Mapping[str, int]
    finishes: Sequence[Finish]
    after: Mapping[str, int | None]

    @property
    def objection(self) -> str | None:
        """Why this round was not exact; None if it was."""
        confirmed = [finish.region for finish in self.finishes if finish.status == "CONFIRMED"]
        wrong = [f"{region} read {stock} before it" for region, stock in self.before.items() if stock != 1]
        if len(confirmed) != 1:
            wrong.append(f"{len(confirmed)} purchases of 1 unit confirmed ({', '.join(confirmed) or 'none'})")
        for finish in self.finishes:
            if finish.status not in ("CONFIRMED", "SOLD_OUT"):
                wrong.append(f"{finish.region} ended with {finish.error or finish.status}")
        for region, stock in self.after.items():
            if stock != 0:
                wrong.append(f"{region} then read {'nothing' if stock is None else stock}")
        return f"product {self.product_id}: {'; '.join(wrong)}" if wrong else None


@dataclass(slots=True)
class RaceReport:
    """The rounds of a race. A race that is interrupted leaves the finished rounds here."""

    regions: list[str] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)

    @property
    def objections(self) -> list[str]:
        """What was wrong in each round that was not exact, one line per round."""
        numbered = ((number, round_.objection) for number, round_ in enumerate(self.rounds, start=1))
        return [f"round {number}, {objection}" for number, objection in numbered if objection is not None]

    def finishes(self, region: str) -> list[Finish]:
        return [finish for round_ in self.rounds for finish in round_.finishes if finish.region == region]

    def latencies(self, region: str, status: str) -> list[float]:
        """Milliseconds of the purchases through the Region that ended with this status."""
        return [finish.latency for finish in self.finishes(region) if finish.status == status]

    def last_read(self, region: str) -> Counter[int | None]:
        """How often the Region read each stock after a round."""
        return Counter(round_.after[region] for round_ in self.rounds)


async def run_race(
    clients: Sequence[GraphQLClient],
    rounds: int,
    regions: list[str] | None,
    report: RaceReport,
    on_round: Callable[[], None],
    patience: float = GONE_AFTER,
) -> None:
    """Race through `regions`, or through all Regions that the clients reach, and put each round into `report`.

    Once the race has begun, a request whose answer is lost is sent again for `patience` seconds. Raises RequestFailed
    when the race cannot begin or go on.
    """
    routes = await _choose_routes(clients, regions)
    report.regions = list(routes)
    drop = f"Race {time.strftime('%H:%M:%S')}"
    for number in range(1, rounds + 1):
        report.rounds.append(await _run_round(clients[0], routes, drop, number, patience))
        on_round()


async def _choose_routes(clients: Sequence[GraphQLClient], wanted: list[str] | None) -> Routes:
    """A client for each Region: of the server whose home it is, or else of the first server that reaches it."""
    reached: dict[str, GraphQLClient] = {}
    at_home: dict[str, GraphQLClient] = {}
    for client in clients:
        with client.checking_data():
            for region in (await client.execute(_REGIONS))["regions"]:
                reached.setdefault(str(region["name"]), client)
                if region["home"]:
                    at_home.setdefault(str(region["name"]), client)
    for name in wanted or ():
        if name not in reached:
            raise RequestFailed(f"no server that was named reaches the region {name!r}, only {', '.join(reached)}")
    names = list(dict.fromkeys(wanted or reached))
    if len(names) < 2:
        raise RequestFailed(
            f"a race takes two Regions or more, and there is only {', '.join(names)}; give the server a second one in "
            "DROPZERO_ENDPOINTS, or name the server of another Region with --url"
        )
    return {name: at_home.get(name, reached[name]) for name in names}


async def _run_round(operator: GraphQLClient, routes: Routes, drop: str, number: int, patience: float) -> Round:
    """Run a round with a product of its own, so that no round depends on another."""
    product = {"name": f"{drop}, round {number}", "dropName": drop, "stock": 1}
    with operator.checking_data():
        created = await operator.execute_until_answered(_CREATE, {"input": product}, seconds=patience)
        product_id = str(created["createProduct"]["id"])
    # All at once, so that each takes a connection of its own: to the server, and from there to the database. These
    # connections are open when the purchases begin.
    before = await asyncio.gather(*(_stock(client, product_id, region, patience) for region, client in routes.items()))

    # The first purchase is ahead by some microseconds, so every round begins with another Region.
    first = number % len(routes)
    start = [*list(routes.items())[first:], *list(routes.items())[:first]]
    finishes = await asyncio.gather(*(_buy(client, product_id, region, patience) for region, client in start))

    readings = (_stock_if_read(client, product_id, region, patience) for region, client in routes.items())
    after = await asyncio.gather(*readings)
    return Round(
        product_id,
        before=dict(zip(routes, before, strict=True)),
        finishes=sorted(finishes, key=lambda finish: list(routes).index(finish.region)),
        after=dict(zip(routes, after, strict=True)),
    )


async def _buy(client: GraphQLClient, product_id: str, region: str, patience: float) -> Finish:
    """Send the purchase until it is decided. The same key makes it the same purchase. Returns how it ended."""
    finish = Finish(region)
    purchase = {"productId": product_id, "userRef": region, "region": region, "idempotencyKey": str(uuid4())}
    started = time.perf_counter()
    try:
        async with asyncio.timeout(DECIDED_WITHIN):
            with client.checking_data():
                answer = await _decided(client, purchase, finish, patience)
                finish.status, finish.attempts = str(answer["status"]), int(answer["attempts"])
                if answer["region"] != region:
                    finish.status, finish.error = None, f"{answer['status']} by {answer['region']}, another Region"
    except TimeoutError:
        finish.error = f"no decision within {DECIDED_WITHIN:g} s"
    except RequestFailed as error:
        finish.error = str(error)
    finish.latency = (time.perf_counter() - started) * 1000
    return finish


async def _decided(
    client: GraphQLClient, purchase: Mapping[str, Any], finish: Finish, patience: float
) -> dict[str, Any]:
    """Send the purchase until its outcome is not BUSY, and return that outcome.

    Raises RequestFailed, also when answers are lost for `patience` seconds.
    """

    def count_loss() -> None:
        finish.lost += 1

    while True:
        data = await client.execute_until_answered(_PURCHASE, {"input": purchase}, seconds=patience, on_loss=count_loss)
        answer: dict[str, Any] = data["purchase"]
        if answer["status"] != "BUSY":
            return answer
        finish.busy += 1
        await asyncio.sleep(answer["retryAfterMs"] / 1000)


async def _stock(client: GraphQLClient, product_id: str, region: str, patience: float) -> int:
    variables = {"id": product_id, "region": region}
    with client.checking_data():
        product = (await client.execute_until_answered(_STOCK, variables, seconds=patience))["product"]
        if product is not None:
            return int(product["stock"])
    raise RequestFailed(f"{region} does not know the product that was just created; do the servers share one database?")


async def _stock_if_read(client: GraphQLClient, product_id: str, region: str, patience: float) -> int | None:
    try:
        return await _stock(client, product_id, region, patience)
    except RequestFailed:
        return None
