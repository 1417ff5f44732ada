"""The lists of orders: of all products, merged from the lists of single ones, and of one buyer and one product."""

import itertools
import random
from uuid import UUID, uuid4

import pytest

from api.database.pool import Pool
from api.drops.errors import InvalidInput
from api.drops.new_product import NewProduct, create_product
from api.drops.order_search import OrderSearch, list_orders

_INSERT = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region, created_at)
SELECT gen_random_uuid(), added.product_id, $3, 1, 'CONFIRMED', 'here',
       timestamptz '2026-01-01' + added.second * interval '1 second'
FROM unnest($1::text[]::uuid[], $2::text[]::integer[]) AS added (product_id, second)
"""
_NEWEST_FIRST = "SELECT id FROM orders ORDER BY created_at DESC, id DESC"


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


async def new_products(pool: Pool, count: int) -> list[UUID]:
    new = [NewProduct.checked(name=f"Tee {n}", drop_name="First Light", stock=5) for n in range(count)]
    return [(await create_product(pool, product)).id for product in new]


async def insert(pool: Pool, orders: list[tuple[UUID, int]], user_ref: str = "ada") -> list[UUID]:
    """Insert orders of one buyer, each of a product and a second. Return the ids of all orders, newest first."""
    products, seconds = [str(product_id) for product_id, _ in orders], [str(second) for _, second in orders]
    await pool.execute(_INSERT, products, seconds, user_ref)
    return [row["id"] for row in await pool.fetch(_NEWEST_FIRST)]


async def pages(
    pool: Pool, first: int, user_ref: str | None = None, product_id: UUID | None = None
) -> list[list[UUID]]:
    """The ids on all pages, from the newest page to the one that has no next page. No id is on two of them."""
    search = OrderSearch(user_ref, product_id)
    page = await list_orders(pool, first, None, search)
    found = [[order.id for order in page.items]]
    while page.has_next:
        page = await list_orders(pool, first, page.items[-1].cursor.encode(), search)
        found.append([order.id for order in page.items])
        assert len({*itertools.chain(*found)}) == sum(map(len, found)), "an order is on two pages"
    return found


def cut(ids: list[UUID], size: int) -> list[list[UUID]]:
    """The ids in pages of `size`; one empty page when there are no ids."""
    return [ids[start : start + size] for start in range(0, len(ids), size)] or [[]]


@pytest.mark.parametrize("first", [1, 2, 7, 100])
@pytest.mark.parametrize("products", [1, 3, 30])
async def test_every_order_is_on_exactly_one_page(pool: Pool, products: int, first: int) -> None:
    """Fewer products than a page has orders, and more; some products have none, and one has most of the orders."""
    seed = products * 1000 + first
    chance = random.Random(seed)  # noqa: S311
    selling = (await new_products(pool, products + 2))[:products]
    orders = [(selling[int(products * chance.random() ** 3)], chance.randrange(60)) for _ in range(150)]

    newest_first = await insert(pool, orders)

    assert await pages(pool, first) == cut(newest_first, first), f"seed {seed}"


@pytest.mark.parametrize("first", [1, 3, 100])
async def test_orders_of_one_moment_are_each_on_one_page(pool: Pool, first: int) -> None:
    """All orders have the same time, as if they were bought in one microsecond: the ids decide."""
    newest_first = await insert(pool, [(product_id, 0) for product_id in await new_products(pool, 8)] * 3)

    assert await pages(pool, first) == cut(newest_first, first)


async def test_a_page_can_be_of_one_product_alone(pool: Pool) -> None:
    """The newest order of each product is older than all orders of one product."""
    *others, hot = await new_products(pool, 12)
    newest_first = await insert(pool, [(hot, 100 + n) for n in range(20)] + [(other, 1) for other in others])

    assert await pages(pool, 5) == cut(newest_first, 5)


@pytest.mark.parametrize("first", [1, 2, 7, 100])
async def test_a_buyers_orders_of_one_product_are_each_on_one_page(pool: Pool, first: int) -> None:
    """Every second order of each buyer is of another product, and three orders have the same time."""
    tee, cap = await new_products(pool, 2)
    await insert(pool, [((tee, cap)[n % 2], n // 6) for n in range(40)])
    await insert(pool, [(tee, n) for n in range(7)], user_ref="bob")
    rows = await pool.fetch(
        "SELECT id FROM orders WHERE user_ref = 'ada' AND product_id = $1 ORDER BY created_at DESC, id DESC", tee
    )

    assert await pages(pool, first, user_ref="ada", product_id=tee) == cut([row["id"] for row in rows], first)


async def test_there_are_no_orders_at_first(pool: Pool) -> None:
    assert await pages(pool, 10) == [[]]
    await new_products(pool, 2)
    assert await pages(pool, 10) == [[]]


async def test_orders_that_come_later_do_not_shift_the_next_page(pool: Pool) -> None:
    one, other = await new_products(pool, 2)
    newest_first = await insert(pool, [(one, 2 * n) for n in range(6)] + [(other, 2 * n + 1) for n in range(6)])
    page = await list_orders(pool, 5)

    await insert(pool, [(one, 100), (other, 101)])

    following = await list_orders(pool, 100, page.items[-1].cursor.encode())
    assert [order.id for order in (*page.items, *following.items)] == newest_first


@pytest.mark.parametrize("first", [0, -1, 101])
async def test_a_page_has_a_size_within_the_bounds(pool: Pool, first: int) -> None:
    with pytest.raises(InvalidInput, match=f"last must be between 1 and 100, not {first}"):
        await list_orders(pool, last=first)
    with pytest.raises(InvalidInput, match=f"first must be between 1 and 100, not {first}"):
        await list_orders(pool, first)
    with pytest.raises(InvalidInput, match=f"first must be between 1 and 100, not {first}"):
        await list_orders(pool, first, None, OrderSearch(product_id=uuid4()))
    with pytest.raises(InvalidInput, match=f"first must be between 1 and 100, not {first}"):
        await list_orders(pool, first, None, OrderSearch("ada", uuid4()))
