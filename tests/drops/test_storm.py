"""The storm: purchases through two Regions while everything that can fail does, at random from a seed.

Two servers, each at home in its own Region, sell the same drops to buyers who come again under the same key when they
were told of a fault, as the storefront and `dropzero load` do.
"""

import asyncio
import os
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from api.database.endpoint import Endpoint
from api.database.errors import DatabaseError
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.database.tokens import AuthTokens
from api.drops.audit import audit
from api.drops.drops import Drops
from api.drops.group_commit import Busy, GroupPolicy
from api.drops.products import get_product
from api.drops.purchase import Confirmed, LimitReached, Purchase, SoldOut
from api.drops.stock import PollingTimes
from tests.drops.purchases import new_product, wish
from tests.dsql.cluster import Cluster
from tests.dsql.stand_in import StandIn
from tests.regions import HOME, PEER

PURCHASES = 20_000
BUYERS = 1_000
"""Purchases at a time."""

TIMES_ASKED = 200
"""A buyer's patience: with every fault answered by asking again, nobody may need more."""


@pytest.fixture
def engine() -> str:
    return "dsql"


@pytest.fixture
async def endpoints_of_regions(cluster: Cluster) -> AsyncIterator[list[StandIn]]:
    async with cluster.endpoint(HOME) as home, cluster.endpoint(PEER) as peer:
        yield [home, peer]


@dataclass
class Buyers:
    """What buyers were told in the end, and how often they had to ask."""

    confirmed: dict[UUID, Counter[UUID]] = field(default_factory=lambda: defaultdict(Counter))
    """By product, how often each order was told to be new; 0 for one that was only told to be an earlier one."""
    limited: Counter[UUID] = field(default_factory=Counter)
    sold_out: Counter[UUID] = field(default_factory=Counter)
    asked_again: Counter[str] = field(default_factory=Counter)

    async def buy(self, drops: Drops, purchase: Purchase, region: str | None) -> None:
        for _ in range(TIMES_ASKED):
            try:
                outcome = await drops.purchase(purchase, region)
            except DatabaseError as error:
                self.asked_again[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            match outcome.decision:
                case Busy():
                    self.asked_again["Busy"] += 1
                    await asyncio.sleep(0.05)
                    continue
                case Confirmed(order=order, replayed=replayed):
                    assert order.id == purchase.order_id
                    assert outcome.region == order.region
                    self.confirmed[purchase.product_id][order.id] += not replayed
                case SoldOut():
                    self.sold_out[purchase.product_id] += 1
                case LimitReached():
                    self.limited[purchase.product_id] += 1
                case other:
                    raise AssertionError(other)
            return
        raise AssertionError(f"never answered: {purchase}")


def wishes(chance: random.Random, product_ids: list[UUID], limited_id: UUID) -> list[Purchase]:
    """Every tenth buyer clicks twice, and both clicks are one purchase."""
    purchases: list[Purchase] = []
    while len(purchases) < PURCHASES:
        number, product_id = len(purchases), chance.choice(product_ids)
        name = f"buyer-{chance.randrange(700) if product_id == limited_id else number}"
        clicks = 2 if number % 10 == 0 else 1
        purchases += [wish(product_id, name, key=f"click-{number}")] * clicks
    return purchases[:PURCHASES]


async def make_weather(chance: random.Random, endpoints: list[StandIn]) -> None:
    """Let something fail every few milliseconds, in one Region or the other, until cancelled."""
    while True:
        endpoint = chance.choice(endpoints)
        match chance.choices(
            ["cut before", "cut after", "conflicts", "hang at commit", "slow", "down", "silent", "expired", "calm"],
            [20, 20, 20, 2, 10, 3, 2, 5, 10],
        )[0]:
            case "cut before":
                endpoint.cut_before_commit = chance.randint(1, 3)
            case "cut after":
                endpoint.cut_after_commit = chance.randint(1, 3)
            case "conflicts":
                endpoint.conflicts = chance.randint(1, 10)
            case "hang at commit":
                endpoint.hang_at_commit = 1
            case "slow":
                endpoint.commit_latency = chance.choice([0.0, 0.005, 0.03])
            case "expired":
                endpoint.expired_tokens = 1
            case "down":
                endpoint.down()
                await asyncio.sleep(chance.uniform(0.05, 0.6))
                await endpoint.up()
            case "silent":
                endpoint.hang()
                await asyncio.sleep(chance.uniform(0.1, 1.5))
                endpoint.release()
            case "calm":
                await asyncio.sleep(0.1)
        await asyncio.sleep(chance.uniform(0.005, 0.05))


async def audit_again_and_again(database: Pool, audits: list[bool]) -> None:
    while True:
        audits.append(all(line.balanced for line in await audit(database)))
        await asyncio.sleep(0.1)


async def test_in_a_storm_of_faults_exactly_the_stock_is_sold_and_every_buyer_is_told(
    endpoints_of_regions: list[StandIn], behind: Pool
) -> None:
    seed = int(os.environ.get("STORM_SEED") or random.SystemRandom().randrange(10**9))
    print(f"STORM_SEED={seed} makes the same weather again")  # noqa: T201 - pytest shows it when the test fails
    chance = random.Random(seed)  # noqa: S311
    home, peer = (Endpoint(endpoint.region or "", endpoint.url) for endpoint in endpoints_of_regions)
    tokens = AuthTokens()
    servers = [
        Drops(Regions(endpoints, 5, tokens), GroupPolicy(), RetryBudget(), PollingTimes(interval=1))
        for endpoints in ((home, peer), (peer, home))
    ]
    for server in servers:
        await server.open()
        await server.regions.warm_up(2)

    # Four drops that sell out, one with a limit per buyer, and one that does not sell out.
    stocks = [100, 1_000, 2_000, 3_000, 1_000, 50_000]
    product_ids = [
        await new_product(behind, stock, limit=2 if number == 4 else None) for number, stock in enumerate(stocks)
    ]
    limited_id, plenty_id = product_ids[4:]
    buyers, audits = Buyers(), list[bool]()
    purchases = iter(wishes(chance, product_ids, limited_id))

    async def buyer() -> None:
        for purchase in purchases:
            await buyers.buy(chance.choice(servers), purchase, chance.choice([None, None, None, HOME, PEER]))

    weather = asyncio.create_task(make_weather(chance, endpoints_of_regions))
    auditing = asyncio.create_task(audit_again_and_again(behind, audits))
    try:
        async with asyncio.timeout(150), asyncio.TaskGroup() as tasks:
            for _ in range(BUYERS):
                tasks.create_task(buyer())
    finally:
        weather.cancel()
        auditing.cancel()
        await asyncio.wait([weather, auditing])
        for endpoint in endpoints_of_regions:
            endpoint.release()
            endpoint.down()
            await endpoint.up()
        for server in servers:
            await server.close(grace=5)
    ends = sum((line.transactions for server in servers for line in server.lines.values()), Counter[tuple[str, str]]())
    print(f"{len(audits)} audits; asked again: {buyers.asked_again}; transactions: {ends}")  # noqa: T201

    assert all(audits)
    assert len(audits) > 3
    assert {end for _, end in ends} >= {"sold", "sold_nothing", "Conflict", "Unavailable", "SaleUnknown"}
    rows = await behind.fetch("SELECT id, product_id, user_ref, quantity FROM orders")
    for product_id, stock in zip(product_ids, stocks, strict=True):
        ordered = {row["id"] for row in rows if row["product_id"] == product_id}
        assert ordered == set(buyers.confirmed[product_id]), "told yes without an order, or the reverse"
        assert max(buyers.confirmed[product_id].values()) == 1, "two were told that the same order was new"
        left = (await get_product(behind, product_id)).stock
        assert left == stock - len(ordered), "oversold or lost"
        assert left == 0 or not buyers.sold_out[product_id], "told sold out while there were units left"
    held = Counter(row["user_ref"] for row in rows if row["product_id"] == limited_id)
    assert max(held.values()) <= 2
    assert buyers.sold_out[plenty_id] == 0
