"""A storm in which nobody asks twice: what a caller is answered is held against what was committed.

With three attempts each, double faults end in every kind of answer: done, nothing was changed, and not known.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID

import pytest

from api.database.errors import Conflict, OutcomeUnknown, Unavailable
from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.drops.decisions import Confirmed, Purchase, SoldOut
from api.drops.drops import Drops
from api.drops.products import NewProduct
from api.drops.ticket import Busy
from tests.drops.purchases import assert_books_balance, new_group_commit, new_product, purchase
from tests.drops.weather import audit_again_and_again, beside, make_weather, seeded, two_servers
from tests.dsql.stand_in import StandIn
from tests.engines import DSQL
from tests.patience import PATIENCE

OF_EACH = 60
"""Changes of each kind."""

AT_ONCE = 20
"""Callers at a time for each kind of change."""


class Told(Enum):
    """What a caller was told of a change."""

    DONE = "done"
    NOTHING = "nothing was changed"
    UNKNOWN = "not known"


@dataclass
class Answers:
    """What the callers of one kind of change were told, by the id of the row that would show it."""

    told: dict[UUID, Told] = field(default_factory=dict)

    async def note(self, row: UUID, change: Awaitable[object]) -> None:
        try:
            answer = await change
        except OutcomeUnknown:
            self.told[row] = Told.UNKNOWN
        except (Unavailable, Conflict):
            self.told[row] = Told.NOTHING
        else:
            nothing = isinstance(answer, Busy | SoldOut)
            self.told[row] = Told.NOTHING if nothing else Told.DONE

    def expect(self, done: Iterable[UUID]) -> None:
        """Hold what was told against the rows that show a change."""
        committed = set(done)
        assert {row for row, told in self.told.items() if told is Told.DONE} <= committed, "told done, and it was not"
        untouched = {row for row, told in self.told.items() if told is Told.NOTHING}
        assert untouched & committed == set(), "told that nothing was changed, and it was"

    @property
    def seen(self) -> Counter[Told]:
        return Counter(self.told.values())


Change = Callable[[Drops, int], Awaitable[tuple[UUID, Awaitable[object]]]]
"""Prepares the change of a number: the id of the row that will show it, and the change itself."""


async def make_changes(servers: list[Drops], chance: random.Random, prepare: Change) -> Answers:
    """Let callers make changes, each through either server."""
    answers = Answers()
    numbers = iter(range(OF_EACH))

    async def caller() -> None:
        for number in numbers:
            row, change = await prepare(chance.choice(servers), number)
            await answers.note(row, change)

    async with asyncio.TaskGroup() as callers:
        for _ in range(AT_ONCE):
            callers.create_task(caller())
    return answers


async def decision_of(drops: Drops, purchase: Purchase) -> object:
    decision = (await drops.purchase(purchase, None)).decision
    assert isinstance(decision, Confirmed | Busy | SoldOut)
    return decision


@pytest.fixture
def engine() -> str:
    return DSQL


@pytest.mark.slow
async def test_in_a_storm_no_answer_says_more_than_was_committed(home: StandIn, peer: StandIn, behind: Pool) -> None:
    chance = seeded()
    few_id, many_id = await new_product(behind, stock=OF_EACH // 4), await new_product(behind, stock=100_000)
    group_commit = new_group_commit(behind)
    audits: list[bool] = []

    async def buy_of_few(drops: Drops, number: int) -> tuple[UUID, Awaitable[object]]:
        wanted = purchase(few_id, f"buyer-{number}", key="click")
        return wanted.order_id, decision_of(drops, wanted)

    async def buy_of_many(drops: Drops, number: int) -> tuple[UUID, Awaitable[object]]:
        wanted = purchase(many_id, f"buyer-{number}", key="click")
        return wanted.order_id, decision_of(drops, wanted)

    async def cancel(drops: Drops, number: int) -> tuple[UUID, Awaitable[object]]:
        bought = (await group_commit.submit(purchase(many_id, f"leaving-{number}"))).decision
        assert isinstance(bought, Confirmed)
        return bought.order.id, drops.cancel_order(bought.order.id, None)

    async def restock(drops: Drops, number: int) -> tuple[UUID, Awaitable[object]]:
        product_id = await new_product(behind, stock=1)
        return product_id, drops.restock(product_id, 1)

    async def create(drops: Drops, number: int) -> tuple[UUID, Awaitable[object]]:
        product = NewProduct.checked(name="Tee", drop_name="First Light", stock=number)
        return product.id, drops.create_product(product)

    async with (
        two_servers([home, peer], RetryBudget(attempts=3)) as servers,
        beside(make_weather(chance, [home, peer]), audit_again_and_again(behind, audits)),
        asyncio.timeout(PATIENCE * 2),
    ):
        kinds = (buy_of_few, buy_of_many, cancel, restock, create)
        few, many, cancelled, restocked, created = await asyncio.gather(
            *(make_changes(servers, chance, prepare) for prepare in kinds)
        )
    for kind, answers in zip(kinds, (few, many, cancelled, restocked, created), strict=True):
        print(kind.__name__, dict(answers.seen))  # noqa: T201 - pytest shows it when the test fails

    assert all(audits)
    assert {told for answers in (few, many, cancelled, restocked, created) for told in answers.seen} == set(Told)
    orders = await behind.fetch("SELECT id, status FROM orders")
    ordered = [row["id"] for row in orders]
    few.expect(ordered)
    many.expect(ordered)
    cancelled.expect(row["id"] for row in orders if row["status"] == "CANCELLED")
    stocks = {row["product_id"]: row["stocked"] for row in await behind.fetch("SELECT * FROM inventory")}
    restocked.expect(product_id for product_id in restocked.told if stocks[product_id] > 1)
    assert {stocks[product_id] for product_id in restocked.told} <= {1, 2}
    created.expect(stocks)
    await assert_books_balance(behind)
