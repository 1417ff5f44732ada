"""The products of watchers who want them: at exactly the version of each change, and read once for each revision."""

import asyncio
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from api.database.pool import Pool
from api.drops.availability import Availability
from api.drops.operator_log import Action
from api.drops.product_changes import ProductUpdate, change_product
from api.drops.products import Product, get_product
from api.drops.stock import StockPublisher
from api.drops.stock_changes import StockChange, Watcher
from tests.drops.purchases import new_product, restock
from tests.drops.watching import assert_nothing_sent, next_change, one_shard
from tests.faults import Faulty
from tests.patience import PATIENCE, PATIENT_BUDGET
from tests.plans import Statement, record


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """The reads that this process sends from now on."""
    return record(monkeypatch, (Pool, "fetch"))


def reads_of_products(statements: list[Statement]) -> int:
    return sum("descriptions" in statement.text for statement in statements)


async def rename(pool: Pool, product_id: UUID, name: str, publisher: StockPublisher | None = None) -> Product:
    """Change the name, as another process does, or as this one does, which publishes the change."""
    revision = (await get_product(pool, product_id)).revision
    update = ProductUpdate.checked(product_id, revision, {"name": name})
    changed = await change_product(pool, product_id, update.apply, "olga", Action.PRODUCT_UPDATED, PATIENT_BUDGET)
    if publisher is not None:
        publisher.publish(product_id, changed.shards, changed.product.revision, changed.product)
    return changed.product


def assert_exact(change: StockChange) -> None:
    product, level = change.product, change.level
    assert (product.id, product.stock, product.stocked) == (level.product_id, level.stock, level.stocked)
    assert (product.version, product.revision) == (level.version, level.revision)


async def test_a_change_has_the_product_as_it_is_at_its_version(pool: Pool, often: StockPublisher) -> None:
    product_id = await new_product(pool, stock=7, shards=2)

    async with often.watch([product_id], with_products=True) as watcher:
        first = (await next_change(watcher)).product
        assert first == await get_product(pool, product_id)
        await restock(pool, product_id, 3)
        restocked = (await next_change(watcher)).product
        assert restocked == await get_product(pool, product_id)
        assert restocked.read_at > first.read_at, "its availability is that of the change's moment"
        renamed = await rename(pool, product_id, "Hoodie")
        assert replace((await next_change(watcher)).product, limit_changed_at=None) == renamed


async def test_the_availability_of_a_product_follows_the_clock_of_its_changes(
    pool: Pool, seldom: StockPublisher
) -> None:
    opens_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    product_id = await new_product(pool, opens_at=opens_at, shards=1)
    product = await get_product(pool, product_id)
    second = timedelta(seconds=1)

    async with seldom.watch([product_id], with_products=True) as watcher:
        assert (await next_change(watcher)).product.availability is Availability.COMING
        seldom.publish(product_id, one_shard(9, 2), read_at=opens_at + second)
        assert (await next_change(watcher)).product.availability is Availability.ON_SALE
        seldom.publish(product_id, one_shard(0, 3), 0, replace(product, read_at=opens_at + 2 * second))
        sold_out = (await next_change(watcher)).product
        assert (sold_out.availability, sold_out.read_at) == (Availability.GONE, opens_at + 2 * second)
        async with seldom.watch([product_id], with_products=True) as another:
            assert (await next_change(another)).product == sold_out


async def test_the_fields_are_read_once_for_each_revision_that_another_process_makes(
    pool: Pool, often: StockPublisher, statements: list[Statement]
) -> None:
    product_id = await new_product(pool, shards=1)

    async with often.watch([product_id], with_products=True) as watcher:
        await next_change(watcher)
        for _ in range(5):
            await restock(pool, product_id, 1)
            assert_exact(await next_change(watcher))
        assert reads_of_products(statements) == 1

        await rename(pool, product_id, "Hoodie")
        before = reads_of_products(statements)
        assert (await next_change(watcher)).product.name == "Hoodie"
        await restock(pool, product_id, 1)
        assert_exact(await next_change(watcher))
        async with often.watch([product_id], with_products=True) as another:
            assert (await next_change(another)).product.name == "Hoodie"
        assert reads_of_products(statements) - before <= 1


async def test_what_this_process_has_changed_is_not_read(
    pool: Pool, seldom: StockPublisher, statements: list[Statement]
) -> None:
    product_id = await new_product(pool, shards=1)
    product = await get_product(pool, product_id)

    async with seldom.watch([product_id], with_products=True) as watcher, seldom.watch([product_id]) as plain:
        assert_exact(await next_change(watcher))
        statements.clear()
        for revision in (0, 1, 2):
            changed = replace(product, revision=revision, name=f"Tee {revision}")
            seldom.publish(product_id, one_shard(9 - revision, 2 + revision), revision, changed)
            change = await next_change(watcher)
            assert_exact(change)
            assert change.product.name == ("Tee" if revision == 0 else f"Tee {revision}")
            assert await next_change(plain) == change
        assert statements == []


async def test_watchers_of_the_stock_alone_cost_no_reading_of_products(
    pool: Pool, often: StockPublisher, statements: list[Statement]
) -> None:
    product_id = await new_product(pool, shards=1)

    async with often.watch([product_id]) as watcher:
        await next_change(watcher)
        revision = (await rename(pool, product_id, "Hoodie")).revision
        sent = reads_of_products(statements)
        while (await next_change(watcher)).level.revision < revision:
            pass
        assert reads_of_products(statements) == sent
        async with often.watch([product_id], with_products=True) as another:
            assert (await next_change(another)).product.name == "Hoodie"
        assert_nothing_sent(watcher)


async def test_a_change_waits_for_its_product_while_the_database_is_away(
    pool: Pool, faulty: Faulty, often: StockPublisher
) -> None:
    product_id = await new_product(pool, shards=1)

    async with often.watch([product_id], with_products=True) as watcher:
        await next_change(watcher)
        faulty.down()
        stale = await next_change(watcher)
        assert stale.stale
        assert_exact(stale)
        await rename(pool, product_id, "Hoodie")
        await faulty.up()
        change = await next_change(watcher)
        assert (change.product.name, change.stale) == ("Hoodie", False)
        assert_exact(change)


async def follow(watcher: Watcher, until: tuple[int, str]) -> None:
    """Take changes until the stock and the name, and check each."""
    version, names = 0, dict[int, str]()
    while True:
        change = await next_change(watcher)
        assert_exact(change)
        assert change.level.version > version
        version, product = change.level.version, change.product
        assert names.setdefault(product.revision, product.name) == product.name
        if (product.stock, product.name) == until:
            return
        await asyncio.sleep(0)


async def test_no_product_contradicts_its_change_while_two_processes_sell_and_operators_change_it(
    pool: Pool, often: StockPublisher
) -> None:
    """Watchers come and go meanwhile, with products and without."""
    chance = random.Random(7)  # noqa: S311
    product_id = await new_product(pool, stock=1_000, shards=3)

    async def visit() -> None:
        while True:
            async with often.watch([product_id], with_products=chance.random() < 0.5) as visitor:
                change = await next_change(visitor)
                if visitor.with_products:
                    assert_exact(change)
            await asyncio.sleep(0.002)

    async with often.watch([product_id], with_products=True) as watcher:
        following = asyncio.create_task(follow(watcher, until=(1_040, "the last")))
        visitors = [asyncio.create_task(visit()) for _ in range(3)]
        for number in range(40):
            await restock(pool, product_id, 1)
            if number % 4 == 0:
                await rename(pool, product_id, f"Tee {number}", chance.choice([None, often]))
        await rename(pool, product_id, "the last")
        await asyncio.wait_for(following, PATIENCE)
        for visitor in visitors:
            visitor.cancel()
        results = await asyncio.gather(*visitors, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results), results
