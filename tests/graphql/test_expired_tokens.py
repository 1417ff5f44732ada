"""Tokens that end while a socket or an event stream is open: what depends on them ends, and live stock goes on."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from api.database.pool import Pool
from api.settings import Settings
from tests.graphql.expiring import OPERATORS, VIEWER, Shop, shop
from tests.graphql.operations import ORDERS, PRODUCTS
from tests.graphql.subscriptions import WATCH, streaming
from tests.graphql.transport import Client, assert_alive, connected
from tests.identity.shop_issuer import LIFE, NOW, SigningKey
from tests.locks import stock_held, until_blocked
from tests.npm import Node

BUY = "mutation ($id: ID!) { purchase(input: { productId: $id }) { status } }"
CONFIRMED = {"purchase": {"status": "CONFIRMED"}}
ENDED = (4403, "The token has expired or was withdrawn; connect again with a new one")
ALSO_WATCH = "subscription Also ($ids: [ID!]!) { stockChanged(productIds: $ids) { stock } }"


@pytest.fixture
async def here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    async with shop(settings, monkeypatch) as here:
        yield here


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


@asynccontextmanager
async def signed_in(shop: Shop, token: str) -> AsyncIterator[Client]:
    """A socket with this token."""
    async with connected(shop.server, init=False) as client:
        await client.init(bearer(token))
        yield client


@pytest.mark.parametrize("operation", [VIEWER, ORDERS, PRODUCTS, "mutation { guest { token } }"])
@pytest.mark.parametrize("guest", [True, False])
async def test_an_operation_with_an_expired_token_closes_the_socket(here: Shop, guest: bool, operation: str) -> None:
    token = here.guest_token() if guest else here.issuer.token("ada")
    async with signed_in(here, token) as client:
        assert (await client.answer(VIEWER))["viewer"]["guest"] is guest
        here.expire()
        await client.subscribe(operation)
        assert await client.closed() == ENDED


async def test_a_token_is_valid_until_the_moment_in_which_http_refuses_it(here: Shop) -> None:
    token = here.issuer.token("ada")
    async with signed_in(here, token) as client:
        here.clock.now = NOW + LIFE + 29
        assert await client.answer(VIEWER) == await here.server.data(VIEWER, token=token)
        here.clock.now = NOW + LIFE + 30
        assert (await here.server.refusal(VIEWER, token=token))[0] == "UNAUTHENTICATED"
        await client.subscribe(VIEWER)
        assert await client.closed() == ENDED


async def test_a_token_in_the_handshake_expires_too(here: Shop) -> None:
    async with connected(here.server, headers=bearer(here.issuer.token("ada"))) as client:
        assert (await client.answer(VIEWER))["viewer"] == {"subject": "ada", "guest": False}
        here.expire()
        await client.subscribe(VIEWER)
        assert await client.closed() == ENDED


async def test_a_withdrawn_key_ends_the_tokens_of_open_sockets(here: Shop) -> None:
    async with signed_in(here, here.issuer.token("ada")) as client:
        await client.answer(VIEWER)
        await here.withdraw_key()
        await client.subscribe(VIEWER)
        assert await client.closed() == ENDED


async def test_a_purchase_under_way_is_answered_before_the_socket_closes(here: Shop, behind: Pool) -> None:
    product_id = await here.server.create_product()
    async with signed_in(here, here.issuer.token("ada")) as client:
        async with stock_held(behind, product_id):
            await client.subscribe(BUY, {"id": product_id})
            await until_blocked(behind)
            here.expire()
            await client.subscribe(VIEWER, id="2")
        assert await client.next() == CONFIRMED
        assert await client.receive() == {"id": "1", "type": "complete"}
        assert await client.closed() == ENDED


async def test_live_stock_goes_on_after_the_token_has_expired(here: Shop) -> None:
    product_id = await here.server.create_product()
    async with signed_in(here, here.issuer.token("ada")) as client:
        await client.subscribe(WATCH, {"ids": [product_id]}, id="before")
        assert (await client.next("before"))["stockChanged"]["stock"] == 10
        here.expire()
        await here.server.purchase(product_id)
        assert (await client.next("before"))["stockChanged"]["stock"] == 9
        await client.complete("before")
        await client.subscribe(ALSO_WATCH, {"ids": [product_id]}, id="after")
        assert (await client.next("after"))["stockChanged"]["stock"] == 9
        await client.subscribe("{ not GraphQL", id="3")
        assert await client.closed() == ENDED


async def test_an_event_stream_goes_on_after_the_token_has_expired(here: Shop) -> None:
    product_id = await here.server.create_product()
    headers = bearer(here.issuer.token("ada"))
    async with streaming(here.server, WATCH, {"ids": [product_id]}, headers=headers) as stream:
        assert (await stream.next())["stockChanged"]["stock"] == 10
        here.expire()
        await here.server.purchase(product_id)
        assert (await stream.next())["stockChanged"]["stock"] == 9
    async with streaming(here.server, VIEWER, headers=headers) as stream:
        name, answer = await stream.event()
        assert (name, answer["errors"][0]["extensions"]["code"]) == ("next", "UNAUTHENTICATED")


async def test_a_socket_renews_by_connecting_again(here: Shop) -> None:
    product_id = await here.server.create_product()
    async with signed_in(here, here.issuer.token("ada")) as client:
        here.clock.now += 2 * LIFE
        await client.subscribe(BUY, {"id": product_id})
        assert await client.closed() == ENDED
    async with signed_in(here, here.issuer.token("ada", iat=here.clock.now, exp=here.clock.now + LIFE)) as client:
        assert await client.answer(BUY, {"id": product_id}) == CONFIRMED


@pytest.mark.parametrize("kind", ["expired", "a guest's, expired", "forged", "a guest's, forged", "withdrawn"])
async def test_a_socket_with_a_token_that_is_not_valid_is_open_for_what_is_public(here: Shop, kind: str) -> None:
    """Else clients would connect again with the same token, without end."""
    product_id = await here.server.create_product()
    forged = SigningKey("first", number=2).token(here.issuer.claims())
    guest = here.guest_token()
    token = {"forged": forged, "a guest's, expired": guest, "a guest's, forged": guest[:-8] + "AAAAAAAA"}.get(
        kind, here.issuer.token("ada")
    )
    if "expired" in kind:
        here.expire()
    if kind == "withdrawn":
        await here.withdraw_key()

    async with signed_in(here, token) as client:
        for _ in range(2):
            assert await client.answer("{ __typename }") == {"__typename": "Query"}
            await client.subscribe(BUY, {"id": product_id})
            refusal = (await client.receive())["payload"]["errors"]
            assert [error["extensions"]["code"] for error in refusal] == ["UNAUTHENTICATED"]
            await client.receive()
        await client.subscribe(WATCH, {"ids": [product_id]}, id="2")
        assert (await client.next("2"))["stockChanged"]["stock"] == 10
        await assert_alive(client)


async def test_the_documents_of_operators_end_with_an_operators_token(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(replace(settings, trusted_documents={"1": WATCH, "2": VIEWER}), monkeypatch) as here:
        product_id = await here.server.create_product()
        async with signed_in(here, here.issuer.token("olga", roles=[OPERATORS])) as client:
            await client.subscribe(ALSO_WATCH, {"ids": [product_id]})
            await client.next()
            here.expire()
            await client.subscribe(WATCH, {"ids": [product_id]}, id="2")
            assert (await client.next("2"))["stockChanged"]["stock"] == 10
            await client.subscribe(ALSO_WATCH, {"ids": [product_id]}, id="3")
            assert await client.closed() == ENDED


@pytest.mark.npm
async def test_graphql_ws_renews_a_token_and_does_not_connect_for_ever_with_an_old_one(here: Shop, node: Node) -> None:
    product_id = await here.server.create_product(stock=100)
    later = NOW + 2 * LIFE
    tokens = [here.issuer.token("ada"), here.issuer.token("ada", exp=later + LIFE)]

    async def expire() -> None:
        here.clock.now += 2 * LIFE

    seen = await node.run(
        "expiring_session.mjs", here.server.websocket_url, product_id, *tokens, actions={"expire": expire}
    )

    bought: list[list[Any]] = [["next", CONFIRMED], ["complete"]]
    expected = {
        "live stock": 100,
        "a purchase": bought,
        "a change": 99,
        "a purchase after the token has expired": bought,
        "live stock, on the next socket": 98,
        "sockets": [2, [4403]],
        "a purchase with the same token": [["next", ["UNAUTHENTICATED"]], ["complete"]],
        "live stock, with the same token": 98,
        "sockets with the same token": [3, [4403, 4403]],
    }
    assert seen == [{"check": check, "saw": saw} for check, saw in expected.items()]
