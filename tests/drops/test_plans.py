"""The plans of all statements that a purchase, a page or a look-up sends: each finds its rows through an index."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias

import pytest

from api.database.pool import Pool, Transaction
from api.database.regions import Regions
from api.drops.activity import delete_old_activity
from api.drops.activity_feed import READ_NEW
from api.drops.availability import Availability
from api.drops.catalogue import Drop, drop_id, drops_by_id, drops_by_slug, list_drops
from api.drops.drop_reads import DropPage, count_products_of_drops, read_openings, read_pages
from api.drops.families import FamilyReads
from api.drops.history import read_history
from api.drops.holds import count_holds, held_units
from api.drops.keyset import Page, Paging, Window
from api.drops.known_products import KnownProducts
from api.drops.lapsing import READ_HOLDS
from api.drops.new_product import NewProduct, create_product
from api.drops.operator_log import Action, LogEntry, list_log
from api.drops.order_search import OrderSearch, list_orders
from api.drops.orders import Order, OrderStatus, get_order
from api.drops.processes import OwnProcess, list_processes
from api.drops.product_changes import change_product, pause
from api.drops.product_feed import READ_CHANGES
from api.drops.product_search import ProductSearch, ProductSort, search_products
from api.drops.products import Product, count_products, get_products, list_products
from api.drops.purchase import execute_group
from api.drops.recorder import Recorder, RecorderTimes
from api.drops.reference import reference_of
from api.drops.requests import CancelRequest, ConfirmRequest, Purchase, Request, RestockRequest
from api.drops.tally import Tally
from tests.drops.filled_shop import BUYER, DROP, Shop, filled_shop
from tests.drops.watching import SELDOM, next_change, publishing
from tests.patience import PATIENCE, PATIENT_BUDGET, PATIENT_TIMES
from tests.plans import Statement, plans, record

ALL = OrderSearch()


@pytest.fixture(scope="module")
async def shop(shared_database_url: str) -> AsyncIterator[Shop]:
    async with filled_shop(shared_database_url) as shop:
        yield shop


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """Every statement that is sent from now on, in order."""
    methods = ("fetch", "fetchrow", "execute")
    return record(monkeypatch, (Pool, "fetch"), *((Transaction, method) for method in methods))


Read: TypeAlias = Callable[..., Awaitable[Page[Order] | Page[Product] | Page[Drop] | Page[LogEntry]]]


async def in_both_directions(read: Read, size: int = 2) -> None:
    """Read the first two pages, the last page, and the page before a place in the middle."""
    page = await read(first=size)
    cursor = page.items[-1].cursor.encode()
    await read(first=size, after=cursor)
    await read(last=size)
    await read(last=size, before=cursor)


async def orders(shop: Shop, search: OrderSearch = ALL) -> None:
    await in_both_directions(partial(list_orders, shop.pool, search=search))


async def last_week(shop: Shop, search: OrderSearch = ALL) -> None:
    """The orders of the search that were bought in a week of which all orders are."""
    now = datetime.now(UTC)
    await orders(shop, replace(search, since=now - timedelta(days=7), until=now + timedelta(hours=1)))


def of_hot(shop: Shop, status: OrderStatus) -> OrderSearch:
    return OrderSearch(product_id=shop.hot, status=status)


async def products(shop: Shop, drop_name: str | None = None) -> None:
    await in_both_directions(partial(list_products, shop.pool, drop_name=drop_name), size=20)


async def search(shop: Shop, drop_name: str | None = None, **more: Any) -> None:
    """Two pages of a search in both directions."""
    wanted = ProductSearch(drop_names=() if drop_name is None else (drop_name,), **more)
    found = await search_products(shop.pool, wanted, Paging(2))
    assert found.end is not None
    await search_products(shop.pool, wanted, Paging(2, found.end.encode()))
    await search_products(shop.pool, wanted, Paging(last=2, before=found.end.encode()))


async def drops(shop: Shop) -> None:
    await in_both_directions(partial(list_drops, shop.pool))


async def pages_of_drops(shop: Shop) -> None:
    place = (datetime.now(UTC), shop.hot)
    windows = [Window(20, place, None, backward=False), Window(20, None, place, backward=True)]
    await read_pages(shop.pool, [DropPage(name, window) for name in (DROP, "Drop 8") for window in windows])


async def group(shop: Shop, *requests: Request) -> None:
    batch = await execute_group(shop.pool, shop.hot, requests, [1])
    assert batch.committed


async def watch(shop: Shop, *, with_products: bool = False) -> None:
    async with (
        publishing(shop.pool, SELDOM) as publisher,
        publisher.watch([shop.hot, shop.cold], with_products=with_products) as watcher,
    ):
        await next_change(watcher)


async def record_activity(shop: Shop) -> None:
    tally = Tally()
    tally.count_purchase(shop.hot, "here", "Confirmed", 1, 0.01)
    async with Regions((shop.pool.endpoint,), 2, times=PATIENT_TIMES) as regions:
        process = OwnProcess(regions, waiting=lambda: 0)
        recorder = Recorder(regions, lambda: [tally], process, RecorderTimes(interval=1e6))
        recorder.start()
        await recorder.write()
        await recorder.close(PATIENCE)


def purchases(shop: Shop) -> Sequence[Request]:
    return [Purchase.checked(product_id=shop.hot, user_ref=f"many {n}", quantity=1) for n in range(20)]


Operation: TypeAlias = Callable[[Shop], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the plans of an operation read: through which `indexes`, and which tables from end to end (`scanned`).
    `in_order`: no plan sorts what it has read, so that a page costs no more than its rows."""

    operation: Operation
    indexes: set[str]
    scanned: set[str] = field(default_factory=set)
    in_order: bool = False


# A buyer's orders are read where the limit was changed: for buyers who have no holding yet.
PURCHASE = {"products_pkey", "stock_shards_pkey", "orders_pkey", "restocks_pkey", "holdings_pkey", "orders_by_buyer"}

EXPECTED = {
    # All orders: the newest order of each product is looked up, so the catalogue is read whole, and no table else.
    "all orders": Expected(orders, {"orders_by_product", "orders_pkey"}, scanned={"products"}),
    "all orders of a week": Expected(last_week, {"orders_by_product", "orders_pkey"}, scanned={"products"}),
    "orders of a buyer": Expected(lambda shop: orders(shop, OrderSearch(BUYER)), {"orders_by_buyer"}, in_order=True),
    "orders of a buyer and a week": Expected(
        lambda shop: last_week(shop, OrderSearch(BUYER)), {"orders_by_buyer"}, in_order=True
    ),
    "orders of a product": Expected(
        lambda shop: orders(shop, OrderSearch(product_id=shop.cold)), {"orders_by_product"}, in_order=True
    ),
    "orders of a product and a week": Expected(
        lambda shop: last_week(shop, OrderSearch(product_id=shop.cold)), {"orders_by_product"}, in_order=True
    ),
    "orders of a buyer and a product": Expected(
        lambda shop: orders(shop, OrderSearch(BUYER, shop.hot)), {"orders_by_buyer"}
    ),
    "confirmed orders of a buyer": Expected(
        lambda shop: orders(shop, OrderSearch(BUYER, status=OrderStatus.CONFIRMED)), {"orders_by_buyer"}
    ),
    "confirmed orders of a product": Expected(
        lambda shop: orders(shop, of_hot(shop, OrderStatus.CONFIRMED)), {"orders_by_product"}, in_order=True
    ),
    "cancelled orders of a product": Expected(
        lambda shop: orders(shop, of_hot(shop, OrderStatus.CANCELLED)), {"orders_returned"}, in_order=True
    ),
    "lapsed orders of a product": Expected(
        lambda shop: orders(shop, of_hot(shop, OrderStatus.LAPSED)), {"orders_returned"}, in_order=True
    ),
    "held orders": Expected(lambda shop: orders(shop, OrderSearch(status=OrderStatus.HELD)), {"orders_by_hold"}),
    "held orders of a product": Expected(lambda shop: orders(shop, of_hot(shop, OrderStatus.HELD)), {"orders_by_hold"}),
    "orders of a reference": Expected(
        lambda shop: list_orders(shop.pool, 2, None, OrderSearch(reference=reference_of(shop.order_id))),
        {"orders_pkey"},
    ),
    "a reference of a buyer and a product": Expected(
        lambda shop: list_orders(
            shop.pool, 2, None, OrderSearch(shop.buyer, shop.hot, reference_of(shop.order_id), OrderStatus.CONFIRMED)
        ),
        {"orders_pkey"},
    ),
    "one order": Expected(lambda shop: get_order(shop.pool, shop.order_id), {"orders_pkey"}, in_order=True),
    "products": Expected(products, {"products_current", "stock_shards_pkey"}, in_order=True),
    "archived products": Expected(
        lambda shop: in_both_directions(partial(list_products, shop.pool, archived=True)),
        {"products_archived", "stock_shards_pkey"},
        in_order=True,
    ),
    "products of a drop": Expected(
        lambda shop: products(shop, DROP), {"products_of_drop_current", "stock_shards_pkey"}
    ),
    "a search": Expected(
        partial(search, availability=Availability.ON_SALE),
        {"products_current", "products_pkey", "stock_shards_pkey"},
    ),
    "a search in another order": Expected(
        partial(search, availability=Availability.GONE, sort=ProductSort.OLDEST),
        {"products_current", "products_pkey", "stock_shards_pkey"},
    ),
    "a search in the order of openings": Expected(
        partial(search, availability=Availability.GONE, sort=ProductSort.OPENS_AT),
        {"products_by_opening", "products_open_at_once", "products_pkey", "stock_shards_pkey"},
    ),
    "a search of what is coming": Expected(
        partial(search, availability=Availability.COMING, sort=ProductSort.OPENS_AT),
        {"products_by_opening", "products_pkey", "stock_shards_pkey"},
    ),
    "a search in a drop": Expected(
        partial(search, drop_name=DROP, opens_before=datetime.max.replace(tzinfo=UTC)),
        {"products_of_drop_current", "products_pkey", "stock_shards_pkey"},
    ),
    "a search in a drop in the order of openings": Expected(
        partial(search, drop_name=DROP, sort=ProductSort.OPENS_AT),
        {"products_of_drop_by_opening", "products_of_drop_open_at_once", "products_pkey", "stock_shards_pkey"},
    ),
    "a search of archived products": Expected(
        partial(search, family="Tee", archived=True), {"products_archived", "products_pkey", "stock_shards_pkey"}
    ),
    "a search of a drop's archived products": Expected(
        partial(search, drop_name="Drop 400", archived=True), {"products_by_drop", "products_pkey", "stock_shards_pkey"}
    ),
    "drops": Expected(drops, {"drops_by_time"}, in_order=True),
    "drops by id": Expected(lambda shop: drops_by_id(shop.pool, [drop_id(DROP)]), {"drops_pkey"}),
    "drops by slug": Expected(lambda shop: drops_by_slug(shop.pool, ["drop-7"]), {"drops_slug_key"}),
    "openings of drops": Expected(
        lambda shop: read_openings(shop.pool, [DROP, "Drop 8"]),
        {"products_of_drop_by_opening", "products_of_drop_open_at_once"},
        in_order=True,
    ),
    "counts of products of drops": Expected(
        lambda shop: count_products_of_drops(shop.pool, [DROP, "Drop 8"]), {"products_of_drop_current"}
    ),
    "pages of drops": Expected(pages_of_drops, {"products_of_drop_current"}),
    "the products of a family": Expected(
        lambda shop: FamilyReads(shop.pool).get((DROP, "a family")), {"products_of_drop_current", "stock_shards_pkey"}
    ),
    "products by id": Expected(
        lambda shop: get_products(shop.pool, [shop.hot, shop.cold]), {"products_pkey", "stock_shards_pkey"}
    ),
    "a creation": Expected(
        lambda shop: create_product(shop.pool, NewProduct.checked(name="new", drop_name=DROP, stock=1)),
        {"products_pkey", "stock_shards_pkey", "products_by_drop", "drops_slug_key"},
    ),
    "products that exist": Expected(lambda shop: KnownProducts(shop.pool).require(shop.hot), {"products_pkey"}),
    "a change": Expected(
        lambda shop: change_product(shop.pool, shop.cold, pause, "ada", Action.PRODUCT_PAUSED, PATIENT_BUDGET),
        {"products_pkey", "stock_shards_pkey", "operator_log_by_product"},
    ),
    "the operator log": Expected(
        lambda shop: in_both_directions(partial(list_log, shop.pool)), {"operator_log_pkey"}, in_order=True
    ),
    "the operator log of a product": Expected(
        lambda shop: in_both_directions(partial(list_log, shop.pool, product_id=shop.cold)),
        {"operator_log_by_product"},
        in_order=True,
    ),
    # In a small catalogue it can be cheaper to read the table.
    "a count of products": Expected(
        lambda shop: count_products(shop.pool, most=50), {"products_current"}, in_order=True
    ),
    "a count of archived products": Expected(
        lambda shop: count_products(shop.pool, archived=True, most=50), {"products_archived"}, in_order=True
    ),
    "a count of a drop's products": Expected(
        lambda shop: count_products(shop.pool, DROP), {"products_of_drop_current"}
    ),
    "live stock": Expected(watch, {"stock_shards_pkey", "products_pkey"}),
    "live stock with products": Expected(
        lambda shop: watch(shop, with_products=True), {"stock_shards_pkey", "products_pkey"}
    ),
    "purchases": Expected(lambda shop: group(shop, *purchases(shop)), PURCHASE),
    "a cancellation": Expected(
        lambda shop: group(shop, CancelRequest(shop.order_id, shop.hot, shop.buyer, None)), PURCHASE
    ),
    "a restock": Expected(
        lambda shop: group(shop, RestockRequest.checked(product_id=shop.hot, delta=1)),
        PURCHASE,
    ),
    "a confirmation": Expected(
        lambda shop: group(shop, ConfirmRequest(shop.held_id, shop.hot, shop.buyer, "payment-1")), PURCHASE
    ),
    "counts of holds": Expected(lambda shop: count_holds(shop.pool, shop.hot), {"orders_by_hold"}),
    "a history": Expected(lambda shop: read_history(shop.pool, shop.hot), {"activity_pkey"}, in_order=True),
    "new changes of products": Expected(
        lambda shop: shop.pool.fetch(READ_CHANGES, datetime.now(UTC), shop.hot), {"products_by_change"}
    ),
    "new activity": Expected(lambda shop: shop.pool.fetch(READ_NEW, shop.hot, datetime.now(UTC)), {"activity_pkey"}),
    "an end of old activity": Expected(
        lambda shop: delete_old_activity(shop.pool), {"activity_by_time"}, in_order=True
    ),
    "activity": Expected(record_activity, {"stock_shards_pkey", "processes_pkey"}),
    "processes": Expected(lambda shop: list_processes(shop.pool), set(), scanned={"processes"}),
    "held units": Expected(lambda shop: held_units(shop.pool, [shop.hot, shop.cold]), {"orders_by_hold"}),
    "holds that run out": Expected(
        lambda shop: shop.pool.fetch(READ_HOLDS, [str(shop.cold)]), {"orders_by_hold"}, in_order=True
    ),
}


@pytest.mark.parametrize("operation", EXPECTED)
async def test_every_statement_finds_its_rows_through_its_index(
    shop: Shop, sent: list[Statement], operation: str
) -> None:
    expected = EXPECTED[operation]
    await expected.operation(shop)
    assert sent

    used: set[str] = set()
    for statement in list(sent):
        for plan in await plans(shop.pool, statement):
            assert plan.scanned <= expected.scanned, statement.text
            assert not (expected.in_order and plan.sorts), statement.text
            used |= plan.indexes
    assert used == expected.indexes
