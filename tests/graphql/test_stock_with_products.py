"""Live stock with its product: exact, shared by all watchers, and without a read of the database for each change."""

import time
from typing import Any

import pytest

from tests.graphql.callers import SUE, Shop
from tests.graphql.transport import Client, connected
from tests.patience import short
from tests.plans import Statement
from tests.server import ADMIN_TOKEN, Server

WATCH = """
subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { productId stock version revision ...More } }
fragment More on StockChange { ... { product { id name pausedAt stock stocked soldOut version revision } } }
"""
WATCH_HELD = "subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { product { held } } }"
PRODUCT = "query ($id: ID!) { product(id: $id) { id name pausedAt stock stocked soldOut version revision } }"
PAUSE = "mutation ($id: ID!) { pauseProduct(productId: $id) { pausedAt } }"


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


def readings(statements: list[Statement]) -> list[Statement]:
    """The statements that read products for watchers."""
    return [each for each in statements if "json_agg" in each.text and "FROM products WHERE id = ANY" in each.text]


async def next_product(client: Client) -> dict[str, Any]:
    """The product of the next change, which agrees with the change."""
    change = (await client.next())["stockChanged"]
    product: dict[str, Any] = change["product"]
    assert product["id"] == change["productId"]
    for name in ("stock", "version", "revision"):
        assert product[name] == change[name]
    assert product["soldOut"] == (product["stock"] == 0)
    return product


async def test_each_change_has_its_product_and_only_the_first_reads_it(
    server: Server, statements: list[Statement]
) -> None:
    product_id = await server.create_product(3)

    async with connected(server) as client:
        await client.subscribe(WATCH, {"ids": [product_id]})
        first = await next_product(client)
        assert first == (await server.data(PRODUCT, {"id": product_id}))["product"]
        assert len(readings(statements)) == 1
        statements.clear()
        for stock in (2, 1, 0):
            await server.purchase(product_id)
            assert await next_product(client) == {**first, "stock": stock, "version": 4 - stock, "soldOut": stock == 0}
        paused_at = (await server.data(PAUSE, {"id": product_id}, token=ADMIN_TOKEN))["pauseProduct"]["pausedAt"]
        paused = await next_product(client)
        assert (paused["pausedAt"], paused["revision"]) == (paused_at, 1)
        assert readings(statements) == []


async def test_watchers_with_products_share_one_broadcast(closed_shop: Shop) -> None:
    server = closed_shop.server
    product_id = await server.create_product(3)
    headers = {"authorization": f"Bearer {closed_shop.token(SUE)}"}

    async with connected(server) as anonymous, connected(server, headers=headers) as sue:
        for client in (anonymous, sue):
            await client.subscribe(WATCH, {"ids": [product_id]})
        assert await next_product(anonymous) == await next_product(sue)
        assert (await server.metrics())["dropzero_broadcasts"] == 1


async def test_what_is_not_public_of_a_product_is_sent_until_the_token_expires(closed_shop: Shop) -> None:
    product_id = await closed_shop.server.create_product(3, holdSeconds=600)
    leeway = 30  # of the times in tokens, see IssuerSettings
    token = closed_shop.token(SUE, exp=int(time.time() + short(2.0)) - leeway)
    ids = {"ids": [product_id]}

    async with connected(closed_shop.server, headers={"authorization": f"Bearer {token}"}) as sue:
        await sue.subscribe(WATCH_HELD, ids)
        assert (await sue.next())["stockChanged"] == {"product": {"held": 0}}
        async with connected(closed_shop.server) as anonymous:
            await anonymous.subscribe(WATCH_HELD, ids)
            assert (await anonymous.next())["stockChanged"] == {"product": {"held": None}}
        code, message = await sue.error()
    assert (code, "expired" in message) == ("UNAUTHENTICATED", True)
