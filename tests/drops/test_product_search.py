"""The search of products: each page is what a plain Python filter finds, and reads a bounded number of rows."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from uuid import UUID

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.drops.availability import Availability
from api.drops.errors import InvalidInput
from api.drops.keyset import Paging
from api.drops.new_product import NewProduct, create_product
from api.drops.product_search import (
    MAX_EXAMINED,
    FoundProducts,
    ProductSearch,
    ProductSort,
    search_products,
)
from api.drops.products import Product, get_products
from tests.engines import on_both_engines
from tests.patience import PATIENT_TIMES

START = datetime(2026, 1, 1, tzinfo=UTC)
LONG_AGO, LONG_AFTER = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
FAMILIES = (None, "Tee", "Cap")
DROPS = ("Dawn", "Dusk")
SIZE = 150

INSERT = """
INSERT INTO products (id, name, drop_name, family, created_at, opens_at, closes_at, archived_at)
SELECT * FROM unnest($1::text[]::uuid[], $2::text[], $3::text[], $4::text[], $5::text[]::timestamptz[],
    $6::text[]::timestamptz[], $7::text[]::timestamptz[], $8::text[]::timestamptz[])
"""
STOCK = """
INSERT INTO stock_shards (product_id, shard, stock, stocked, version)
SELECT id, shard, CASE WHEN shard = 1 THEN stock ELSE 0 END, 5, 1
FROM unnest($1::text[]::uuid[], $2::text[]::integer[]) AS product (id, stock), generate_series(0, 2) AS shard
"""
MANY = """
WITH added AS (
    INSERT INTO products (id, name, drop_name, created_at, opens_at)
    SELECT gen_random_uuid(), 'Tee', 'Drop ' || n % 3, now() - n * interval '1 minute',
        CASE WHEN n % 2 = 0 THEN now() - n * interval '1 hour' END
    FROM generate_series(1, $1::integer) AS n RETURNING id
)
INSERT INTO stock_shards (product_id, shard, stock, stocked, version) SELECT id, 0, 0, 5, 1 FROM added
"""


@dataclass(frozen=True)
class Catalogue:
    """A database, and all of its products."""

    pool: Pool
    products: Sequence[Product]


@pytest.fixture(scope="module")
async def catalogue(shared_database_url: str) -> AsyncIterator[Catalogue]:
    """Random products: few moments, so that many are the same."""
    random = Random(7)  # noqa: S311
    moments = [START + timedelta(hours=hour) for hour in range(8)]
    rows = [
        (
            str(UUID(int=random.getrandbits(128))),
            f"Tee {number}",
            random.choice(DROPS),
            random.choice(FAMILIES),
            random.choice(moments).isoformat(),
            random.choice([None, *(each.isoformat() for each in (*moments[:3], LONG_AFTER))]),
            random.choice([None, None, LONG_AFTER.replace(year=2101).isoformat(), moments[5].isoformat()]),
            random.choice([None, None, None, moments[6].isoformat()]),
        )
        for number in range(SIZE)
    ]
    async with Pool(Endpoint("here", shared_database_url), size=4, times=PATIENT_TIMES.pool) as pool:
        await pool.execute(INSERT, *map(list, zip(*rows, strict=True)))
        await pool.execute(STOCK, [row[0] for row in rows], [str(random.choice((0, 2))) for _ in rows])
        products = await get_products(pool, [UUID(row[0]) for row in rows])
        yield Catalogue(pool, list(products.values()))


SEARCHES = st.builds(
    ProductSearch,
    availability=st.none() | st.sampled_from(Availability),
    drop_names=st.sampled_from([(), ("Dawn",), ("Dusk",), ("Dawn", "Dusk"), ("Dawn", "Dawn"), (None,)]),
    family=st.sampled_from(FAMILIES),
    opens_before=st.sampled_from([None, START + timedelta(hours=2), LONG_AFTER]),
    opens_after=st.sampled_from([None, LONG_AGO, START + timedelta(hours=1)]),
    sort=st.sampled_from(ProductSort),
    archived=st.booleans(),
)


def found_in(products: Sequence[Product], search: ProductSearch) -> list[Product]:
    """What the search finds, in its order."""
    found = [
        product
        for product in products
        if (product.archived_at is not None) == search.archived
        and search.availability in (None, product.availability)
        and all(name == product.drop_name for name in search.drop_names)
        and search.family in (None, product.family)
        and (search.opens_before is None or product.opening < search.opens_before)
        and (search.opens_after is None or product.opening > search.opens_after)
    ]
    return sorted(found, key=search.sort.place_of, reverse=search.sort is ProductSort.NEWEST)


async def pages_of(
    pool: Pool, search: ProductSearch, size: int, examined: int, *, backward: bool
) -> list[FoundProducts]:
    """All pages of a search, from its beginning on, or from its end back."""
    pages: list[FoundProducts] = []
    cursor = None
    while True:
        paging = Paging(last=size, before=cursor) if backward else Paging(first=size, after=cursor)
        page = await search_products(pool, search, paging, max_examined=examined)
        pages.append(page)
        if not (page.has_previous if backward else page.has_next):
            return pages
        end = page.start if backward else page.end
        assert end is not None, "the list goes on from there"
        assert len(pages) <= 2 * SIZE, "the pages do not end"
        cursor = end.encode()


@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(
    search=SEARCHES,
    size=st.sampled_from([1, 7, 40, 100]),
    examined=st.sampled_from([10, 40, MAX_EXAMINED]),
    backward=st.booleans(),
)
async def test_the_pages_of_a_search_are_what_a_plain_filter_finds(
    catalogue: Catalogue, search: ProductSearch, size: int, examined: int, backward: bool
) -> None:
    before, after = search.opens_before, search.opens_after
    assume(not (search.archived and search.sort is ProductSort.OPENS_AT))
    assume(before is None or after is None or before > after)

    pages = await pages_of(catalogue.pool, search, size, examined, backward=backward)

    items = [product for page in (reversed(pages) if backward else pages) for product in page.items]
    assert items == found_in(catalogue.products, search)
    assert all(len(page.items) <= size for page in pages)
    if examined == MAX_EXAMINED:
        assert len(pages) <= max(1, -(-len(items) // size)), "a page is full while products follow"


@pytest.mark.parametrize("sort", ProductSort)
async def test_a_page_of_a_large_catalogue_reads_few_rows(pool: Pool, sort: ProductSort) -> None:
    """All products are sold out, and one that is on sale comes after all others."""
    await pool.execute(MANY, 3 * MAX_EXAMINED)
    last = (await search_products(pool, ProductSearch(sort=sort), Paging(last=1))).items[0]
    await pool.execute("UPDATE stock_shards SET stock = 1 WHERE product_id = $1", last.id)
    search, pages = ProductSearch(Availability.ON_SALE, sort=sort), 0
    found: list[Product] = []
    page = await search_products(pool, search, Paging(1))
    assert (page.items, page.has_next) == ([], True)
    while page.has_next:
        assert page.end is not None
        page = await search_products(pool, search, Paging(1, page.end.encode()))
        found += page.items
        pages += 1
    assert [product.id for product in found] == [last.id]
    assert pages == 2, "each of the three pages examines as many rows as it may"


@on_both_engines
async def test_products_are_found_by_the_clock_of_the_database(pool: Pool) -> None:
    soon = datetime.now(UTC) + timedelta(days=1)
    for name, opens_at, stock in (("now", None, 1), ("soon", soon, 1), ("later", soon + timedelta(days=1), 0)):
        new = NewProduct.checked(name=name, drop_name="Dawn", stock=stock, opens_at=opens_at, shards=2)
        await create_product(pool, new)
    gone = await search_products(pool, ProductSearch(Availability.GONE), Paging())
    coming = await search_products(pool, ProductSearch(Availability.COMING, sort=ProductSort.OPENS_AT), Paging())
    assert [product.name for product in coming.items] == ["soon", "later"]
    assert [product.availability for product in coming.items] == [Availability.COMING] * 2
    on_sale = await search_products(pool, ProductSearch(Availability.ON_SALE), Paging())
    assert [product.name for product in on_sale.items] == ["now"]
    assert gone.items == []


@pytest.mark.parametrize(
    ("search", "paging", "message"),
    [
        (ProductSearch(sort=ProductSort.OPENS_AT, archived=True), Paging(), "archived products are not sorted"),
        (ProductSearch(opens_before=START, opens_after=START), Paging(), "opensBefore must be later"),
        (ProductSearch(opens_after=START.replace(tzinfo=None)), Paging(), "opensAfter must carry a UTC offset"),
        (ProductSearch(family=" "), Paging(), "family must not be blank"),
        (ProductSearch(), Paging(1, last=1), "first and last cannot be combined"),
    ],
)
async def test_a_search_that_can_never_work_is_refused(
    catalogue: Catalogue, search: ProductSearch, paging: Paging, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        await search_products(catalogue.pool, search, paging)


@pytest.mark.parametrize("sort", ProductSort)
async def test_a_cursor_of_another_order_is_refused(catalogue: Catalogue, sort: ProductSort) -> None:
    end = (await search_products(catalogue.pool, ProductSearch(sort=sort), Paging(1))).end
    assert end is not None
    for other in {*ProductSort} - {sort}:
        with pytest.raises(InvalidInput, match=f"after is not a cursor of {other.kind}; pass the endCursor"):
            await search_products(catalogue.pool, ProductSearch(sort=other), Paging(1, end.encode()))
