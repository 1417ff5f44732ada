"""Searches of orders: each finds exactly the orders that a plain comparison with every order finds."""

import random
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4, uuid5

import pytest

from api.database.pool import Pool
from api.drops.errors import InvalidInput
from api.drops.new_product import NewProduct, create_product
from api.drops.order_counts import OrderCount, count_orders
from api.drops.order_search import OrderSearch, list_orders
from api.drops.orders import SELECT_ORDERS, Order, OrderStatus, order_of
from api.drops.reference import ids_of, reference_of

START = datetime(2026, 1, 1, tzinfo=UTC)

# The quantity says what has become of an order. The last is an order that an earlier version has cancelled.
_INSERT = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region, created_at, held_until, lapsed_at)
SELECT gen_random_uuid(), added.product_id, added.buyer, added.quantity,
       CASE WHEN added.quantity IN (1, 2) THEN 'CONFIRMED' ELSE 'CANCELLED' END, 'here',
       $4::timestamptz + added.second * interval '1 second',
       CASE WHEN added.quantity IN (2, 5) THEN now() + interval '1 hour' END,
       CASE WHEN added.quantity = 4 THEN now() END
FROM unnest($1::text[]::uuid[], $2::text[], $3::text[]::integer[], $5::text[]::integer[])
    AS added (product_id, buyer, second, quantity)
"""


async def sell(pool: Pool, chance: random.Random, number: int) -> list[Order]:
    """Orders of three buyers and of four products, of every status, some at the same moment. Newest first."""
    new = [NewProduct.checked(name=f"Tee {n}", drop_name="First Light", stock=5) for n in range(5)]
    products = [str((await create_product(pool, product)).id) for product in new][:4]
    await pool.execute(
        _INSERT,
        [products[int(4 * chance.random() ** 2)] for _ in range(number)],
        [f"buyer {chance.randrange(3)}" for _ in range(number)],
        [str(chance.randrange(number // 2)) for _ in range(number)],
        START,
        [str(chance.randrange(1, 6)) for _ in range(number)],
    )
    return [order_of(row) for row in await pool.fetch(f"{SELECT_ORDERS} ORDER BY created_at DESC, id DESC")]


def matches(search: OrderSearch, order: Order) -> bool:
    wanted = (search.user_ref, search.product_id, search.reference, search.status)
    found = (order.user_ref, order.product_id, order.reference, order.status)
    return (
        all(value in (None, there) for value, there in zip(wanted, found, strict=True))
        and (search.since is None or search.since <= order.created_at)
        and (search.until is None or order.created_at < search.until)
    )


def is_bounded(search: OrderSearch) -> bool:
    """Whether an index finds the orders of the search."""
    filters = (search.user_ref, search.product_id, search.reference)
    return search.status in (None, OrderStatus.HELD) or any(value is not None for value in filters)


def cursor_of(order: Order | None) -> str | None:
    return None if order is None else order.cursor.encode()


async def assert_a_window_is_right(pool: Pool, chance: random.Random, search: OrderSearch, orders: list[Order]) -> None:
    """A page in one of the directions has the right orders of the search, and says rightly whether the list goes on at
    its ends. Its cursors can be those of orders that the search does not find."""
    size, backward = chance.choice([1, 7, 100]), chance.random() < 0.5
    after, before = (chance.choice([None, chance.choice(orders)]) for _ in range(2))
    behind = [order for order in orders if matches(search, order)]
    ahead = [order for order in behind if after is not None and order.cursor.place >= after.cursor.place]
    beyond = [order for order in behind if before is not None and order.cursor.place <= before.cursor.place]
    inside = [order for order in behind if order not in ahead and order not in beyond]
    page = await list_orders(
        pool,
        None if backward else size,
        cursor_of(after),
        search,
        last=size if backward else None,
        before=cursor_of(before),
    )
    assert page.items == (inside[-size:] if backward else inside[:size])
    more = len(inside) > size
    assert (page.has_previous, page.has_next) == (
        bool(ahead) or (more and backward),
        bool(beyond) or (more and not backward),
    )


async def all_pages(pool: Pool, search: OrderSearch, first: int) -> list[Order]:
    page = await list_orders(pool, first, None, search)
    found = page.items
    while page.has_next:
        page = await list_orders(pool, first, page.items[-1].cursor.encode(), search)
        found += page.items
    return found


async def test_a_search_finds_exactly_its_orders(pool: Pool) -> None:
    seed = random.randrange(10**6)  # noqa: S311
    chance = random.Random(seed)  # noqa: S311
    orders = await sell(pool, chance, 120)
    assert {order.status for order in orders} == set(OrderStatus)

    for _ in range(200):
        some, first, second = chance.choice(orders), *sorted(chance.sample(range(60), 2))
        search = OrderSearch(
            chance.choice([None, some.user_ref, "nobody"]),
            chance.choice([None, some.product_id]),
            chance.choice([None, None, some.reference]),
            chance.choice([None, *OrderStatus]),
            chance.choice([None, START + timedelta(seconds=first)]),
            chance.choice([None, START + timedelta(seconds=second)]),
        )
        if not is_bounded(search):
            with pytest.raises(InvalidInput, match="needs a productId or a userRef as well: add one"):
                await list_orders(pool, 5, None, search)
            continue
        expected = [order for order in orders if matches(search, order)]
        print(f"seed {seed}: {search}")  # noqa: T201
        assert await all_pages(pool, search, chance.choice([1, 7, 100])) == expected
        await assert_a_window_is_right(pool, chance, search, orders)


async def test_the_counts_are_those_of_the_lists(pool: Pool) -> None:
    orders = await sell(pool, random.Random(7), 60)  # noqa: S311
    products = {order.product_id for order in orders}
    counts = await count_orders(pool, [*products, uuid4()])
    assert set(counts) == products
    for product_id, by_status in counts.items():
        for status in OrderStatus:
            listed = await all_pages(pool, OrderSearch(product_id=product_id, status=status), 100)
            expected = OrderCount(len(listed), sum(order.quantity for order in listed))
            assert by_status.get(status, OrderCount()) == expected


def test_a_reference_names_exactly_the_ids_that_have_it() -> None:
    for order_id in (*(uuid4() for _ in range(200)), *(uuid5(uuid4(), "click") for _ in range(200))):
        reference = reference_of(order_id)
        ranges = ids_of(f" {reference.lower().replace('-', ' ')} ")
        assert ranges == ids_of(reference)
        assert any(least <= order_id <= greatest for least, greatest in ranges)
        for least, greatest in ranges:
            assert reference_of(least) == reference_of(greatest) == reference
            assert reference_of(UUID(int=least.int - 1)) != reference != reference_of(UUID(int=greatest.int + 1))


@pytest.mark.parametrize("text", ["", "K7QM-2XRD-9HT", "K7QM-2XRD-9HTVV", "K7QM-2XRD-9HT0", "YYYY-YYYY-YYYY", "Ⅹ" * 12])
def test_a_text_that_is_no_reference_is_answered_with_one(text: str) -> None:
    with pytest.raises(InvalidInput, match="such as K7QM-2XRD-9HTV, not "):
        ids_of(text)


async def test_until_comes_after_since(pool: Pool) -> None:
    with pytest.raises(InvalidInput, match="until must be later than since"):
        await list_orders(pool, 5, None, OrderSearch(since=START, until=START))
    with pytest.raises(InvalidInput, match="since must carry a UTC offset"):
        await list_orders(pool, 5, None, OrderSearch(since=datetime(2026, 1, 1)))
