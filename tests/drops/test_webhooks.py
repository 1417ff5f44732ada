"""Webhooks, the whole way: a purchase over HTTP, a real receiver, signatures of the public library."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from api.database.pool import Pool
from api.settings import Settings
from api.webhooks.webhook_settings import WebhookSettings
from tests.drops.happenings import change
from tests.engines import on_both_engines
from tests.patience import until
from tests.server import ADMIN_TOKEN, Server, serving
from tests.webhooks.receiver import SECRET, Receiver, receiving

PRICE = {"amount": "48.00", "currency": "EUR"}
CONFIRM = 'mutation ($id: ID!) { confirmOrder(orderId: $id, paymentRef: "pi_1") { __typename } }'


@asynccontextmanager
async def shop(settings: Settings, receiver: Receiver) -> AsyncIterator[Server]:
    webhook = WebhookSettings(receiver.url, (SECRET,), private=True)
    async with serving(replace(settings, webhook=webhook, events=True)) as server:
        yield server


def received(receiver: Receiver) -> list[Any]:
    """The verified bodies, in the order in which they came."""
    return [taken.verify() for taken in receiver.taken]


def ids(receiver: Receiver) -> Counter[str]:
    return Counter(taken.headers["webhook-id"] for taken in receiver.taken)


@on_both_engines
async def test_a_hold_its_payment_and_the_end_of_the_stock_reach_the_receiver(settings: Settings) -> None:
    async with receiving() as receiver, shop(settings, receiver) as server:
        product = await server.create_product(stock=1, holdSeconds=600, price=PRICE)
        bought = await server.data(
            f'mutation {{ purchase(input: {{ productId: "{product}", userRef: "ada", quantity: 1 }}) '
            "{ ... on PurchaseHeld { order { id reference } } } }"
        )
        order = bought["purchase"]["order"]
        await until(lambda: len(receiver.taken) == 2)
        await server.data(CONFIRM, {"id": order["id"]}, token=ADMIN_TOKEN)
        await until(lambda: len(receiver.taken) == 3)
        metrics = await server.metrics()

    bodies = received(receiver)
    assert Counter(body["type"] for body in bodies) == Counter(["order.held", "product.sold_out", "order.confirmed"])
    held = next(body for body in bodies if body["type"] == "order.held")
    assert held["data"]["order"]["reference"] == order["reference"]
    assert held["data"]["order"]["status"] == "HELD"
    assert {body["data"]["order"]["price"]["amount"] for body in bodies if "order" in body["data"]} == {"48.00"}
    assert bodies[2]["data"]["order"]["paymentRef"] == "pi_1"
    assert set(ids(receiver).values()) == {1}
    assert metrics["dropzero_events_total"] == 3


async def test_three_servers_deliver_each_event_once(settings: Settings) -> None:
    async with receiving() as receiver, AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(shop(settings, receiver)) for _ in range(3)]
        product = await servers[0].create_product(stock=1000)
        for number in range(60):
            await servers[number % 3].purchase(product, f"buyer-{number}")
        await until(lambda: len(receiver.taken) >= 60)

    assert len(ids(receiver)) == 60
    assert set(ids(receiver).values()) == {1}
    orders = {body["data"]["order"]["userRef"] for body in received(receiver)}
    assert orders == {f"buyer-{number}" for number in range(60)}


async def test_purchases_go_on_while_the_receiver_is_down_and_nothing_is_missing_after(
    settings: Settings, pool: Pool
) -> None:
    async with receiving() as receiver:

        async def refuse(_: web.BaseRequest) -> web.StreamResponse:
            return web.Response(status=503)

        receiver.answer = refuse
        async with shop(settings, receiver) as server:
            product = await server.create_product(stock=1000)
            for number in range(30):
                assert (await server.purchase(product, f"buyer-{number}"))["status"] == "CONFIRMED"
            await until(lambda: bool(receiver.taken))  # the others can wait: the receiver counts as down
        receiver.answer = None
        receiver.taken.clear()
        await change(pool, "UPDATE parcels SET due = now() WHERE first > 0")
        async with shop(settings, receiver) as server:
            await until(lambda: len(ids(receiver)) == 30)


async def test_a_server_that_stops_leaves_the_rest_to_the_next(settings: Settings) -> None:
    async with receiving() as receiver:
        async with shop(settings, receiver) as server:
            product = await server.create_product(stock=1000)
            for number in range(10):
                await server.purchase(product, f"buyer-{number}")
        async with shop(settings, receiver):
            await until(lambda: len(ids(receiver)) >= 10)

    assert set(ids(receiver).values()) == {1}


async def test_without_a_webhook_nothing_is_written(settings: Settings) -> None:
    async with serving(settings) as server:
        product = await server.create_product(stock=10)
        await server.purchase(product)
        assert "dropzero_events_total" not in await server.metrics()


@pytest.mark.parametrize("events", [True, False])
async def test_events_are_kept_only_where_they_are_wanted(settings: Settings, events: bool) -> None:
    async with serving(replace(settings, events=events)) as server:
        product = await server.create_product(stock=10)
        await server.purchase(product)

        async def found() -> bool:
            answer = await server.ask("{ orderEvents { edges { node { type } } } }", token=ADMIN_TOKEN)
            if not events:
                return "errors" in answer and "DROPZERO_EVENTS" in str(answer["errors"])
            return len(answer["data"]["orderEvents"]["edges"]) == 1

        await until(found)
