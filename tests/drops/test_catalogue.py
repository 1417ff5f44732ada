"""Drops as things of their own: their rows, their slugs, when they open, and pages of their products."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.tokens import AuthTokens
from api.drops.catalogue import Drop, drop_id, list_drops, longer_slug_of, slug_of
from api.drops.drop_reads import DropReads
from api.drops.keyset import Paging
from api.drops.new_product import NewProduct, create_product
from api.drops.operator_log import Action
from api.drops.product_changes import archive, change_product
from api.drops.product_reads import ProductReads
from api.drops.products import Product, count_products, list_products
from tests.engines import on_both_engines
from tests.patience import PATIENT_BUDGET, PATIENT_TIMES
from tests.plans import Statement, record

OPENING = datetime(2030, 12, 1, 10, tzinfo=UTC)


@pytest.fixture
async def reads(database_url: str, tokens: AuthTokens) -> AsyncIterator[DropReads]:
    async with Regions((Endpoint("here", database_url),), 5, tokens, PATIENT_TIMES) as regions:
        product_reads = ProductReads(regions)
        reads = DropReads(regions, product_reads, PATIENT_BUDGET)
        yield reads
        await reads.close()
        await product_reads.close()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    return record(monkeypatch, (Regions, "fetch"))


async def create(pool: Pool, drop_name: str, opens_at: datetime | None = None) -> Product:
    product = NewProduct.checked(name="Tee", drop_name=drop_name, stock=1, opens_at=opens_at, shards=1)
    return await create_product(pool, product, PATIENT_BUDGET)


async def of_slug(reads: DropReads, slug: str) -> Drop:
    drop = await reads.by_slug(slug)
    assert drop is not None
    return drop


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("First Light", "first-light"),
        ("  Straße & Øl — №3 ", "strasse-ol-no3"),
        ("Ａｕｒｏｒａ ﬁn", "aurora-fin"),
        ("a" * 59 + " b", "a" * 59),
        ("x" * 200, "x" * 60),
        ("朝の光", drop_id("朝の光").hex[:12]),
        ("***", drop_id("***").hex[:12]),
    ],
)
def test_a_slug_has_the_letters_and_digits_of_the_name(name: str, slug: str) -> None:
    assert slug_of(name) == slug


@on_both_engines
async def test_the_first_product_of_a_drop_creates_it(pool: Pool, reads: DropReads) -> None:
    first = await create(pool, "First Light")
    await create(pool, "First Light")
    other = await create(pool, "FIRST LIGHT")

    assert (await list_drops(pool, 10)).items == [
        Drop(drop_id("FIRST LIGHT"), longer_slug_of("FIRST LIGHT", "first-light"), "FIRST LIGHT", other.created_at),
        Drop(drop_id("First Light"), "first-light", "First Light", first.created_at),
    ]
    [row] = await pool.fetch("SELECT md5('First Light')::uuid AS id")
    assert row["id"] == drop_id("First Light")
    assert await of_slug(reads, "first-light") == await reads.of_product(first)
    assert await reads.by_id(drop_id("FIRST LIGHT")) == await reads.of_product(other)
    assert await reads.by_slug("last-light") is None
    # Readers share a statement, which fails for all of them if PostgreSQL refuses one value.
    slugs = ("first-light", "first\0light", "first-light\n", "f" * 1_000)
    found = await asyncio.gather(*map(reads.by_slug, slugs))
    assert [drop is not None for drop in found] == [True, False, False, False]
    assert await reads.by_id(UUID(int=1)) is None


@on_both_engines
async def test_many_first_products_at_once_create_one_drop(pool: Pool) -> None:
    """Names with the same letters, too: each drop gets a slug of its own."""
    await asyncio.gather(*(create(pool, name) for name in ("A B", "a b", "a-b") for _ in range(3)))

    drops = (await list_drops(pool, 10)).items
    assert {drop.name for drop in drops} == {"A B", "a b", "a-b"}
    assert {drop.slug for drop in drops} < {"a-b", *(longer_slug_of(drop.name, "a-b") for drop in drops)}


@on_both_engines
async def test_a_drop_that_a_version_without_drops_has_created_is_written_when_it_is_read(
    pool: Pool, reads: DropReads
) -> None:
    product = await create(pool, "First Light")
    await pool.execute("DELETE FROM drops")

    drops = await asyncio.gather(*(reads.of_product(product) for _ in range(5)))

    assert drops == [Drop(drop_id("First Light"), "first-light", "First Light", product.created_at)] * 5
    assert (await list_drops(pool, 10)).items == drops[:1]


async def test_a_drop_is_read_once(pool: Pool, reads: DropReads, sent: list[Statement]) -> None:
    products = [await create(pool, name) for name in ("Dawn", "Dusk", "Dawn")]
    sent.clear()
    for _ in range(2):
        drops = await asyncio.gather(*map(reads.of_product, products))
        assert [drop.name for drop in drops] == ["Dawn", "Dusk", "Dawn"]
    assert reads.known("Dawn") == drops[0]
    assert len(sent) == 1


@on_both_engines
async def test_a_drop_opens_with_the_first_of_its_products(pool: Pool, reads: DropReads) -> None:
    late, soon = OPENING + timedelta(days=1), OPENING
    products = [await create(pool, "First Light", opens_at) for opens_at in (late, soon)]
    drop = await of_slug(reads, "first-light")
    assert await reads.opens_at(drop) == soon

    await change_product(pool, products[1].id, archive, "ada", Action.PRODUCT_ARCHIVED, PATIENT_BUDGET)
    assert await reads.opens_at(drop) == late
    open_at_once = await create(pool, "First Light")
    assert await reads.opens_at(drop) is None, "it has been open since its creation"

    for product in (products[0], open_at_once):
        await change_product(pool, product.id, archive, "ada", Action.PRODUCT_ARCHIVED, PATIENT_BUDGET)
    assert await reads.opens_at(drop) is None


@on_both_engines
async def test_pages_of_several_drops_are_those_of_the_list(
    pool: Pool, reads: DropReads, sent: list[Statement]
) -> None:
    for number in range(23):
        product = await create(pool, f"Drop {number % 3}")
        if number % 7 == 0:
            await change_product(pool, product.id, archive, "ada", Action.PRODUCT_ARCHIVED, PATIENT_BUDGET)
    drops = (await list_drops(pool, 10)).items
    middle = (await list_products(pool, 2, drop_name="Drop 1")).items[-1].cursor.encode()
    for paging in (Paging(2), Paging(2, middle), Paging(last=2), Paging(last=2, before=middle), Paging(100)):
        sent.clear()
        pages = await asyncio.gather(*(reads.products(drop, paging) for drop in drops))
        assert len(sent) == 2, "one for the pages, and one for their products"
        for drop, page in zip(drops, pages, strict=True):
            assert page == await list_products(
                pool, paging.first, paging.after, drop.name, last=paging.last, before=paging.before
            )
    for drop in drops:
        assert await reads.count_products(drop.name) == await count_products(pool, drop.name)
    nothing = await reads.products(Drop(UUID(int=1), "x", "x", OPENING), Paging(2))
    assert nothing == await list_products(pool, 2, None, "x")
