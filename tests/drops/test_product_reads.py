"""Reads of single products: those that wait together share one statement."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.regions import Regions, UnknownRegion
from api.drops.product_reads import MAX_PRODUCTS, ProductReads
from api.drops.products import Product
from tests.drops.purchases import new_product
from tests.patience import PATIENCE, PATIENT_TIMES
from tests.plans import Statement, record
from tests.regions import HOME, PEER


@pytest.fixture
async def regions(endpoints: tuple[Endpoint, ...]) -> AsyncIterator[Regions]:
    async with Regions(endpoints, 5, times=PATIENT_TIMES) as regions:
        yield regions


@pytest.fixture
async def reads(regions: Regions) -> AsyncIterator[ProductReads]:
    reads = ProductReads(regions)
    yield reads
    await reads.close()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """The reads that this process sends from now on."""
    return record(monkeypatch, (Pool, "fetch"), (Regions, "fetch"))


def reading(reads: ProductReads, product_id: UUID, region: str | None = None) -> "asyncio.Task[Product | None]":
    return asyncio.create_task(reads.get(product_id, region))


async def stocks(*tasks: "asyncio.Task[Product | None]") -> list[int | None]:
    async with asyncio.timeout(PATIENCE):
        return [None if product is None else product.stock for product in await asyncio.gather(*tasks)]


async def test_products_that_are_wanted_at_the_same_time_share_one_statement(
    pool: Pool, reads: ProductReads, statements: list[Statement]
) -> None:
    ids = [await new_product(pool, stock) for stock in range(1, 6)]

    tasks = [reading(reads, product_id) for product_id in [*ids, uuid4(), *ids]]

    assert await stocks(*tasks) == [1, 2, 3, 4, 5, None, 1, 2, 3, 4, 5]
    assert len(statements) == 1


async def test_a_read_is_never_older_than_its_call(
    pool: Pool, reads: ProductReads, statements: list[Statement], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first statement has its result before the restock, and the second call comes after it."""
    product_id = await new_product(pool, 1)
    read, go_on, fetch = asyncio.Event(), asyncio.Event(), Regions.fetch

    async def held(self: Regions, *arguments: Any) -> Any:
        rows = await fetch(self, *arguments)
        read.set()
        await go_on.wait()
        return rows

    monkeypatch.setattr(Regions, "fetch", held)
    before = reading(reads, product_id)
    await asyncio.wait_for(read.wait(), PATIENCE)
    await pool.execute("UPDATE stock_shards SET stock = 5 WHERE product_id = $1 AND shard = 0", product_id)
    after = reading(reads, product_id)
    await asyncio.sleep(0)
    go_on.set()

    first, second = await stocks(before, after)
    assert (first, second) == (1, 5)


async def test_a_region_that_is_named_is_read_through(
    pool: Pool, reads: ProductReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    product_id = await new_product(pool, 3)
    through: list[str] = []
    fetch = Pool.fetch

    async def recorded(self: Pool, *arguments: Any) -> Any:
        through.append(self.region)
        return await fetch(self, *arguments)

    monkeypatch.setattr(Pool, "fetch", recorded)
    tasks = [reading(reads, product_id, region) for region in (HOME, PEER, PEER)]

    assert await stocks(*tasks) == [3, 3, 3]
    assert sorted(through) == sorted([HOME, PEER])


async def test_an_unknown_region_is_refused(reads: ProductReads) -> None:
    with pytest.raises(UnknownRegion):
        await reads.get(uuid4(), "nowhere")


async def test_the_products_of_one_statement_are_bounded(reads: ProductReads, statements: list[Statement]) -> None:
    tasks = [reading(reads, uuid4()) for _ in range(2 * MAX_PRODUCTS + 1)]

    await stocks(*tasks)
    assert [len(statement.arguments[0]) for statement in statements] == [MAX_PRODUCTS, MAX_PRODUCTS, 1]
