"""Changes of products and the operator log through the API: what is sent, answered, refused and written down."""

from typing import Any

import pytest

from tests.graphql.operations import UNKNOWN_ID
from tests.server import ADMIN_TOKEN, Server

UPDATE = """
mutation ($input: UpdateProductInput!) {
  updateProduct(input: $input) {
    name description opensAt closesAt limitPerBuyer holdSeconds revision pausedAt archivedAt
  }
}
"""
STEP = "mutation ($id: ID!) { %s(productId: $id) { revision pausedAt archivedAt } }"
LOG = """
query ($id: ID, $after: String) {
  operatorLog(productId: $id, first: 2, after: $after) {
    edges { node { operator action productId orderId changes { field before after } } }
    pageInfo { hasNextPage endCursor }
  }
}
"""
BUY = """
mutation ($input: PurchaseInput!) {
  purchase(input: $input) {
    __typename status message
    ... on PurchaseConfirmed { order { id } }
    ... on PurchaseClosed { closedAt }
  }
}
"""


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def update(server: Server, product_id: str, revision: int, **values: Any) -> dict[str, Any]:
    variables = {"input": {"productId": product_id, "revision": revision, **values}}
    return await server.ask(UPDATE, variables, token=ADMIN_TOKEN)


async def step(server: Server, product_id: str, field: str) -> dict[str, Any]:
    product: dict[str, Any] = (await server.data(STEP % field, {"id": product_id}, token=ADMIN_TOKEN))[field]
    return product


async def buy(server: Server, product_id: str, user_ref: str = "ada") -> dict[str, Any]:
    variables = {"input": {"productId": product_id, "userRef": user_ref}}
    outcome: dict[str, Any] = (await server.data(BUY, variables))["purchase"]
    return outcome


async def log(server: Server, product_id: str) -> list[dict[str, Any]]:
    """All entries of a product, oldest first, read page by page."""
    entries: list[dict[str, Any]] = []
    after = None
    while True:
        page = (await server.data(LOG, {"id": product_id, "after": after}, token=ADMIN_TOKEN))["operatorLog"]
        entries += [edge["node"] for edge in page["edges"]]
        if not page["pageInfo"]["hasNextPage"]:
            return entries[::-1]
        after = page["pageInfo"]["endCursor"]


async def test_a_field_that_is_left_out_stays_and_null_removes_a_value(server: Server) -> None:
    product_id = await server.create_product(5, limitPerBuyer=2, description="Warm.", closesAt="2999-01-01T00:00:00Z")

    changed = (await update(server, product_id, 0, name="Hoodie", limitPerBuyer=None))["data"]["updateProduct"]
    assert changed == {
        "name": "Hoodie",
        "description": "Warm.",
        "opensAt": None,
        "closesAt": "2999-01-01T00:00:00+00:00",
        "limitPerBuyer": None,
        "holdSeconds": None,
        "revision": 1,
        "pausedAt": None,
        "archivedAt": None,
    }


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ({"revision": 7}, "STALE_REVISION", "has the revision 0, not 7; read it again"),
        ({"name": None}, "BAD_USER_INPUT", "leave it out to keep it"),
        ({"opensAt": "2030-01-01T00:00:00Z", "closesAt": "2030-01-01T00:00:00Z"}, "BAD_USER_INPUT", "later than"),
        ({"holdSeconds": 1}, "BAD_USER_INPUT", "between 30 and"),
        ({"productId": UNKNOWN_ID}, "NOT_FOUND", UNKNOWN_ID),
        ({"productId": "tee"}, "BAD_USER_INPUT", "must be a UUID"),
    ],
)
async def test_what_cannot_be_changed_is_refused_with_what_to_do(
    server: Server, values: dict[str, Any], code: str, words: str
) -> None:
    product_id = await server.create_product(5)
    given = {"productId": product_id, "revision": 0, "name": "Hoodie"} | values
    answer = await server.ask(UPDATE, {"input": given}, token=ADMIN_TOKEN)
    [error] = answer["errors"]
    assert (error["extensions"]["code"], answer["data"]) == (code, {"updateProduct": None})
    assert words in error["message"]
    assert [entry["action"] for entry in await log(server, product_id)] == ["PRODUCT_CREATED"]


async def test_a_paused_product_answers_so_until_it_is_resumed(server: Server) -> None:
    product_id = await server.create_product(5)
    assert (await step(server, product_id, "pauseProduct"))["pausedAt"] is not None
    paused = await buy(server, product_id)
    assert (paused["__typename"], paused["status"]) == ("PurchasePaused", "PAUSED")

    assert (await step(server, product_id, "resumeProduct"))["pausedAt"] is None
    assert (await buy(server, product_id))["status"] == "CONFIRMED"


async def test_an_archived_product_is_closed_and_found_by_its_id_alone(server: Server) -> None:
    product_id = await server.create_product(5, dropName="Gone at once")
    archived = await step(server, product_id, "archiveProduct")
    outcome = await buy(server, product_id)
    assert (outcome["__typename"], outcome["closedAt"]) == ("PurchaseClosed", archived["archivedAt"])

    listing = """
    query ($archived: Boolean) {
      products(archived: $archived, dropName: "Gone at once") { edges { node { id } } }
    }
    """
    assert (await server.data(listing, {"archived": False}))["products"]["edges"] == []
    assert (await server.data(listing, {"archived": True}))["products"]["edges"] == [{"node": {"id": product_id}}]
    found = await server.data("query ($id: ID!) { product(id: $id) { archivedAt } }", {"id": product_id})
    assert found["product"]["archivedAt"] == archived["archivedAt"]


async def test_everything_that_an_operator_does_is_in_the_log_once(server: Server) -> None:
    """Also what is sent twice under one key; and nothing that a buyer does."""
    product_id = await server.create_product(5, idempotencyKey=UNKNOWN_ID)
    await server.create_product(5, idempotencyKey=UNKNOWN_ID)
    orders = [(await buy(server, product_id, buyer))["order"]["id"] for buyer in ("ada", "bob", "eve")]
    restock = 'mutation ($id: ID!) { restock(input: { productId: $id, delta: 3, idempotencyKey: "k" }) { stock } }'
    cancel = "mutation ($id: ID!) { cancelOrder(input: { orderId: $id }) { status } }"
    release = "mutation ($id: ID!) { releaseOrder(orderId: $id) { status } }"
    for _ in range(2):
        await server.data(restock, {"id": product_id}, token=ADMIN_TOKEN)
        await server.data(cancel, {"id": orders[0]}, token=ADMIN_TOKEN)
        await server.data(release, {"id": orders[1]}, token=ADMIN_TOKEN)  # it is no hold, and stays
    own = 'mutation ($id: ID!) { cancelOrder(input: { orderId: $id, userRef: "eve" }) { status } }'
    await server.data(own, {"id": orders[2]})

    created, restocked, cancelled = await log(server, product_id)
    assert {entry["operator"] for entry in (created, restocked, cancelled)} == {"operator"}
    assert {entry["productId"] for entry in (created, restocked, cancelled)} == {product_id}
    assert (created["action"], created["changes"][0]) == (
        "PRODUCT_CREATED",
        {"field": "stock", "before": None, "after": "5"},
    )
    assert (restocked["action"], restocked["changes"]) == (
        "PRODUCT_RESTOCKED",
        [{"field": "stock", "before": "2", "after": "5"}],
    )
    assert (cancelled["action"], cancelled["orderId"], cancelled["changes"]) == (
        "ORDER_CANCELLED",
        orders[0],
        [{"field": "status", "before": "CONFIRMED", "after": "CANCELLED"}],
    )
