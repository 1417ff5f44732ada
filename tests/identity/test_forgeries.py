"""Forged and foreign tokens over real HTTP: they read nothing, buy nothing and are not repeated to their senders."""

import hmac
import time
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from itertools import count
from typing import Any

import pytest

from api.identity.guests import ISSUER as GUESTS
from api.identity.guests import GuestTokens
from tests.graphql.callers import ADA, OLGA, OPERATOR, Shop, open_shop
from tests.graphql.operations import CANCEL, CREATE, ORDER, ORDERS, RESTOCK
from tests.graphql.several import client_headers
from tests.graphql.transport import connected
from tests.identity.shop_issuer import LIFE, SigningKey, encoded, token_of
from tests.server import GUEST_KEY, PURCHASE

_clients = count(1)


@pytest.fixture(scope="module")
async def shop(shared_database_url: str) -> AsyncIterator[Shop]:
    """A shop with an endpoint configured, behind a proxy: ten refused tokens keep their client waiting."""
    async with open_shop(shared_database_url, closed=True) as shop:
        yield shop


def claims(shop: Shop, **others: Any) -> dict[str, Any]:
    now = int(time.time())
    return shop.issuer.claims(OLGA, **{"iat": now, "exp": now + LIFE, "roles": ["shop-operator"], **others})


def changed(shop: Shop) -> str:
    """A buyer's own token, with an operator's claims under its signature."""
    head, _, signature = str(shop.token(ADA)).split(".")
    return f"{head}.{encoded(claims(shop))}.{signature}"


def of_public_key(shop: Shop) -> str:
    """HS256 with the published key as the secret."""
    secret = shop.issuer.keys[0].private.as_pem(private=False)  # type: ignore[union-attr]
    return token_of({"alg": "HS256", "kid": "first"}, claims(shop), partial(hmac.digest, secret, digest="sha256"))


def brought_along(shop: Shop) -> str:
    own = SigningKey("first", number=1)
    return own.token(claims(shop), jwk=own.public)


def of_guest(shop: Shop, sign: Callable[[dict[str, Any]], str]) -> str:
    return sign({"iss": GUESTS, "sub": "guest-1", "iat": int(time.time()), "exp": int(time.time()) + LIFE})


def unsigned(name: str, said: dict[str, Any]) -> str:
    return token_of({"alg": name, "kid": "first"}, said, lambda _: b"")


FORGERIES: Mapping[str, Callable[[Shop], str]] = {
    "changed claims": changed,
    "signed with another key": lambda shop: SigningKey("first", number=1).token(claims(shop)),
    "a key of its own": brought_along,
    "of another issuer": lambda shop: shop.issuer.keys[0].token(claims(shop, iss="https://elsewhere.example")),
    "expired": lambda shop: shop.issuer.keys[0].token(claims(shop, exp=int(time.time()) - 60)),
    "not valid yet": lambda shop: shop.issuer.keys[0].token(claims(shop, nbf=int(time.time()) + 600)),
    "alg none": lambda shop: unsigned("none", claims(shop)),
    "alg None": lambda shop: unsigned("None", claims(shop)),
    "HS256 with the public key": of_public_key,
    "for another audience": lambda shop: shop.issuer.keys[0].token(claims(shop, aud="another-shop")),
    "for no audience": lambda shop: shop.issuer.keys[0].token(claims(shop, aud=None)),
    "of an unknown key": lambda shop: SigningKey("unknown").token(claims(shop)),
    "with a guest's subject": lambda shop: shop.issuer.keys[0].token(claims(shop, sub="guest-1")),
    "a guest of another key": lambda shop: GuestTokens([GUEST_KEY[::-1]]).issue(time.time()).token,
    "a guest signed by the issuer": lambda shop: of_guest(shop, shop.issuer.keys[0].token),
    "a guest with alg none": lambda shop: of_guest(shop, partial(unsigned, "none")),
}
"""Each claims to be the operator, or a guest."""


@pytest.mark.parametrize("forge", FORGERIES.values(), ids=FORGERIES)
async def test_a_forged_token_is_nobodys(shop: Shop, forge: Callable[[Shop], str]) -> None:
    server, token = shop.server, forge(shop)
    product_id = await server.create_product(10)
    order_id = (await server.purchase(product_id, ADA))["order"]["id"]
    headers = {"authorization": f"Bearer {token}", **client_headers(next(_clients))}

    for document, variables in (
        ("{ viewer { subject } }", {}),
        (PURCHASE, {"input": {"productId": product_id}}),
        (PURCHASE, {"input": {"productId": product_id, "userRef": ADA}}),
        (ORDERS, {}),
        (ORDER, {"id": order_id}),
        (CANCEL, {"input": {"orderId": order_id}}),
        (CREATE, {"input": {"name": "Tee", "dropName": "First Light", "stock": 1}}),
        (RESTOCK, {"input": {"productId": product_id, "delta": 1}}),
    ):
        body = {"query": document, "variables": variables}
        async with server.session.post(f"{server.url}/graphql", json=body, headers=headers) as response:
            text = await response.text()
            [error] = (await response.json())["errors"]
        assert error["extensions"] == {"code": "UNAUTHENTICATED"}
        assert not [part for part in token.split(".")[1:] if part and part in text], "the token is repeated"

    async with server.session.get(f"{server.url}/metrics", headers=headers) as response:
        assert response.status == 401
    async with connected(server, init=False, headers=client_headers(next(_clients))) as client:
        await client.init({"authorization": f"Bearer {token}"})
        await client.subscribe(ORDER, {"id": order_id}, id="1")
        message = await client.receive()
        assert message["payload"]["data"] == {"order": None}
        assert [error["extensions"]["code"] for error in message["payload"]["errors"]] == ["UNAUTHENTICATED"]
    left = "query ($id: ID!) { product(id: $id) { stock } }"
    assert (await server.data(left, {"id": product_id}, token=shop.token(OPERATOR)))["product"]["stock"] == 9
