"""What pages of other origins may do.

Before such a page may send JSON, the browser sends a preflight request. It hides every answer that the page may not
read.
"""

from dataclasses import replace

import aiohttp
import pytest
from websockets.exceptions import InvalidStatus

from api.cross_origin import PREFLIGHT_AGE, parse_origins
from api.settings import Settings, read_settings
from tests.graphql.crowd import crowded
from tests.graphql.http_requests import TYPENAME, post
from tests.graphql.transport import assert_alive, connected
from tests.patience import PATIENT_TIMES
from tests.server import Server, serving

PAGE = "http://localhost:5173"
"""An origin that may call a server on a laptop."""

SENT = {
    "Apollo Client": "apollographql-client-name,apollographql-client-version,authorization,content-type",
    "Apollo Client before a server that requires a preflight": "apollo-require-preflight,content-type",
    "Apollo Kotlin": "content-type,x-apollo-operation-id,x-apollo-operation-name",
    "urql, Relay, graphql-request and graphql-sse": "authorization,content-type",
    "OpenTelemetry": "baggage,content-type,traceparent,tracestate",
    "Sentry": "baggage,content-type,sentry-trace,traceparent",
    "a request id": "content-type,x-request-id",
    "capitals and spaces": "Authorization, Content-Type, X-Request-ID",
}
"""The headers that clients name in their preflights."""


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def answer_to_preflight(
    server: Server, origin: str = PAGE, headers: str = "authorization,content-type"
) -> aiohttp.ClientResponse:
    asked = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": headers}
    async with server.session.options(f"{server.url}/graphql", headers=asked) as response:
        return response


async def preflight(server: Server, origin: str) -> tuple[int, str | None]:
    """The status of a preflight request, and the origin that its answer allows."""
    response = await answer_to_preflight(server, origin)
    return response.status, response.headers.get("access-control-allow-origin")


async def readable_by(server: Server, origin: str) -> bool:
    """Whether a page of the origin may read an answer."""
    response, _ = await post(server, TYPENAME, origin=origin)
    return response.headers.get("access-control-allow-origin") == origin


async def handshake(server: Server, origin: str) -> int:
    """The status of the answer to a page that opens a websocket: 101 when it may."""
    try:
        async with connected(server, origin=origin) as client:
            await assert_alive(client)
    except InvalidStatus as refusal:
        return refusal.response.status_code
    return 101


@pytest.mark.parametrize(
    "origin", ["http://localhost:5173", "https://localhost", "http://127.0.0.1:3000", "http://[::1]:8080"]
)
async def test_a_page_of_the_same_laptop_may_call_the_server(server: Server, origin: str) -> None:
    assert await preflight(server, origin) == (200, origin)
    assert await readable_by(server, origin)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost.evil.example", "http://evil.example:80#localhost", "null"],
)
async def test_a_page_of_another_site_may_not_call_the_server(server: Server, origin: str) -> None:
    assert await preflight(server, origin) == (400, None)
    assert not await readable_by(server, origin)


async def test_only_named_origins_may_call_a_server_with_endpoints(settings: Settings) -> None:
    endpoint = settings.endpoints[0]
    configured = {"DROPZERO_ENDPOINTS": f"{endpoint.region}={endpoint.url}"}
    async with serving(replace(read_settings(configured), region_times=PATIENT_TIMES)) as server:
        for origin in ("http://localhost:5173", "https://shop.example"):
            assert await preflight(server, origin) == (400, None)
            assert not await readable_by(server, origin)
    named = {**configured, "DROPZERO_ALLOWED_ORIGINS": "https://shop.example"}
    async with serving(replace(read_settings(named), region_times=PATIENT_TIMES)) as server:
        assert await preflight(server, "https://shop.example") == (200, "https://shop.example")
        assert not await readable_by(server, "https://shop-example")
        assert not await readable_by(server, "https://shop.example.evil.example")
        assert not await readable_by(server, "http://localhost:5173")


async def test_previews_and_apps_may_call_and_watch_and_nothing_that_looks_like_them_may(settings: Settings) -> None:
    allowed = parse_origins("https://*-acme.vercel.app, capacitor://localhost, tauri://localhost")
    async with serving(replace(settings, allowed_origins=allowed)) as server:
        for origin in ("https://shop-git-main-acme.vercel.app", "capacitor://localhost", "tauri://localhost"):
            assert await preflight(server, origin) == (200, origin)
            assert await readable_by(server, origin)
            assert await handshake(server, origin) == 101
        for origin in (
            "https://shop-git-main-evil.vercel.app",
            "https://evil.shop-acme.vercel.app",
            "https://shop-acme.vercel.app.evil.example",
            "http://shop-acme.vercel.app",
            "capacitor://localhost.evil.example",
            "ionic://localhost",
            "null",
        ):
            assert await preflight(server, origin) == (400, None)
            assert not await readable_by(server, origin)
            assert await handshake(server, origin) == 403


@pytest.mark.parametrize("headers", SENT.values(), ids=SENT)
async def test_a_page_may_send_what_frontends_send(server: Server, headers: str) -> None:
    response = await answer_to_preflight(server, headers=headers)
    assert response.status == 200
    # Browsers compare without regard to case.
    allowed = {name.strip().lower() for name in response.headers["access-control-allow-headers"].split(",")}
    assert {name.strip().lower() for name in headers.split(",")} <= allowed


async def test_the_answer_to_a_preflight_is_kept_for_each_origin_by_itself(server: Server) -> None:
    headers = (await answer_to_preflight(server)).headers
    assert headers["access-control-max-age"] == str(PREFLIGHT_AGE)
    assert headers["access-control-allow-methods"] == "DELETE, GET, POST, PUT"
    assert "Origin" in headers["vary"]
    assert "access-control-allow-credentials" not in headers


async def test_a_page_may_read_when_to_try_again(server: Server) -> None:
    response, _ = await post(server, TYPENAME, origin=PAGE)
    assert response.headers["access-control-expose-headers"] == "retry-after, x-request-id"
    assert response.headers["vary"] == "Origin"
    assert "access-control-allow-credentials" not in response.headers


async def test_a_page_may_read_that_its_request_waited_too_long(settings: Settings) -> None:
    async with crowded(settings) as server:
        response, answer = await post(server, TYPENAME, origin=PAGE)
        assert (response.status, response.headers["access-control-allow-origin"]) == (429, PAGE)
        assert "retry-after" in response.headers
        assert response.headers["access-control-expose-headers"] == "retry-after, x-request-id"
        assert answer["errors"][0]["extensions"]["code"] == "RATE_LIMITED"

        response, _ = await post(server, TYPENAME, origin="https://evil.example")
        assert response.status == 429
        assert "access-control-allow-origin" not in response.headers


async def test_a_preflight_is_answered_where_its_request_is_refused(settings: Settings) -> None:
    """The browser would hide the refusal of the preflight, and the page would not learn when to try again."""
    async with crowded(settings) as server:
        assert await preflight(server, PAGE) == (200, PAGE)
        assert await preflight(server, "https://evil.example") == (400, None)
