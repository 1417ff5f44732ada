"""A storm in which each caller sends one request: the answers are compared with what was committed.

With three attempts each, double faults lead to every kind of answer: done, nothing was changed, and not known.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from uuid import UUID

import pytest

from api.database.errors import Conflict, OutcomeUnknown, Unavailable
from api.database.pool import Pool
from api.database.retry import RetryBudget
from api.drops.decisions import Confirmed, SoldOut
from api.drops.drops import Drops
from api.drops.new_product import NewProduct
from api.drops.requests import Purchase, RestockRequest
from api.drops.ticket import Busy
from tests.drops.purchases import assert_books_balance, new_group_commit, new_product, purchase
from tests.drops.weather import audit_again_and_again, beside, make_weather, seeded, two_servers
from tests.dsql.stand_in import StandIn
from tests.engines import DSQL
from tests.patience import PATIENCE

OF_EACH = 60
"""Changes of each kind, at least. They go on until every kind of answer has come, which depends on the faults that
meet."""

AT_ONCE = 20
"""Callers at a time for each kind of change."""


class Answer(Enum):
    """What the answer to a change says of it."""

    DONE = "done"
    NOTHING = "nothing was changed"
    UNKNOWN = "not known"


@dataclass
class Answers:
    """The answers to one kind of change, by the id of the row that shows the change."""

    by_row: dict[UUID, Answer] = field(default_factory=dict)

    async def note(self, row: UUID, change: Awaitable[object]) -> None:
        try:
            result = await change
        except OutcomeUnknown:
            self.by_row[row] = Answer.UNKNOWN
        except (Unavailable, Conflict):
            self.by_row[row] = Answer.NOTHING
        else:
            nothing = isinstance(result, Busy | SoldOut)
            self.by_row[row] = Answer.NOTHING if nothing else Answer.DONE

    def expect(self, done: Iterable[UUID]) -> None:
        """Compare the answers with the rows that show a change (`done`)."""
        committed = set(done)
        changed = {row for row, answer in self.by_row.items() if answer is Answer.DONE}
        assert changed <= committed, "answered done, and it was not"
        unchanged = {row for row, answer in self.by_row.items() if answer is Answer.NOTHING}
        assert unchanged & committed == set(), "answered that nothing was changed, and it was"

    @property
    def seen(self) -> Counter[Answer]:
        return Counter(self.by_row.values())


Change = Callable[[Drops, int], Awaitable[tuple[UUID, Awaitable[object]]]]
"""Prepares a change with a number. Returns the id of the row that will show the change, and the change itself."""


async def make_changes(servers: list[Drops], chance: random.Random, kinds: Sequence[Change]) -> list[Answers]:
    """Make changes of all kinds, AT_ONCE at a time of each kind. Returns the answers by kind."""
    answers = [Answers() for _ in kinds]

    async def caller(prepare: Change, of_kind: Answers, numbers: Iterator[int]) -> None:
        for number in numbers:
            if number >= OF_EACH and {answer for each in answers for answer in each.seen} == set(Answer):
                return
            row, change = await prepare(chance.choice(servers), number)
            await of_kind.note(row, change)

    async with asyncio.TaskGroup() as callers:
        for prepare, of_kind in zip(kinds, answers, strict=True):
            numbers = itertools.count()
            for _ in range(AT_ONCE):
                callers.create_task(caller(prepare, of_kind, numbers))
    return answers


async def decision_of(drops: Drops, purchase: Purchase) -> object:
    decision = (await drops.purchase(purchase, None)).decision
    assert isinstance(decision, Confirmed | Busy | SoldOut)
    return decision


@pytest.fixture
def engine() -> str:
    return DSQL


@pytest.mark.slow
async def test_in_a_storm_every_answer_agrees_with_what_was_committed(
    home: StandIn, peer: StandIn, behind: Pool
) -> None:
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
        return product_id, drops.restock(RestockRequest.checked(product_id=product_id, delta=1))

    async def create(drops: Drops, number: int) -> tuple[UUID, Awaitable[object]]:
        product = NewProduct.checked(name="Tee", drop_name="First Light", stock=number)
        return product.id, drops.create_product(product)

    async with (
        two_servers([home, peer], RetryBudget(attempts=3)) as servers,
        beside(make_weather(chance, [home, peer]), audit_again_and_again(behind, audits)),
        asyncio.timeout(PATIENCE * 2),
    ):
        kinds = (buy_of_few, buy_of_many, cancel, restock, create)
        answers = await make_changes(servers, chance, kinds)
    for kind, of_kind in zip(kinds, answers, strict=True):
        print(kind.__name__, dict(of_kind.seen))  # noqa: T201 - pytest shows it when the test fails

    assert all(audits)
    await assert_answers_agree_with_rows(behind, *answers)
    await assert_books_balance(behind)


STOCKED = "SELECT product_id, sum(stocked) AS stocked FROM stock_shards GROUP BY product_id"


async def assert_answers_agree_with_rows(
    database: Pool, few: Answers, many: Answers, cancelled: Answers, restocked: Answers, created: Answers
) -> None:
    orders = await database.fetch("SELECT id, status FROM orders")
    ordered = [row["id"] for row in orders]
    few.expect(ordered)
    many.expect(ordered)
    cancelled.expect(row["id"] for row in orders if row["status"] == "CANCELLED")
    stocks = {row["product_id"]: row["stocked"] for row in await database.fetch(STOCKED)}
    restocked.expect(product_id for product_id in restocked.by_row if stocks[product_id] > 1)
    assert {stocks[product_id] for product_id in restocked.by_row} <= {1, 2}
    created.expect(stocks)
