"""The answers beside GraphQL: the page, health, readiness, metrics."""

from dataclasses import replace
from hashlib import sha256
from time import time

import pytest

from api.database.endpoint import Endpoint
from api.identity.authenticator import FREE_GUESSES
from api.identity.guests import GuestTokens
from api.settings import Settings
from tests.graphql.stranger import connection
from tests.server import ADMIN_TOKEN, GUEST_KEY, Server, serving


async def get(server: Server, path: str, token: str | None = None) -> tuple[int, str]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    async with server.session.get(f"{server.url}{path}", headers=headers) as response:
        return response.status, await response.text()


async def test_metrics_count_purchases_and_transactions(server: Server) -> None:
    product_id = await server.create_product(stock=1)
    await server.purchase(product_id, "ada")
    await server.purchase(product_id, "bob")

    status, text = await get(server, "/metrics")

    assert status == 200
    assert 'dropzero_purchases_total{outcome="Confirmed",region="ap-northeast-1"} 1.0' in text
    assert 'dropzero_purchases_total{outcome="SoldOut",region="ap-northeast-1"} 1.0' in text
    assert 'dropzero_purchase_transactions_total{end="sold",region="ap-northeast-1"} 1.0' in text
    assert 'dropzero_purchases_waiting{region="ap-northeast-1"} 0.0' in text


async def test_metrics_need_the_operators_token_where_an_endpoint_is_configured(settings: Settings) -> None:
    async with serving(replace(settings, open_metrics=False)) as server:
        assert (await get(server, "/metrics"))[0] == 401
        assert (await get(server, "/metrics", "wrong" * 8))[0] == 401
        assert (await get(server, "/metrics", ADMIN_TOKEN))[0] == 200


async def test_metrics_are_for_every_operator_and_for_no_buyer(settings: Settings) -> None:
    operators = {"prometheus": sha256(b"token-of-prometheus").digest()}
    closed = replace(settings, open_metrics=False, operator_digests=operators, guest_keys=(GUEST_KEY,))
    async with serving(closed) as server:
        assert (await get(server, "/metrics", "token-of-prometheus"))[0] == 200
        status, text = await get(server, "/metrics", GuestTokens([GUEST_KEY]).issue(time()).token)
        assert (status, text) == (
            403,
            "this is for the operator, and the token that was sent has not the role operator\n",
        )


async def test_guesses_of_the_operators_token_at_metrics_are_limited(settings: Settings) -> None:
    async with serving(replace(settings, open_metrics=False)) as server:
        headers = {"authorization": f"Bearer {'wrong' * 8}"}
        for number in range(FREE_GUESSES):
            async with server.session.get(f"{server.url}/metrics", headers=headers) as response:
                assert response.status == 401, number
                assert response.headers["www-authenticate"] == "Bearer"
        async with server.session.get(f"{server.url}/metrics", headers=headers) as response:
            assert response.status == 429
            assert response.headers["retry-after"] == "1"


ANSWERS = [
    ("GET", "/", 200),
    ("GET", "/nothing", 404),
    ("POST", "/", 405),
    ("GET", "/static/api.js", 200),
    ("GET", "/static/nothing.js", 404),
    ("GET", "/static/", 404),
    ("POST", "/static/api.js", 405),
    ("GET", "/graphql?query={__typename}", 200),
    ("GET", "/graphql", 400),
    ("POST", "/graphql", 415),
    ("PUT", "/graphql", 201),  # a stream that is reserved
    ("PATCH", "/graphql", 405),
    ("OPTIONS", "/graphql", 200),
    ("GET", "/healthz", 200),
    ("POST", "/healthz", 405),
    ("GET", "/readyz", 200),
    ("GET", "/metrics", 200),
]


@pytest.mark.parametrize(("method", "path", "status"), ANSWERS)
async def test_every_answer_forbids_sniffing_once(server: Server, method: str, path: str, status: int) -> None:
    asks = {"origin": server.url, "access-control-request-method": "POST"} if method == "OPTIONS" else {}
    async with server.session.request(method, f"{server.url}{path}", headers=asks) as response:
        assert response.status == status
        assert response.headers.getall("x-content-type-options") == ["nosniff"]


async def test_graphiql_and_answers_to_broken_requests_forbid_sniffing_too(server: Server) -> None:
    async with server.session.get(f"{server.url}/graphql", headers={"accept": "text/html"}) as response:
        assert response.content_type == "text/html"
        assert response.headers.getall("x-content-type-options") == ["nosniff"]
    async with connection(server) as stranger:
        await stranger.send(b"nothing of HTTP\r\n\r\n", until=b"x-content-type-options: nosniff\r\n")


async def test_readiness_checks_the_home_endpoint_and_health_checks_none(settings: Settings) -> None:
    home, _ = settings.endpoints
    away = Endpoint("ap-northeast-2", "postgresql://postgres@127.0.0.1:1/postgres")
    async with serving(replace(settings, endpoints=(home, away))) as server:
        status, text = await get(server, "/readyz")
        assert (status, text) == (200, '{"regions":{"ap-northeast-1":true,"ap-northeast-2":false}}')
        assert await get(server, "/healthz") == (200, "ok\n")


async def test_the_page_loads_nothing_from_elsewhere_and_cannot_be_framed(server: Server) -> None:
    async with server.session.get(server.url) as response:
        policy = response.headers["content-security-policy"]
        assert response.status == 200
        assert response.headers["cache-control"] == "no-cache"
        etag = response.headers["etag"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy

    async with server.session.get(server.url, headers={"if-none-match": etag}) as response:
        assert response.status == 304


async def test_only_the_storefront_is_served(server: Server) -> None:
    for path in ("/../settings.py", "/%2e%2e/settings.py", "/..%2fapp.py", "/nothing"):
        async with server.session.get(f"{server.url}{path}") as response:
            assert response.status == 404
