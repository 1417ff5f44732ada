"""What a purchase has bought, found again by its key without buying; and the product that every outcome has."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from api.drops.ticket import Busy, Outcome
from api.graphql.purchase import result_of
from tests.graphql.operations import CANCEL, UNKNOWN_ID, stock_of
from tests.plans import Statement
from tests.server import PURCHASE, Server

OUTCOME = PURCHASE[PURCHASE.index("__typename") : PURCHASE.rindex("  }\n}\nfragment")]
FRAGMENT = PURCHASE[PURCHASE.index("fragment Bought") :]
BY_KEY = f"""
query ($product: ID!, $key: String!) {{
  purchaseByKey(productId: $product, userRef: "ada", idempotencyKey: $key) {{ {OUTCOME} }}
}}
{FRAGMENT}
"""
BUY = """
mutation ($input: PurchaseInput!) {
  purchase(input: $input) { __typename product { id name stock soldOut version revision } }
}
"""


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def by_key(server: Server, product_id: str, key: str) -> dict[str, Any] | None:
    found: dict[str, Any] | None = (await server.data(BY_KEY, {"product": product_id, "key": key}))["purchaseByKey"]
    return found


@pytest.mark.parametrize(
    ("more", "quantity", "cancelled", "kind"),
    [
        ({}, 2, False, "PurchaseConfirmed"),
        ({"holdSeconds": 600}, 1, False, "PurchaseHeld"),
        ({}, 1, True, "PurchaseCancelled"),
    ],
)
async def test_it_answers_as_the_purchase_does_when_it_is_sent_again(
    server: Server, statements: list[Statement], more: dict[str, Any], quantity: int, cancelled: bool, kind: str
) -> None:
    product_id = await server.create_product(10, **more)
    region = server.settings.endpoints[-1].region
    wanted: dict[str, Any] = {"quantity": quantity, "idempotencyKey": "click", "region": region}
    bought = await server.purchase(product_id, **wanted)
    if cancelled:
        await server.data(CANCEL, {"input": {"orderId": bought["order"]["id"], "userRef": "ada"}})
    again = await server.purchase(product_id, **wanted)
    stock = await stock_of(server, product_id)
    statements.clear()

    found = await by_key(server, product_id, "  click ")

    assert found == {**again, "attempts": 0}
    assert (found["__typename"], found.get("replayed", True)) == (kind, True)
    assert len(statements) == 2
    assert await stock_of(server, product_id) == stock


async def test_nothing_is_found_that_was_not_bought(server: Server) -> None:
    product_id, other = await server.create_product(1), await server.create_product(1)
    await server.purchase(product_id, "ada", idempotencyKey="click")
    await server.purchase(product_id, "ada", idempotencyKey="too late")
    await server.purchase(other, "bob", idempotencyKey="click")

    for product, key in ((product_id, "too late"), (product_id, "clic"), (other, "click"), (UNKNOWN_ID, "click")):
        assert await by_key(server, product, key) is None
    code, message = await server.refusal(BY_KEY, {"product": product_id, "key": " "})
    assert (code, message) == ("BAD_USER_INPUT", "idempotencyKey must not be blank")


async def test_every_outcome_has_its_product_as_the_transaction_left_it(
    server: Server, statements: list[Statement]
) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    two = await server.create_product(2, limitPerBuyer=1)
    closed = await server.create_product(2, opensAt=later)
    statements.clear()
    outcomes = [
        ("PurchaseConfirmed", two, "ada", 1),
        ("PurchaseLimitReached", two, "ada", 1),
        ("PurchaseConfirmed", two, "bob", 0),
        ("PurchaseSoldOut", two, "eve", 0),
        ("PurchaseNotOpen", closed, "ada", 2),
    ]
    for kind, product_id, buyer, stock in outcomes:
        result = (await server.data(BUY, {"input": {"productId": product_id, "userRef": buyer}}))["purchase"]
        assert (result["__typename"], result["product"]["id"]) == (kind, product_id)
        assert (result["product"]["stock"], result["product"]["soldOut"]) == (stock, stock == 0)
    assert not [each for each in statements if "id = ANY($1::text[]::uuid[])" in each.text and "sums" in each.text]


def test_a_purchase_that_no_transaction_has_decided_has_no_product() -> None:
    assert result_of(Outcome(Busy(750), None, 0, "home")).read_product is None
