"""Guessing orders: another buyer's order, and none, get the same bytes for the same work."""

import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.drops.requests import Purchase
from tests.graphql.callers import ADA, ANONYMOUS, BOB, GUEST, OPERATOR, PIA, Shop, open_shop
from tests.graphql.operations import CANCEL
from tests.graphql.transport import connected
from tests.plans import Statement
from tests.server import PURCHASE

ORDER = "query ($id: ID!) { order(id: $id) { id userRef quantity status createdAt product { name } } }"
ORDERS = """
query ($product: ID!, $user: String) {
  orders(productId: $product, userRef: $user) { edges { cursor node { id } } pageInfo { hasNextPage endCursor } }
}
"""

STRANGERS = pytest.mark.parametrize("caller", [ANONYMOUS, BOB, GUEST, PIA])
BUYERS = pytest.mark.parametrize("caller", [BOB, GUEST, PIA])


@pytest.fixture(scope="module")
async def shop(shared_database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(shared_database_url, closed=True) as shop:
        yield shop


async def bought(shop: Shop, buyer: str, **more: Any) -> tuple[str, str]:
    """A product and an order of it."""
    product_id = await shop.server.create_product(10)
    order = (await shop.server.purchase(product_id, buyer, **more))["order"]
    return product_id, order["id"]


async def answered(shop: Shop, token: str | None, document: str, variables: dict[str, Any]) -> tuple[Any, ...]:
    """The status, the headers and the bytes of an answer, with every UUID in one form."""
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    body = {"query": document, "variables": variables}
    async with shop.server.session.post(f"{shop.server.url}/graphql", json=body, headers=headers) as response:
        told = {name: value for name, value in response.headers.items() if name.lower() != "date"}
        return response.status, told, re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", await response.text())


async def cost(
    shop: Shop, token: str | None, document: str, variables: dict[str, Any], sent: list[Statement]
) -> tuple[tuple[Any, ...], list[str]]:
    """The answer, and the statements that were sent for it."""
    sent.clear()
    answer = await answered(shop, token, document, variables)
    return answer, [statement.text for statement in sent]


@STRANGERS
async def test_another_buyers_order_is_read_as_one_that_is_not_there(
    shop: Shop, statements: list[Statement], caller: str
) -> None:
    _, order_id = await bought(shop, ADA)
    token = shop.token(caller)
    there = await cost(shop, token, ORDER, {"id": order_id}, statements)
    assert there == await cost(shop, token, ORDER, {"id": str(uuid4())}, statements)
    assert there[0][2] == '{"data":{"order":null}}'
    assert len(there[1]) == 1


@STRANGERS
@pytest.mark.parametrize("cancelled", [False, True])
async def test_another_buyers_order_is_cancelled_as_one_that_is_not_there(
    shop: Shop, statements: list[Statement], caller: str, cancelled: bool
) -> None:
    _, order_id = await bought(shop, ADA)
    if cancelled:
        await shop.server.data(CANCEL, {"input": {"orderId": order_id}}, token=shop.token(OPERATOR))
    token = shop.token(caller)
    there = await cost(shop, token, CANCEL, {"input": {"orderId": order_id}}, statements)
    assert there == await cost(shop, token, CANCEL, {"input": {"orderId": str(uuid4())}}, statements)
    assert len(there[1]) == (0 if caller == ANONYMOUS else 1)


@STRANGERS
async def test_a_buyer_who_is_named_is_refused_as_one_who_has_no_order(
    shop: Shop, statements: list[Statement], caller: str
) -> None:
    product_id, order_id = await bought(shop, ADA)
    token = shop.token(caller)
    for document, there, not_there in (
        (ORDERS, {"product": product_id, "user": ADA}, {"product": product_id, "user": "eve"}),
        (
            CANCEL,
            {"input": {"orderId": order_id, "userRef": ADA}},
            {"input": {"orderId": str(uuid4()), "userRef": "eve"}},
        ),
        (
            PURCHASE,
            {"input": {"productId": product_id, "userRef": ADA}},
            {"input": {"productId": product_id, "userRef": "eve"}},
        ),
    ):
        answer = await cost(shop, token, document, there, statements)
        assert answer == await cost(shop, token, document, not_there, statements)
        assert answer[1] == []


@BUYERS
async def test_the_orders_of_a_product_show_nothing_of_another_buyers(
    shop: Shop, statements: list[Statement], caller: str
) -> None:
    with_orders, _ = await bought(shop, ADA)
    without = await shop.server.create_product(10)
    token = shop.token(caller)
    there = await cost(shop, token, ORDERS, {"product": with_orders}, statements)
    assert there == await cost(shop, token, ORDERS, {"product": without}, statements)


@STRANGERS
async def test_an_id_that_is_computed_from_another_buyers_key_shows_nothing(
    shop: Shop, statements: list[Statement], caller: str
) -> None:
    product_id, order_id = await bought(shop, ADA, idempotencyKey="one")
    used, unused = [
        Purchase.checked(product_id=UUID(product_id), user_ref=ADA, quantity=1, idempotency_key=key).order_id
        for key in ("one", "two")
    ]
    assert str(used) == order_id
    token = shop.token(caller)
    there = await cost(shop, token, ORDER, {"id": str(used)}, statements)
    assert there == await cost(shop, token, ORDER, {"id": str(unused)}, statements)


async def test_another_buyers_key_is_bought_under_as_a_new_one(shop: Shop, statements: list[Statement]) -> None:
    product_id, order_id = await bought(shop, ADA, idempotencyKey="one")
    other, _ = await bought(shop, ADA, idempotencyKey="two")
    answers = []
    for bought_id in (product_id, other):
        answer = await cost(
            shop, shop.token(BOB), PURCHASE, {"input": {"productId": bought_id, "idempotencyKey": "one"}}, statements
        )
        assert '"replayed":false' in answer[0][2]
        answers.append(answer)
    assert answers[0] == answers[1]
    of_ada = await shop.server.data(ORDER, {"id": order_id}, token=shop.token(ADA))
    assert of_ada["order"]["userRef"] == ADA


async def test_a_socket_learns_no_more(shop: Shop) -> None:
    _, order_id = await bought(shop, ADA)
    async with connected(shop.server, init=False) as client:
        await client.init({"authorization": f"Bearer {shop.token(BOB)}"})
        messages = []
        for guess in (order_id, str(uuid4())):
            for document, variables in ((ORDER, {"id": guess}), (CANCEL, {"input": {"orderId": guess}})):
                await client.subscribe(document, variables)
                message = await client.receive()
                assert await client.receive() == {"id": "1", "type": "complete"}
                messages.append(re.sub(guess, "ID", str(message)))
    assert messages[:2] == messages[2:]
