"""Texts that look the same are one buyer, one purchase and one drop, in every argument of the API."""

from typing import Any
from uuid import uuid4

import pytest

from tests.graphql.operations import CANCEL, CREATE, ORDERS, PRODUCTS, UNKNOWN_ID
from tests.server import ADMIN_TOKEN, PURCHASE, Server

MINE = "query ($userRef: String) { orders(userRef: $userRef) { edges { node { id } } } }"
OF_A_DROP = "query ($dropName: String) { products(dropName: $dropName) { edges { node { id dropName } } } }"
FULL_WIDTH = str.maketrans({chr(number): chr(number + 0xFEE0) for number in range(0x21, 0x7F)})


def look_alikes(text: str) -> list[str]:
    return [text.translate(FULL_WIDTH), f" {text}", f"{text}\u00a0", f"\u3000{text} "]


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def test_the_look_alikes_of_a_buyer_share_limit_key_and_orders(server: Server) -> None:
    product_id = await server.create_product(10, limitPerBuyer=1)
    buyer, key = f"ada {uuid4()}", str(uuid4())
    bought = (await server.purchase(product_id, buyer, idempotencyKey=key))["order"]
    assert bought["userRef"] == buyer
    for one, other in zip(look_alikes(buyer), look_alikes(key), strict=True):
        assert (await server.purchase(product_id, one))["status"] == "LIMIT_REACHED"
        again = await server.purchase(product_id, one, idempotencyKey=other)
        assert (again["status"], again["replayed"], again["order"]["id"]) == ("CONFIRMED", True, bought["id"])
        orders = (await server.data(MINE, {"userRef": one}))["orders"]["edges"]
        assert [edge["node"]["id"] for edge in orders] == [bought["id"]]
    cancelled = await server.data(CANCEL, {"input": {"orderId": bought["id"], "userRef": look_alikes(buyer)[0]}})
    assert cancelled["cancelOrder"]["status"] == "CANCELLED"


async def test_a_drop_is_found_by_a_look_alike_of_its_name(server: Server) -> None:
    drop = f"Premi\u00e8re {uuid4()}"
    product_id = await server.create_product(dropName=drop.replace("\u00e8", "e\u0300"))
    for name in (drop, f" {drop} ", drop.replace("\u00e8", "e\u0300")):
        edges = (await server.data(OF_A_DROP, {"dropName": name}))["products"]["edges"]
        assert [edge["node"]["id"] for edge in edges] == [product_id]
        assert edges[0]["node"]["dropName"] == drop


@pytest.mark.parametrize("text", ["ad\u200ba", "\u202eada", "\u2067ada\u2069", "ada\U000e0041", "\ue000", "ada\u2028"])
async def test_an_invisible_character_is_refused_in_every_text(server: Server, text: str) -> None:
    product = {"name": "Tee", "dropName": "Night", "stock": 1}
    purchase = {"productId": UNKNOWN_ID, "userRef": "ada"}
    places: list[tuple[str, str, dict[str, Any]]] = [
        ("userRef", PURCHASE, {"input": {**purchase, "userRef": text}}),
        ("idempotencyKey", PURCHASE, {"input": {**purchase, "idempotencyKey": text}}),
        ("userRef", ORDERS, {"userRef": text}),
        ("userRef", CANCEL, {"input": {"orderId": UNKNOWN_ID, "userRef": text}}),
        ("name", CREATE, {"input": {**product, "name": text}}),
        ("dropName", CREATE, {"input": {**product, "dropName": text}}),
        ("dropName", PRODUCTS, {"dropName": text}),
    ]
    for name, query, variables in places:
        token = ADMIN_TOKEN if query is CREATE else None
        code, message = await server.refusal(query, variables, token=token)
        assert code == "BAD_USER_INPUT"
        assert message.startswith(f"{name} must not have the character U+")
