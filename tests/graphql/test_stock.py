"""Live stock through the API: subscriptions over real sockets, to one server or two."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from api.database.endpoint import Endpoint
from api.drops.stock import PollingTimes
from api.settings import Settings
from tests.faults import Faulty
from tests.graphql.operations import CANCEL, RESTOCK
from tests.graphql.transport import Client, assert_alive, connected
from tests.patience import until
from tests.server import ADMIN_TOKEN, Server, serving

WATCH_ALL_FIELDS = """
subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { productId stock soldOut version stale } }
"""


@pytest.fixture(scope="module")
def postgres_url(shared_database_url: str) -> str:
    """One database for all tests of this module. Each test creates its own products."""
    return shared_database_url


@pytest.fixture
async def seldom(settings: Settings) -> AsyncIterator[Server]:
    """A server that reads the stock once a minute. A change that comes sooner was pushed."""
    async with serving(replace(settings, polling=PollingTimes(interval=60))) as server:
        yield server


@pytest.fixture
async def shared_client(shared_server: Server) -> AsyncIterator[Client]:
    async with connected(shared_server) as client:
        yield client


async def watch(client: Client, *product_ids: str, id: str = "1") -> dict[str, Any]:  # noqa: A002
    """Subscribe, and return the first change."""
    await client.subscribe(WATCH_ALL_FIELDS, {"ids": list(product_ids)}, id=id)
    return await change(client, id=id)


async def change(client: Client, id: str = "1") -> dict[str, Any]:  # noqa: A002
    """The next change, of any product."""
    changed: dict[str, Any] = (await client.next(id))["stockChanged"]
    return changed


def level(product_id: str, stock: int, version: int, *, stale: bool = False) -> dict[str, Any]:
    return {"productId": product_id, "stock": stock, "soldOut": stock == 0, "version": version, "stale": stale}


async def test_the_current_stock_comes_at_once_and_a_purchase_is_pushed(seldom: Server) -> None:
    product_id = await seldom.create_product(stock=2)

    async with connected(seldom) as ada, connected(seldom) as bob:
        assert await watch(ada, product_id) == level(product_id, 2, 1)
        assert await watch(bob, product_id) == level(product_id, 2, 1)
        for stock, version in ((1, 2), (0, 3)):
            await seldom.purchase(product_id)
            assert await change(ada) == await change(bob) == level(product_id, stock, version)

        assert (await seldom.purchase(product_id))["status"] == "SOLD_OUT"
        await assert_alive(ada)  # without a change, since nothing was sold


async def test_restocks_and_cancelled_orders_are_pushed(seldom: Server) -> None:
    product_id = await seldom.create_product(stock=5, shards=1)
    bought = await seldom.purchase(product_id, quantity=3)

    async with connected(seldom) as client:
        assert await watch(client, product_id) == level(product_id, 2, 2)
        await seldom.data(RESTOCK, {"input": {"productId": product_id, "delta": 4}}, token=ADMIN_TOKEN)
        assert await change(client) == level(product_id, 6, 3)
        await seldom.data(CANCEL, {"input": {"orderId": bought["order"]["id"], "userRef": "ada"}})
        assert await change(client) == level(product_id, 9, 4)


async def test_a_purchase_through_another_region_of_the_same_server_is_pushed(seldom: Server) -> None:
    product_id = await seldom.create_product(stock=5)

    async with connected(seldom) as client:
        await watch(client, product_id)
        for version, endpoint in enumerate(seldom.settings.endpoints, start=2):
            await seldom.purchase(product_id, region=endpoint.region)
            assert await change(client) == level(product_id, 6 - version, version)


@pytest.mark.slow
async def test_a_purchase_through_another_server_is_found_by_the_next_reading(
    server: Server, seldom: Server, client: Client
) -> None:
    product_id = await server.create_product(stock=5)

    assert await watch(client, product_id) == level(product_id, 5, 1)
    for version in range(2, 7):
        await seldom.purchase(product_id)
        assert await change(client) == level(product_id, 6 - version, version)


async def test_versions_only_rise_while_two_servers_sell_out(server: Server, seldom: Server, client: Client) -> None:
    product_id = await server.create_product(stock=40)
    versions = [(await watch(client, product_id))["version"]]

    buying = asyncio.gather(
        *(shop.purchase(product_id, f"buyer-{number}") for number in range(40) for shop in (server, seldom))
    )
    while (changed := await change(client))["stock"] > 0:
        versions.append(changed["version"])
    await buying

    assert changed["soldOut"]
    assert versions == sorted(set(versions))
    assert changed["version"] > versions[-1]


async def test_a_subscription_watches_several_products(seldom: Server) -> None:
    products = [await seldom.create_product(stock=number) for number in (1, 2, 3)]

    async with connected(seldom) as client:
        first = [await watch(client, *products), await change(client), await change(client)]
        assert {(each["productId"], each["stock"]) for each in first} == set(zip(products, (1, 2, 3), strict=True))
        for number, product_id in enumerate(products):
            await seldom.purchase(product_id)
            assert await change(client) == level(product_id, number, 2)


async def test_a_slow_reader_skips_to_the_latest_change(seldom: Server) -> None:
    product_id = await seldom.create_product(stock=1)
    # Long names, which come back with every change, so that a few changes fill every buffer.
    fields = " ".join(f"{letter * 1_900}: version" for letter in "abcdefghij")
    wide = f"subscription ($ids: [ID!]!) {{ stockChanged(productIds: $ids) {{ version {fields} }} }}"

    async with connected(seldom) as client:
        await client.subscribe(wide, {"ids": [product_id]})
        await change(client)
        client.connection.transport.pause_reading()
        for _ in range(40):
            await seldom.data(RESTOCK, {"input": {"productId": product_id, "delta": 1}}, token=ADMIN_TOKEN)
        client.connection.transport.resume_reading()

        versions = [1]
        while versions[-1] < 41:
            versions.append((await change(client))["version"])

    assert versions == sorted(set(versions))
    assert len(versions) < 30


@pytest.mark.parametrize(
    ("ids", "code", "message"),
    [
        ([str(uuid4())], "NOT_FOUND", "there is no product "),
        (["tee"], "BAD_USER_INPUT", "productIds must be a UUID"),
        ([""], "BAD_USER_INPUT", "productIds must be a UUID"),
        ([], "BAD_USER_INPUT", "productIds must name 1 to 100 products, not 0"),
        ([str(uuid4()) for _ in range(101)], "BAD_USER_INPUT", "productIds must name 1 to 100 products, not 101"),
        ([None], "BAD_USER_INPUT", "$ids"),
    ],
)
async def test_a_refused_subscription_ends_alone(
    shared_client: Client, ids: list[Any], code: str, message: str
) -> None:
    await shared_client.subscribe(WATCH_ALL_FIELDS, {"ids": ids})

    refused, text = await shared_client.error()
    assert refused == code
    assert message in text
    assert await shared_client.answer("{ __typename }") == {"__typename": "Query"}


async def test_the_error_of_a_subscription_names_its_field(shared_client: Client) -> None:
    await shared_client.subscribe(f'subscription {{ live: stockChanged(productIds: ["{uuid4()}"]) {{ stock }} }}')

    message = await shared_client.receive()
    assert message["type"] == "error"
    assert [error["path"] for error in message["payload"]] == [["live"]]


async def test_the_last_stock_is_stale_while_the_database_is_away(settings: Settings, faulty: Faulty) -> None:
    endpoints = (Endpoint("here", faulty.url),)
    async with serving(replace(settings, endpoints=endpoints)) as server, connected(server) as client:
        watched, unwatched = await server.create_product(stock=2), await server.create_product(stock=2)
        assert await watch(client, watched) == level(watched, 2, 1)

        faulty.down()
        assert await change(client) == level(watched, 2, 1, stale=True)
        async with connected(server) as late:
            assert await watch(late, watched) == level(watched, 2, 1, stale=True)
            await late.subscribe(WATCH_ALL_FIELDS, {"ids": [unwatched]}, id="2")
            assert (await late.error("2"))[0] == "SERVICE_UNAVAILABLE"

        await faulty.up()
        assert await change(client) == level(watched, 2, 1)
        await server.purchase(watched)
        assert await change(client) == level(watched, 1, 2)


@contextlib.asynccontextmanager
async def refusing_connections(url: str) -> AsyncIterator[None]:
    """Close all connections to the test's database, and refuse new ones in the block."""
    name = urlsplit(url).path.lstrip("/")
    connection = await asyncpg.connect(url, database="postgres")
    try:
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        await connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
        yield
    finally:
        await connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        await connection.close()


async def test_a_database_that_refuses_connections_makes_the_last_stock_stale(
    postgres_url: str, server: Server, client: Client
) -> None:
    product_id = await server.create_product(stock=2)
    await watch(client, product_id)

    async with refusing_connections(postgres_url):
        assert await change(client) == level(product_id, 2, 1, stale=True)
    assert await change(client) == level(product_id, 2, 1)


async def test_a_database_that_refuses_connections_is_answered_as_unavailable(
    postgres_url: str, server: Server, client: Client
) -> None:
    product_id = await server.create_product(stock=2)

    async with refusing_connections(postgres_url):
        await client.subscribe(WATCH_ALL_FIELDS, {"ids": [product_id]})
        assert (await client.error())[0] == "SERVICE_UNAVAILABLE"


def polling_tasks() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task.get_name() == "stock publisher"]


@pytest.mark.parametrize("abruptly", [False, True])
async def test_the_readings_end_after_the_last_watcher_has_left(seldom: Server, abruptly: bool) -> None:
    product_id = await seldom.create_product()
    async with connected(seldom) as first, connected(seldom) as second:
        await watch(first, product_id)
        await watch(second, product_id)
        [readings] = polling_tasks()
        for client in (first, second):
            if abruptly:
                client.connection.transport.abort()
            else:
                await client.complete()
        await until(readings.done)

    async with connected(seldom) as client:  # and the readings start anew
        assert await watch(client, product_id) == level(product_id, 10, 1)
        assert len(polling_tasks()) == 1
