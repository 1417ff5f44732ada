"""Pages of other origins in a real browser: a preview of a shop that buys and watches, and a page that looks like it.

The browser resolves every name under localhost to this machine.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from playwright.async_api import Browser, Error, Page
from starlette.types import Receive, Scope, Send

from api.app import create_app
from api.cross_origin import parse_origins
from api.identity.admission import Admission
from api.settings import Settings
from tests.browser.visits import PATIENCE
from tests.graphql.crowd import crowded
from tests.listener import running
from tests.server import PURCHASE, Server, serving

pytestmark = pytest.mark.browser

PREVIEW, LOOK_ALIKE = "shop-git-main-acme.localhost", "evil.shop-acme.localhost"

HEADERS = {
    "accept": "application/graphql-response+json,application/json;q=0.9",
    "apollographql-client-name": "shop",
    "apollographql-client-version": "1.4.2",
    "apollo-require-preflight": "true",
    "baggage": "sentry-environment=preview",
    "content-type": "application/json",
    "sentry-trace": "80e1afed08e019fc1110464cfa66635c-7a085853722dc6d2-1",
    "traceparent": "00-80e1afed08e019fc1110464cfa66635c-7a085853722dc6d2-01",
    "x-request-id": "7a085853",
}
"""What Apollo Client, Sentry and the code of a shop send together."""

FETCH = """
async ([url, headers, body]) => {
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  return { status: response.status, retryAfter: response.headers.get("retry-after"), body: await response.json() };
}
"""

CONNECT = """
(url) => new Promise((resolve) => {
  const socket = new WebSocket(url, "graphql-transport-ws");
  socket.onopen = () => socket.send(JSON.stringify({ type: "connection_init" }));
  socket.onmessage = ({ data }) => { resolve(JSON.parse(data).type); socket.close(); };
  socket.onerror = () => resolve("refused");
})
"""


@dataclass
class Sites:
    """An empty page on a port of its own, under any name of this machine."""

    browser: Browser
    port: int

    def origin(self, name: str) -> str:
        return f"http://{name}:{self.port}"

    @asynccontextmanager
    async def page(self, name: str) -> AsyncIterator[Page]:
        """Open the page under this name, in a fresh profile."""
        context = await self.browser.new_context()
        context.set_default_timeout(PATIENCE)
        try:
            page = await context.new_page()
            await page.goto(self.origin(name))
            yield page
        finally:
            await context.close()


@pytest.fixture
async def sites(browser: Browser) -> AsyncIterator[Sites]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>shop</title>", content_type="text/html")

    application = web.Application()
    application.router.add_get("/{path:.*}", answer)
    async with running(web.AppRunner(application)) as url:
        yield Sites(browser, urlsplit(url).port or 0)


@pytest.fixture
def for_previews(settings: Settings, sites: Sites) -> Settings:
    """Settings of a server whose shop has previews."""
    return replace(settings, allowed_origins=parse_origins(sites.origin("*-acme.localhost")))


def buying(product_id: str) -> dict[str, Any]:
    return {"query": PURCHASE, "variables": {"input": {"productId": product_id, "userRef": "ada"}}}


async def test_a_preview_buys_and_watches_with_one_preflight(for_previews: Settings, sites: Sites) -> None:
    methods = []

    def make_app(admission: Admission) -> Any:
        app = create_app(for_previews, admission)

        async def recorded(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                methods.append(scope["method"])
            await app(scope, receive, send)

        return recorded

    async with serving(for_previews, make_app=make_app) as server, sites.page(PREVIEW) as page:
        product_id = await server.create_product(stock=5)
        methods.clear()
        for remaining in (4, 3):
            answer = await page.evaluate(FETCH, [f"{server.url}/graphql", HEADERS, buying(product_id)])
            purchase = answer["body"]["data"]["purchase"]
            assert (purchase["status"], purchase["remaining"]) == ("CONFIRMED", remaining)
        assert methods == ["OPTIONS", "POST", "POST"]
        assert await page.evaluate(CONNECT, server.websocket_url) == "connection_ack"


async def test_a_page_that_looks_like_a_preview_buys_nothing(for_previews: Settings, sites: Sites) -> None:
    async with serving(for_previews) as server, sites.page(LOOK_ALIKE) as page:
        product_id = await server.create_product(stock=5)
        with pytest.raises(Error, match="Failed to fetch"):
            await page.evaluate(FETCH, [f"{server.url}/graphql", HEADERS, buying(product_id)])
        assert await page.evaluate(CONNECT, server.websocket_url) == "refused"
        assert await stock_of(server, product_id) == 5


async def test_a_header_that_is_not_allowed_is_not_sent(for_previews: Settings, sites: Sites) -> None:
    async with serving(for_previews) as server, sites.page(PREVIEW) as page:
        product_id = await server.create_product(stock=5)
        with pytest.raises(Error, match="Failed to fetch"):
            await page.evaluate(FETCH, [f"{server.url}/graphql", HEADERS | {"x-other": "1"}, buying(product_id)])
        assert await stock_of(server, product_id) == 5


async def test_a_preview_reads_when_to_try_again(for_previews: Settings, sites: Sites) -> None:
    async with crowded(for_previews) as server, sites.page(PREVIEW) as page:
        answer = await page.evaluate(FETCH, [f"{server.url}/graphql", HEADERS, {"query": "{ now }"}])
        assert answer["status"] == 429
        assert answer["retryAfter"] is not None
        assert answer["body"]["errors"][0]["extensions"]["code"] == "RATE_LIMITED"


async def stock_of(server: Server, product_id: str) -> int:
    product = await server.data("query ($id: ID!) { product(id: $id) { stock } }", {"id": product_id})
    stock: int = product["product"]["stock"]
    return stock
