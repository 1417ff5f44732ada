"""The demo of a payment over HTTP: only the buyer of an order pays it, once, and only where the demo is on."""

from dataclasses import replace
from typing import Any

import pytest

from api.settings import Settings
from tests.server import ADMIN_TOKEN, Server, serving

GUEST = "mutation { guest { token subject } }"
BUY = """
mutation ($input: PurchaseInput!) {
  purchase(input: $input) { ... on PurchaseHeld { order { id } } ... on PurchaseConfirmed { order { id } } }
}
"""
ORDER = "query ($id: ID!) { order(id: $id) { status paymentRef } }"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """The settings of a server with guests and the demo."""
    return replace(settings, demo=True, guest_keys=("the-key-of-guest-tokens-of-the-tests",))


async def guest_of(server: Server) -> str:
    token: str = (await server.data(GUEST))["guest"]["token"]
    return token


async def bought(server: Server, token: str, **product: Any) -> str:
    """Buy one unit of a new product. Returns the order's id."""
    wanted = {"productId": await server.create_product(**product), "idempotencyKey": "of the test"}
    order_id: str = (await server.data(BUY, {"input": wanted}, token=token))["purchase"]["order"]["id"]
    return order_id


async def pay(
    server: Server, order_id: str, token: str | None, body: object = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    """Send a payment. Returns the status and the body of the answer."""
    sent = {"authorization": f"Bearer {token}"} if token else {}
    body = {"paymentRef": "demo-1"} if body is None else body
    async with server.session.post(f"{server.url}/demo/pay/{order_id}", json=body, headers=sent | headers) as response:
        return response.status, await response.json()


async def test_the_buyer_pays_once_however_often_the_payment_is_sent(server: Server) -> None:
    token = await guest_of(server)
    order_id = await bought(server, token, holdSeconds=300)

    assert await pay(server, order_id, token) == (200, {"outcome": "CONFIRMED"})
    assert await pay(server, order_id, token) == (200, {"outcome": "CONFIRMED"})
    assert await pay(server, order_id, token, {"paymentRef": "demo-2"}) == (200, {"outcome": "ALREADY_CONFIRMED"})

    order = (await server.data(ORDER, {"id": order_id}, token=ADMIN_TOKEN))["order"]
    assert order == {"status": "CONFIRMED", "paymentRef": "demo-1"}


async def test_an_order_that_was_let_go_is_gone(server: Server) -> None:
    token = await guest_of(server)
    order_id = await bought(server, token, holdSeconds=300)
    await server.data("mutation ($id: ID!) { releaseOrder(orderId: $id) { id } }", {"id": order_id}, token=token)

    assert await pay(server, order_id, token) == (200, {"outcome": "GONE"})


async def test_an_order_that_needs_no_payment_is_confirmed_already(server: Server) -> None:
    token = await guest_of(server)
    order_id = await bought(server, token)
    assert await pay(server, order_id, token) == (200, {"outcome": "ALREADY_CONFIRMED"})


async def test_nobody_but_the_buyer_pays_an_order(server: Server) -> None:
    token = await guest_of(server)
    order_id = await bought(server, token, holdSeconds=300)

    for other, status in ((await guest_of(server), 404), (None, 404), (ADMIN_TOKEN, 404), ("wrong" * 9, 401)):
        answered, body = await pay(server, order_id, other)
        assert (answered, list(body)) == (status, ["error"])
    missing = "00000000-0000-4000-8000-000000000000"
    assert (await pay(server, missing, token))[0] == 404

    assert (await server.data(ORDER, {"id": order_id}, token=ADMIN_TOKEN))["order"]["status"] == "HELD"


@pytest.mark.parametrize(
    "body", [{}, [], {"paymentRef": 1}, {"paymentRef": "real-1"}, {"paymentRef": "demo-" + "1" * 200}, "demo-1"]
)
async def test_a_body_that_names_no_payment_of_the_demo_is_refused(server: Server, body: object) -> None:
    token = await guest_of(server)
    order_id = await bought(server, token, holdSeconds=300)
    status, answer = await pay(server, order_id, token, body)
    assert (status, list(answer)) == (400, ["error"])


async def test_a_body_of_another_type_or_too_long_is_refused(server: Server) -> None:
    token = await guest_of(server)
    order_id = await bought(server, token, holdSeconds=300)
    assert (await pay(server, order_id, token, **{"content-type": "text/plain"}))[0] == 415
    assert (await pay(server, order_id, token, {"paymentRef": "demo-" + "1" * 300_000}))[0] == 413


async def test_where_the_demo_is_off_there_is_no_payment_and_no_page(settings: Settings) -> None:
    async with serving(replace(settings, demo=False)) as server:
        token = await guest_of(server)
        order_id = await bought(server, token, holdSeconds=300)
        async with server.session.get(f"{server.url}/demo/pay/{order_id}") as response:
            assert response.status == 404
        headers = {"authorization": f"Bearer {token}"}
        body = {"paymentRef": "demo-1"}
        async with server.session.post(f"{server.url}/demo/pay/{order_id}", json=body, headers=headers) as response:
            assert response.status in (404, 405)
        assert (await server.data(ORDER, {"id": order_id}, token=token))["order"]["status"] == "HELD"
