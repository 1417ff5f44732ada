"""Apollo Client, urql and Relay, each with its normalised cache, with a real server."""

import json

import pytest

from tests.clients.conftest import Shop
from tests.npm import Node

pytestmark = pytest.mark.npm

SESSION = {
    "the first page": ["busy", "limited", "closed", "paused", "later"],
    "both pages": ["busy", "limited", "closed", "paused", "later", "last", "held", "open"],
    "purchaseByKey before the purchase": None,
    "a purchase": ["CONFIRMED", 97, "CONFIRMED", 97, False],
}


@pytest.mark.parametrize("client", ["apollo"])
async def test_a_shop_on_a_client_goes_as_expected(shop: Shop, node: Node, client: str) -> None:
    seen = await node.run(f"{client}.mjs", json.dumps(shop.arguments), actions=shop.actions)

    assert {check["check"]: check["saw"] for check in seen} == SESSION
