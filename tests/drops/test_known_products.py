"""Products are looked for before a purchase gets in line: once, together, and within the purchase's deadline."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import uuid4

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.drops.drops import Drops
from api.drops.errors import NotFound
from api.drops.group_commit import GroupPolicy
from api.drops.line import Busy
from api.drops.products import NewProduct, create_product
from api.drops.purchase import Confirmed
from api.drops.stock import PollingTimes
from tests.drops.purchases import new_product, wish
from tests.drops.test_group_commit import until_blocked
from tests.faults import Faulty
from tests.patience import PATIENCE, PATIENT_BUDGET, PATIENT_TIMES, short


@asynccontextmanager
async def drops_at(url: str, budget: RetryBudget = PATIENT_BUDGET) -> AsyncIterator[Drops]:
    drops = Drops(Regions((Endpoint("here", url),), 5, times=PATIENT_TIMES), GroupPolicy(), budget, PollingTimes())
    await drops.open()
    try:
        yield drops
    finally:
        await drops.close(grace=PATIENCE)


@asynccontextmanager
async def products_locked(pool: Pool) -> AsyncIterator[None]:
    """Let everything that reads products wait."""
    async with pool.begin(PATIENCE) as transaction:
        await transaction.execute("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")
        yield


async def test_a_product_that_does_not_exist_costs_no_line_and_no_transaction(behind: Pool) -> None:
    async with drops_at(behind.endpoint.url) as drops:
        with pytest.raises(NotFound):
            await drops.purchase(wish(uuid4()), None)

        assert drops.lines[None].transactions.total() == 0
        assert drops.lines[None].waiting == 0


async def test_a_product_that_another_process_has_just_created_is_found(behind: Pool) -> None:
    product = NewProduct.checked(name="Tee", drop_name="First Light", stock=1)
    async with drops_at(behind.endpoint.url) as drops:
        with pytest.raises(NotFound):
            await drops.purchase(wish(product.id), None)

        await create_product(behind, product, PATIENT_BUDGET)

        assert isinstance((await drops.purchase(wish(product.id), None)).decision, Confirmed)


async def test_those_that_look_while_a_look_is_under_way_share_the_next_one(behind: Pool) -> None:
    product_ids = [await new_product(behind) for _ in range(3)]
    async with drops_at(behind.endpoint.url) as drops:
        async with products_locked(behind):
            first = asyncio.create_task(drops.known_products.require(uuid4()))
            await until_blocked(behind)
            waiting = [asyncio.create_task(drops.known_products.require(each)) for each in (*product_ids, uuid4())]
            await asyncio.sleep(0)
            waiting[0].cancel()
        answers = await asyncio.gather(first, *waiting, return_exceptions=True)

        assert [type(answer) for answer in answers] == [
            NotFound,
            asyncio.CancelledError,
            type(None),
            type(None),
            NotFound,
        ]
        assert [drops.known_products.knows(each) for each in product_ids] == [False, True, True]


async def test_a_look_that_takes_long_counts_towards_the_deadline_of_the_purchase(behind: Pool) -> None:
    product_id = await new_product(behind, stock=5)
    async with drops_at(behind.endpoint.url, RetryBudget(seconds=short(0.2))) as drops, products_locked(behind):
        outcome = await drops.purchase(wish(product_id), None)

        assert isinstance(outcome.decision, Busy)
        assert drops.known_products._looks._reading is not None, "the look has ended before the purchase"


async def test_a_database_that_comes_back_within_the_deadline_costs_a_purchase_no_error(
    behind: Pool, faulty: Faulty
) -> None:
    product_id = await new_product(behind, stock=5)
    endless = replace(PATIENT_BUDGET, attempts=1_000_000)
    async with drops_at(faulty.url, endless) as drops:
        faulty.down()
        buying = asyncio.create_task(drops.purchase(wish(product_id), None))
        await asyncio.sleep(short(0.1))
        assert not buying.done()
        await faulty.up()

        assert isinstance((await buying).decision, Confirmed)
