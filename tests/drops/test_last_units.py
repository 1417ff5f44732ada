"""The last units: drops of 1 to 5 units, more buyers than units, through four lines in two Regions.

This is where a line that looks at a part of the stock would sell too much, or refuse a buyer too early. Each round is a
drop of its own.

LAST_UNITS_ROUNDS=10000 runs ten thousand rounds of each kind, which takes some minutes on two cores.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from api.drops.audit import AuditLine, audit
from api.drops.decisions import Confirmed, LimitReached, SoldOut
from api.drops.group_commit import GroupCommit
from api.drops.shards import DEFAULT_SHARDS
from api.drops.ticket import Outcome
from tests.drops.purchases import kinds, new_group_commit, new_product, purchase
from tests.engines import DSQL
from tests.patience import FACTOR, PATIENCE, PATIENT_TIMES

ROUNDS = int(os.environ.get("LAST_UNITS_ROUNDS", "300"))
"""Of each kind on PostgreSQL. The stand-in for Aurora DSQL takes several times as long, and runs a tenth of them."""

AT_ONCE = 25
"""Rounds at a time."""

SHARDS = [DEFAULT_SHARDS, 2, 4, 1]
"""Of the rounds' products in turn: mostly more shards than units."""

CONNECTIONS = 20
"""Of the pool of each Region."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * PATIENCE + ROUNDS * 0.1 * FACTOR)]


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


@pytest.fixture
def rounds(engine: str) -> int:
    return ROUNDS // 10 if engine == DSQL else ROUNDS


@pytest.fixture
async def lines(endpoints: Sequence[Endpoint], tokens: AuthTokens) -> AsyncIterator[list[GroupCommit]]:
    """Four group commits, as of four processes: two in each Region. Each round's product has a line in each."""
    async with AsyncExitStack() as stack:
        pools = [
            await stack.enter_async_context(Pool(endpoint, CONNECTIONS, tokens, PATIENT_TIMES.pool))
            for endpoint in endpoints
        ]
        yield [new_group_commit(pool) for pool in (*pools, *pools)]


async def play_all(rounds: int, play: Callable[[int], Awaitable[UUID]], pool: Pool) -> dict[UUID, AuditLine]:
    """Play so many rounds, AT_ONCE at a time. Returns the books of each round's product at the end, after checking that
    they balance."""
    numbers = iter(range(rounds))
    product_ids: list[UUID] = []

    async def player() -> None:
        for number in numbers:
            product_ids.append(await play(number))

    async with asyncio.TaskGroup() as players:
        for _ in range(AT_ONCE):
            players.create_task(player())
    books = {line.product_id: line for line in await audit(pool)}
    assert [line for line in books.values() if not line.balanced] == []
    assert books.keys() == set(product_ids)
    return books


def left_of(line: AuditLine) -> int:
    """Units in stock at the end of a round."""
    assert line.stock is not None
    return line.stock


def confirmed_of(outcomes: Sequence[Outcome]) -> int:
    """Units that the outcomes say are sold."""
    return sum(outcome.decision.order.quantity for outcome in outcomes if isinstance(outcome.decision, Confirmed))


async def test_the_last_units_are_sold_exactly_and_nobody_is_refused_while_some_are_left(
    rounds: int, pool: Pool, lines: list[GroupCommit]
) -> None:
    answered: dict[UUID, tuple[int, list[tuple[int, Outcome]]]] = {}

    async def play(number: int) -> UUID:
        """1 to 5 units, and twice as many buyers and more, some of whom want two units."""
        units = 1 + number % 5
        product_id = await new_product(pool, stock=units, shards=SHARDS[number % 4])
        quantities = [2 if buyer % 3 == number % 3 else 1 for buyer in range(2 * units + 3)]
        outcomes = await asyncio.gather(
            *(
                lines[(number + buyer) % 4].submit(purchase(product_id, f"buyer-{buyer}", quantity))
                for buyer, quantity in enumerate(quantities)
            )
        )
        answered[product_id] = (units, list(zip(quantities, outcomes, strict=True)))
        return product_id

    books = await play_all(rounds, play, pool)

    for product_id, (units, answers) in answered.items():
        outcomes = [outcome for _, outcome in answers]
        assert kinds(outcomes).keys() <= {"Confirmed", "SoldOut"}
        left = left_of(books[product_id])
        assert books[product_id].sold == confirmed_of(outcomes) == units - left, "oversold or lost"
        refused = [quantity for quantity, outcome in answers if isinstance(outcome.decision, SoldOut)]
        assert min(refused) > left, "answered sold out while there were units left"
    assert lines_that_sold(lines) == 4


async def test_a_buyer_with_a_limit_of_one_who_uses_all_lines_at_once_gets_one_unit_while_some_are_left(
    rounds: int, pool: Pool, lines: list[GroupCommit]
) -> None:
    answered: dict[UUID, tuple[int, list[list[Outcome]]]] = {}

    async def play(number: int) -> UUID:
        """1 to 5 units, and from one buyer to two more than there are units. Each sends four purchases at once."""
        units = 1 + number % 5
        product_id = await new_product(pool, stock=units, limit=1, shards=SHARDS[number % 4])
        buyers = 1 + number // 5 % (units + 2)
        answers = await asyncio.gather(
            *(
                asyncio.gather(
                    *(
                        line.submit(purchase(product_id, f"buyer-{buyer}", key=f"click-{position}"))
                        for position, line in enumerate(lines)
                    )
                )
                for buyer in range(buyers)
            )
        )
        answered[product_id] = (units, answers)
        return product_id

    books = await play_all(rounds, play, pool)

    for product_id, (units, answers) in answered.items():
        left = left_of(books[product_id])
        assert books[product_id].sold == min(units, len(answers)) == units - left
        for outcomes in answers:
            decisions = Counter(type(outcome.decision) for outcome in outcomes)
            assert decisions.keys() <= {Confirmed, LimitReached, SoldOut}
            assert decisions[Confirmed] <= 1, "more than the limit"
            assert decisions[Confirmed] == 1 or decisions[SoldOut] == 4, "no unit, but refused for the limit"
            assert left == 0 or not decisions[SoldOut], "answered sold out while there were units left"
    assert lines_that_sold(lines) == 4


def lines_that_sold(lines: Sequence[GroupCommit]) -> int:
    return sum(any(end == "sold" for _, end in line.transactions) for line in lines)
