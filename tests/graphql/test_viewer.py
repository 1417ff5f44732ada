"""Who the caller is, and guests who buy: from nothing to an order of one's own."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from api.settings import Settings
from tests.graphql.operations import CANCEL, ORDERS, UNKNOWN_ID
from tests.server import ADMIN_TOKEN, GUEST_KEY, PURCHASE, Server, serving

VIEWER = "{ viewer { subject roles guest } }"
GUEST = "mutation { guest { token subject expiresAt } }"
ORDER = "query ($id: ID!) { order(id: $id) { userRef } }"


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A server as with endpoints configured: nobody but the operator names a buyer. It signs guest tokens."""
    async with serving(replace(settings, open_to_anyone=False, guest_keys=(GUEST_KEY,))) as server:
        yield server


async def guest(server: Server) -> dict[str, Any]:
    made: dict[str, Any] = (await server.data(GUEST))["guest"]
    return made


async def bought(server: Server, product_id: str, token: str) -> dict[str, Any]:
    outcome = await server.data(PURCHASE, {"input": {"productId": product_id}}, token=token)
    order: dict[str, Any] = outcome["purchase"]["order"]
    return order


async def test_the_viewer_is_the_caller(server: Server) -> None:
    ada = await guest(server)

    assert await server.data(VIEWER) == {"viewer": {"subject": None, "roles": [], "guest": False}}
    assert await server.data(VIEWER, token=ada["token"]) == {
        "viewer": {"subject": ada["subject"], "roles": [], "guest": True}
    }
    assert await server.data(VIEWER, token=ADMIN_TOKEN) == {
        "viewer": {"subject": None, "roles": ["OPERATOR"], "guest": False}
    }


async def test_the_viewer_of_a_token_that_is_not_valid_is_an_error_that_says_why(server: Server) -> None:
    code, message = await server.refusal(VIEWER, token="no-token-of-this-shop")
    assert (code, "is not the operator's token of this server" in message) == ("UNAUTHENTICATED", True)


async def test_a_guest_buys_reads_and_cancels_orders_of_its_own_without_naming_itself(server: Server) -> None:
    product_id = await server.create_product(5)
    ada = await guest(server)

    order = await bought(server, product_id, ada["token"])
    assert order["userRef"] == ada["subject"]
    assert len((await server.data(ORDERS, token=ada["token"]))["orders"]["edges"]) == 1
    assert await server.data(ORDER, {"id": order["id"]}, token=ada["token"]) == {"order": {"userRef": ada["subject"]}}
    cancelled = await server.data(CANCEL, {"input": {"orderId": order["id"]}}, token=ada["token"])
    assert cancelled["cancelOrder"]["status"] == "CANCELLED"


async def test_another_buyers_order_answers_as_one_that_is_not_there(server: Server) -> None:
    product_id = await server.create_product(5)
    ada, eve = await guest(server), await guest(server)
    order = await bought(server, product_id, ada["token"])

    for token in (eve["token"], None):
        assert await server.data(ORDER, {"id": order["id"]}, token=token) == {"order": None}
    for order_id in (order["id"], UNKNOWN_ID):
        refused = await server.refusal(CANCEL, {"input": {"orderId": order_id}}, token=eve["token"])
        assert refused == ("NOT_FOUND", f"there is no order {order_id}")
    code, _ = await server.refusal(ORDERS, {"userRef": ada["subject"]}, token=eve["token"])
    assert code == "FORBIDDEN"


async def test_without_a_token_nobody_buys_and_the_answer_says_what_to_send(server: Server) -> None:
    product_id = await server.create_product(5)
    for wanted in ({"productId": product_id}, {"productId": product_id, "userRef": "ada"}):
        code, message = await server.refusal(PURCHASE, {"input": wanted})
        assert (code, message) == (
            "UNAUTHENTICATED",
            "sign in: send Authorization: Bearer TOKEN; a shop without accounts gives one by the mutation guest",
        )


async def test_the_operator_buys_for_a_buyer_and_is_named_in_the_log(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "dropzero.operator")
    product_id = await server.create_product(5)
    order = await server.purchase(product_id, "ada")
    assert order["order"]["userRef"] == "ada"
    await server.data(CANCEL, {"input": {"orderId": order["order"]["id"]}}, token=ADMIN_TOKEN)

    logged = [record.getMessage() for record in caplog.records if record.name == "dropzero.operator"]
    assert logged == [
        f"operator created the product {product_id} (Tee) with 5 units",
        f"operator cancelled the order {order['order']['id']} of ada",
    ]


async def test_an_address_gets_a_bounded_number_of_guests(server: Server) -> None:
    for _ in range(60):
        await guest(server)
    answer = await server.ask(GUEST)
    [error] = answer["errors"]
    assert error["extensions"]["code"] == "RATE_LIMITED"
    assert 0 < error["extensions"]["retryAfterMs"] <= 1000
