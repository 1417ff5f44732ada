"""The storm: purchases through two Regions while everything that can fail does, at random from a seed.

Two servers with a home Region each sell the same drops. After a fault a buyer sends the same key again, as the
storefront and `dropzero load` do.

STORM_SEED=n repeats the weather of an earlier run. STORM_PURCHASES=20000 makes a storm of some minutes.
"""

import asyncio
import itertools
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from api.database.errors import DatabaseError
from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.drops.decisions import Confirmed, LimitReached, Replayed, SoldOut
from api.drops.drops import Drops
from api.drops.products import get_product
from api.drops.requests import Purchase
from api.drops.ticket import Busy
from tests.drops.purchases import new_product, purchase
from tests.drops.weather import audit_again_and_again, beside, make_weather, seeded, two_servers
from tests.dsql.stand_in import StandIn
from tests.patience import FACTOR, PATIENCE, until
from tests.regions import HOME, PEER

PURCHASES = int(os.environ.get("STORM_PURCHASES", "2000"))
"""The least number of purchases. More are sent until transactions have ended in every way of ENDS."""

BUYERS = min(1_000, PURCHASES // 4)
"""Purchases at a time."""

SECONDS = PATIENCE + PURCHASES * 0.06 * FACTOR
"""Seconds until the last buyer must have an answer. On a quiet machine 400 purchases are answered in a second."""

STOCKS = [*(PURCHASES * share // 200 for share in (1, 10, 20, 30, 10)), 1_000_000]
"""Units of four drops that sell out, of a drop with a limit per buyer, and of a drop that does not sell out."""

LIMITED, PLENTY = 4, 5

ENDS = {"sold", "sold_nothing", "Conflict", "Unavailable", "OutcomeUnknown"}
"""How transactions end in a storm."""

MAX_REQUESTS = 200
"""Requests of a purchase at most. A buyer sends another after each fault, and none may need more than these."""


@dataclass
class Buyers:
    """The final answers of all buyers, and how often requests were sent again."""

    confirmed: dict[UUID, Counter[UUID]] = field(default_factory=lambda: defaultdict(Counter))
    """By product and order: how often the order was answered as new. 0 if it was only answered as replayed."""
    limited: Counter[UUID] = field(default_factory=Counter)
    sold_out: Counter[UUID] = field(default_factory=Counter)
    sent_again: Counter[str] = field(default_factory=Counter)

    async def buy(self, drops: Drops, purchase: Purchase, region: str | None) -> None:
        for _ in range(MAX_REQUESTS):
            try:
                outcome = await drops.purchase(purchase, region)
            except DatabaseError as error:
                self.sent_again[type(error).__name__] += 1
                await asyncio.sleep(0.05)
                continue
            match outcome.decision:
                case Busy():
                    self.sent_again["Busy"] += 1
                    await asyncio.sleep(0.05)
                    continue
                case Confirmed(order=order) | Replayed(order=order):
                    assert order.id == purchase.order_id
                    assert outcome.region == order.region
                    self.confirmed[purchase.product_id][order.id] += isinstance(outcome.decision, Confirmed)
                case SoldOut():
                    self.sold_out[purchase.product_id] += 1
                case LimitReached():
                    self.limited[purchase.product_id] += 1
                case other:
                    raise AssertionError(other)
            return
        raise AssertionError(f"never answered: {purchase}")


def purchases_of(chance: random.Random, product_ids: list[UUID]) -> Iterator[Purchase]:
    """Purchases without end. Every tenth buyer clicks twice, and both clicks are one purchase."""
    for number in itertools.count():
        product_id = chance.choice(product_ids)
        few = PURCHASES // 28  # buyers, who come repeatedly for the drop with a limit
        name = f"buyer-{chance.randrange(few) if product_id == product_ids[LIMITED] else number}"
        for _ in range(2 if number % 10 == 0 else 1):
            yield purchase(product_id, name, key=f"click-{number}")


def transactions(servers: list[Drops]) -> Counter[str]:
    """Transactions of all servers, by how they ended."""
    ends = Counter[str]()
    for server in servers:
        for group_commit in server.group_commits.values():
            for (_, end), times in group_commit.transactions.items():
                ends[end] += times
    return ends


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 2 * PATIENCE)
async def test_a_storm_of_faults_sells_exactly_the_stock_and_answers_every_buyer(
    home: StandIn, peer: StandIn, behind: Pool
) -> None:
    chance = seeded()
    product_ids = [
        await new_product(behind, stock, limit=2 if number == LIMITED else None) for number, stock in enumerate(STOCKS)
    ]
    buyers, audits = Buyers(), list[bool]()
    purchases = enumerate(purchases_of(chance, product_ids))

    async with two_servers([home, peer], RetryBudget()) as servers:

        async def buyer() -> None:
            for number, purchase in purchases:
                if number >= PURCHASES and transactions(servers).keys() >= ENDS:
                    return
                await buyers.buy(chance.choice(servers), purchase, chance.choice([None, None, None, HOME, PEER]))

        async with beside(make_weather(chance, [home, peer]), audit_again_and_again(behind, audits)):
            async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as tasks:
                for _ in range(BUYERS):
                    tasks.create_task(buyer())
            await until(lambda: len(audits) > 3)
    ends = transactions(servers)
    print(f"{len(audits)} audits; sent again: {buyers.sent_again}; transactions: {ends}")  # noqa: T201

    assert all(audits)
    assert ends.keys() >= ENDS
    await assert_exactly_the_stock_was_sold(behind, product_ids, buyers)


async def assert_exactly_the_stock_was_sold(database: Pool, product_ids: list[UUID], buyers: Buyers) -> None:
    rows = await database.fetch("SELECT id, product_id, user_ref, quantity FROM orders", timeout=PATIENCE)
    for product_id, stock in zip(product_ids, STOCKS, strict=True):
        ordered = {row["id"] for row in rows if row["product_id"] == product_id}
        assert ordered == set(buyers.confirmed[product_id]), "confirmed without an order, or the reverse"
        assert max(buyers.confirmed[product_id].values()) == 1, "two requests were answered that the same order was new"
        left = (await get_product(database, product_id)).stock
        assert left == stock - len(ordered), "oversold or lost"
        assert left == 0 or not buyers.sold_out[product_id], "answered sold out while there were units left"
    held = Counter(row["user_ref"] for row in rows if row["product_id"] == product_ids[LIMITED])
    assert max(held.values()) <= 2
    assert buyers.limited[product_ids[LIMITED]] > 0
    assert buyers.sold_out[product_ids[PLENTY]] == 0
