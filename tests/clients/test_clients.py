"""Apollo Client, urql and Relay, each with its normalised cache; and gql.tada's types: all with a real server."""

from dataclasses import replace

import pytest

from api.settings import Settings
from api.trusted_documents import parse_documents
from tests.clients.conftest import Shop
from tests.npm import Node

pytestmark = pytest.mark.npm

SESSION = {
    "the first page": ["busy", "limited", "closed", "paused", "later"],
    "both pages": ["busy", "limited", "closed", "paused", "later", "last", "held", "open"],
    "another list": ["open", "held", "last", "paused", "limited"],
    "purchaseByKey before the purchase": None,
    "a purchase": ["CONFIRMED", 97, "CONFIRMED", 97, False],
    "the list after the purchase": 97,
    "the same key again": ["CONFIRMED", 97, "CONFIRMED", True, True],
    "purchaseByKey": ["CONFIRMED", True, True],
    "the order is cancelled": "CANCELLED",
    "the same key after that": ["CANCELLED", 99, "CANCELLED"],
    "the list after that": 99,
    "a hold": ["HELD", 4, "HELD", True],
    "sold out": ["SOLD_OUT", 0],
    "the list when it is sold out": 0,
    "before the opening": ["NOT_OPEN", 5, "2999-12-31T00:00:00.000Z"],
    "paused": ["PAUSED", 5],
    "after the end": ["CLOSED", 5, "2001-02-03T04:05:06.000Z"],
    "over the limit": ["LIMIT_REACHED", 5, 1, 0],
    "busy": ["BUSY", True],
    "live stock in the list": 98,
    "node": 97,
    "the list after node": 97,
    "nodes": [0, None, 96],
    "the list after nodes": 96,
    "no such product": [["NOT_FOUND", ["purchase"]]],
    "no quantity": [["BAD_USER_INPUT", ["purchase"], "input.quantity"]],
    "for operators only": [["FORBIDDEN", ["createProduct"]]],
    "the list at last": ["busy", "limited", "closed", "paused", "later", "last", "held", "open"],
}
"""What every client sees. The list is a page's: the client's cache has changed it without any code of the page."""

PERSISTED = {"requests": ["hash", "query", "query"]}
"""A client that sends hashes of queries sends one, learns that the server takes none, and sends queries ever after."""


CHANGES = {"the list after changes": ["new", "busy", "renamed", "closed", "paused"]}


async def test_a_shop_on_apollo_client_goes_as_expected(shop: Shop, node: Node) -> None:
    assert await shop.session(node, "apollo.mjs") == SESSION | PERSISTED | CHANGES


async def test_a_shop_on_urql_goes_as_expected(shop: Shop, node: Node) -> None:
    assert await shop.session(node, "urql.mjs") == SESSION | PERSISTED | {"warnings of the cache": []}


class TestRelay:
    """On a server that executes the documents of Relay's compiler, and no other."""

    @pytest.fixture
    async def settings(self, settings: Settings, node: Node) -> Settings:
        await node.command("node_modules/.bin/relay-compiler")
        return replace(settings, trusted_documents=parse_documents(str(node.directory / "documents.json")))

    async def test_a_shop_goes_as_expected(self, shop: Shop, node: Node) -> None:
        assert await shop.session(node, "relay.mjs") == SESSION


async def test_a_shop_with_the_types_of_gql_tada_goes_as_expected(shop: Shop, node: Node) -> None:
    await node.command("node_modules/.bin/gql.tada", "generate-output", "--tsconfig", "tada/tsconfig.json")
    await node.command("node_modules/.bin/tsc", "--project", "tada")

    assert await shop.session(node, "tada/built/shop.mjs") == {
        "the pages": [8, "busy", "limited", "closed", "paused", "later", "last", "held", "open"],
        "a purchase": ["CONFIRMED", False],
        "the same key again": ["CONFIRMED", True],
        "purchaseByKey": "CONFIRMED",
        "held": ["HELD", True],
        "later": ["NOT_OPEN", True],
        "paused": ["PAUSED"],
        "closed": ["CLOSED", True],
        "limited": ["LIMIT_REACHED", 1, 0],
        "last": ["SOLD_OUT", 1],
        "no quantity": [["BAD_USER_INPUT", ["purchase"], "input.quantity"]],
    }
