"""The GraphiQL page as the server sends it. tests/browser uses the page itself."""

import asyncio
import json
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.types import Message

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.regions import Regions
from api.drops.drops import Drops
from api.drops.products import list_products
from api.graphql.graphiql import GraphiQL, ready_tabs, render_page
from api.settings import Settings, read_settings
from tests.faults import FaultyEndpoint
from tests.patience import PATIENT_TIMES, short
from tests.server import GUEST_KEY, Server, serving

BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"}
"""The header that Chromium and Firefox send when an address is opened."""


class Scripts(HTMLParser):
    """The script elements of a page: their attributes and their text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[dict[str, str | None], str]] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.found.append((dict(attrs), ""))
            self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            attributes, text = self.found[-1]
            self.found[-1] = (attributes, text + data)


def tabs_of(page: str) -> Any:
    [text] = [text for attributes, text in Scripts(page).found if attributes.get("id") == "tabs"]
    return json.loads(text)


async def get_page(server: Server) -> str:
    async with server.session.get(f"{server.url}/graphql", headers=BROWSER) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        return await response.text()


async def test_the_tabs_name_the_newest_product_that_can_be_bought(server: Server) -> None:
    expected = await server.create_product(stock=3)
    await server.create_product(stock=0)
    await server.create_product(stock=3, opensAt="2999-01-01T00:00:00Z")

    listing, buying, watching, _, _, operating = tabs_of(await get_page(server))
    purchase = json.loads(buying["variables"])["input"]
    another = json.loads(tabs_of(await get_page(server))[1]["variables"])["input"]

    assert "variables" not in listing
    assert (purchase["productId"], purchase["userRef"]) == (expected, "graphiql")
    assert purchase["idempotencyKey"] != another["idempotencyKey"]
    assert json.loads(operating["variables"])["units"]["productId"] == expected
    assert json.loads(watching["variables"]) == {"productIds": [expected]}


async def test_a_purchase_names_no_buyer_where_the_buyer_must_be_the_caller(settings: Settings) -> None:
    async with serving(replace(settings, open_to_anyone=False, guest_keys=(GUEST_KEY,))) as server:
        await server.create_product(stock=3)
        _, buying, _, becoming, asking, _ = tabs_of(await get_page(server))

        guest = (await server.data(becoming["query"]))["guest"]
        viewer = (await server.data(asking["query"], token=guest["token"]))["viewer"]
        variables = json.loads(buying["variables"])
        bought = (await server.data(buying["query"], variables, token=guest["token"]))["purchase"]

    assert "userRef" not in variables["input"]
    assert viewer == {"subject": guest["subject"], "guest": True, "roles": []}
    assert bought["status"] == "CONFIRMED"


async def test_the_page_opens_without_products_and_without_a_database(settings: Settings) -> None:
    async with FaultyEndpoint(settings.endpoints[0].url).listening() as endpoint:
        settings = replace(settings, endpoints=(Endpoint("here", endpoint.url),))
        async with serving(settings) as server:
            assert "the id of a product" in tabs_of(await get_page(server))[1]["variables"]
            endpoint.down()
            assert "the id of a product" in tabs_of(await get_page(server))[1]["variables"]


async def test_the_page_does_not_wait_for_a_database_that_does_not_answer(settings: Settings, pool: Pool) -> None:
    sent: list[Message] = []

    async def send(event: Message) -> None:
        sent.append(event)

    async with Regions(settings.endpoints, connections=2, times=PATIENT_TIMES) as regions:
        drops = Drops(regions, settings.group, settings.budget, settings.polling)
        graphiql = GraphiQL(drops, open_to_anyone=True, timeout=short(0.1))
        async with pool.begin() as transaction:
            await transaction.execute("LOCK TABLE products IN ACCESS EXCLUSIVE MODE")
            reading = asyncio.create_task(list_products(regions, first=20))
            await graphiql({"type": "http"}, no_request, send)
            assert not reading.done(), "the page came before a reading ended"
        assert (await reading).items == []

    assert sent[0]["status"] == 200
    assert "the id of a product" in tabs_of(sent[1]["body"].decode())[1]["variables"]


async def no_request() -> Message:
    raise AssertionError


@pytest.mark.parametrize(
    "hostile", ["</script><script>alert(1)</script>", "<!--<script>", "{{nonce}}", "\u2028'\"\\]]>"]
)
def test_no_text_of_a_tab_breaks_out_of_its_script(hostile: str) -> None:
    harmless = render_page(ready_tabs("x", open_to_anyone=True), "nonce")

    page = render_page([{"query": hostile}, *ready_tabs(hostile, open_to_anyone=True)], "nonce")

    assert len(Scripts(page).found) == len(Scripts(harmless).found)
    query, _, buying, *_ = tabs_of(page)
    assert query == {"query": hostile}
    assert json.loads(buying["variables"])["input"]["productId"] == hostile


async def test_the_pages_policy_lets_only_its_own_scripts_run(server: Server) -> None:
    async with server.session.get(f"{server.url}/graphql", headers=BROWSER) as response:
        headers, page = response.headers, await response.text()

    policy = dict(directive.split(" ", 1) for directive in headers["content-security-policy"].split("; "))
    nonce = policy["script-src"].removeprefix("'nonce-").removesuffix("'")
    assert len(nonce) >= 16
    assert nonce not in await get_page(server)
    running = [attributes for attributes, _ in Scripts(page).found if attributes.get("type") != "application/json"]
    assert {attributes.get("nonce") for attributes in running} == {nonce}
    assert all(attributes["integrity"] for attributes in running if "src" in attributes)
    assert (policy["default-src"], policy["frame-ancestors"]) == ("'none'", "'none'")
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


async def test_graphiql_can_be_switched_off(settings: Settings) -> None:
    async with serving(replace(settings, graphiql=False)) as server:
        async with server.session.get(f"{server.url}/graphql", headers=BROWSER) as response:
            assert response.status == 400
            [error] = (await response.json())["errors"]
            assert error["message"].startswith("query must be a GraphQL document")
        async with server.session.get(f"{server.url}/graphql", headers={"accept": "text/html"}) as response:
            assert response.status == 406


def test_graphiql_is_off_with_endpoints_unless_it_is_switched_on() -> None:
    configured = {"DROPZERO_ENDPOINTS": "us-east-1=postgresql://nobody@localhost/nothing"}

    assert [
        read_settings({}).graphiql,
        read_settings(configured).graphiql,
        read_settings({**configured, "DROPZERO_GRAPHIQL": "on"}).graphiql,
    ] == [True, False, True]


async def test_a_query_in_the_address_is_answered_instead_of_the_page(server: Server) -> None:
    async with server.session.get(f"{server.url}/graphql?query={{__typename}}", headers=BROWSER) as response:
        assert await response.json() == {"data": {"__typename": "Query"}}
