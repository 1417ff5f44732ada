"""GraphiQL at /graphql, in a browser: six tabs that work as they are, and a token that is stored nowhere."""

import json
from typing import Any

import pytest
from playwright.async_api import Page, expect

from api.database.pool import Pool
from api.drops.sample import SAMPLE, SIZES, create_sample_drop
from tests.browser.drop_page import orders_of
from tests.browser.visits import Visits
from tests.patience import until
from tests.server import ADMIN_TOKEN, Server

pytestmark = pytest.mark.browser

CREATE = """
mutation CreateCap {
  createProduct(input: { name: "Cap", dropName: "Second Light", stock: 3 }) { name stock }
}
"""


async def graphiql(visits: Visits) -> Page:
    """GraphiQL, with its six tabs."""
    visit = await visits.blank()
    await visits.serve_packages(visit)
    await visit.goto("/graphql")
    await expect(visit.page.get_by_role("tab")).to_have_count(6)
    return visit.page


@pytest.fixture
async def page(pool: Pool, visits: Visits) -> Page:
    """GraphiQL before the sample drop."""
    await create_sample_drop(pool)
    return await graphiql(visits)


async def run(page: Page) -> None:
    await page.get_by_role("button", name="Execute query").click()


async def open_tab(page: Page, name: str) -> None:
    await page.get_by_role("tab", name=name).click()
    operation_name = "document.querySelector('.graphiql-query-editor .CodeMirror').CodeMirror.operationName"

    async def has_seen_its_operation() -> bool:
        return bool(await page.evaluate(operation_name) == name)

    await until(has_seen_its_operation)


async def result(page: Page, expected: str) -> dict[str, Any]:
    """Return the data of the result, once the result contains this text."""
    await expect(page.locator(".result-window")).to_contain_text(expected)
    answer = json.loads(
        await page.evaluate("document.querySelector('.result-window .CodeMirror').CodeMirror.getValue()")
    )
    assert "errors" not in answer
    data: dict[str, Any] = answer["data"]
    return data


async def stored(page: Page, expected: str) -> str:
    """Return everything in the browser's storage, once it contains this text."""
    kept = ""

    async def has_stored_it() -> bool:
        nonlocal kept
        kept = await page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie])")
        return expected in kept

    await until(has_stored_it)
    return kept


async def test_the_tabs_work_as_they_are_without_a_token(page: Page, server: Server) -> None:
    await expect(page.get_by_role("tab", name="ListProducts")).to_have_attribute("aria-selected", "true")
    await run(page)
    edges = (await result(page, "edges"))["products"]["edges"]
    assert [(edge["node"]["name"], edge["node"]["stock"]) for edge in edges] == [
        ("Aurora Tee", size.stock) for size in reversed(SIZES)
    ]

    await open_tab(page, "BuyOne")
    await run(page)
    bought = (await result(page, "purchase"))["purchase"]
    assert (bought["status"], bought["remaining"], bought["replayed"]) == ("CONFIRMED", 99, False)
    await run(page)
    assert (await result(page, '"replayed": true'))["purchase"]["order"] == bought["order"]

    await open_tab(page, "WatchStock")
    await run(page)
    version = (await result(page, '"stock": 99'))["stockChanged"]["version"]
    for stock in (98, 97):  # it falls as others buy
        await server.purchase(str(SAMPLE.id))
        changed = (await result(page, f'"stock": {stock}'))["stockChanged"]
        assert changed["version"] > version
        version = changed.pop("version")
        assert changed == {"productId": str(SAMPLE.id), "stock": stock, "soldOut": False, "stale": False}

    await open_tab(page, "WhoAmI")
    await run(page)
    assert (await result(page, "viewer"))["viewer"] == {"subject": None, "guest": False, "roles": []}


async def write_headers(page: Page, token: str) -> None:
    """Send this token with the operations of the open tab."""
    await page.get_by_role("button", name="Headers").click()
    await page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror").click()
    await page.keyboard.press("Control+A")
    await page.keyboard.insert_text(json.dumps({"Authorization": f"Bearer {token}"}))


async def test_a_guest_buys_with_the_token_in_the_headers(page: Page, server: Server) -> None:
    await open_tab(page, "BecomeGuest")
    await run(page)
    guest = (await result(page, "token"))["guest"]

    await open_tab(page, "WhoAmI")
    await write_headers(page, guest["token"])
    await run(page)
    viewer = (await result(page, "viewer"))["viewer"]
    assert viewer == {"subject": guest["subject"], "guest": True, "roles": []}

    await open_tab(page, "BuyOne")
    await page.get_by_role("button", name="Variables").click()
    await page.locator(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror").click()
    await page.keyboard.press("Control+A")
    await page.keyboard.insert_text(json.dumps({"input": {"productId": str(SAMPLE.id)}}))
    await write_headers(page, guest["token"])
    await run(page)
    assert (await result(page, "purchase"))["purchase"]["status"] == "CONFIRMED"
    [order] = await orders_of(server, str(SAMPLE.id))
    assert order["userRef"] == guest["subject"]


async def test_the_operators_token_works_in_the_headers_and_is_stored_nowhere(page: Page) -> None:
    await page.get_by_role("button", name="Add tab").click()
    await page.locator(".graphiql-query-editor .CodeMirror").click()
    await page.keyboard.press("Control+A")
    await page.keyboard.insert_text(CREATE)
    await write_headers(page, ADMIN_TOKEN)

    await run(page)

    assert await result(page, "Cap") == {"createProduct": {"name": "Cap", "stock": 3}}
    # GraphiQL stores its tabs later than the query. Once this tab is stored, the token would be stored as well.
    assert ADMIN_TOKEN not in await stored(page, r"\"title\":\"CreateCap\"")
    tabs = await page.get_by_role("tab").all_inner_texts()
    await page.reload()
    await expect(page.get_by_role("tab", name="CreateCap")).to_be_visible()
    assert await page.get_by_role("tab").all_inner_texts() == tabs, "the tabs are those from before"
    await expect(page.locator(".graphiql-query-editor")).to_contain_text("CreateCap")
    assert ADMIN_TOKEN not in await page.content()


async def test_the_operator_creates_a_product_in_the_tab_for_that_and_goes_back_to_the_shop(page: Page) -> None:
    await open_tab(page, "CreateProduct")
    await write_headers(page, ADMIN_TOKEN)

    await page.get_by_role("button", name="Execute query").click()
    await page.get_by_role("menuitem", name="CreateProduct").click()

    assert (await result(page, "Second Light"))["createProduct"]["stock"] == 50
    await page.get_by_role("link", name="Back to the shop").click()
    await expect(page.get_by_role("heading", name="Cap")).to_be_visible()


async def test_the_documentation_describes_the_schema(page: Page) -> None:
    await page.get_by_role("button", name="Show Documentation Explorer").click()

    explorer = page.locator(".graphiql-doc-explorer")
    await explorer.get_by_role("link", name="Mutation").click()
    await expect(explorer).to_contain_text("Buys units of a product: all that were asked for, or none.")


async def test_without_any_product_the_tabs_say_what_is_missing(visits: Visits) -> None:
    page = await graphiql(visits)
    await open_tab(page, "BuyOne")

    await run(page)

    await expect(page.locator(".result-window")).to_contain_text("productId must be a UUID")


async def test_the_history_keeps_what_was_run_and_opens_it_again(page: Page, server: Server) -> None:
    await run(page)
    await result(page, "edges")
    await page.get_by_role("button", name="Show History").click()
    await page.get_by_role("button", name="Add tab").click()
    query = page.locator(".graphiql-query-editor")
    await expect(query).not_to_contain_text("ListProducts")

    await page.locator(".graphiql-history").get_by_text("ListProducts").click()

    await expect(query).to_contain_text("query ListProducts")
    await run(page)
    await result(page, "edges")


async def test_clearing_its_data_leaves_the_storefronts_alone(page: Page) -> None:
    await stored(page, "graphiql:tabState")
    await page.evaluate("localStorage.setItem('dropzero.guest', 'ada')")
    await page.evaluate("localStorage.setItem('graphiql:from-long-ago', 'a query')")

    await page.get_by_role("button", name="Open settings dialog").click()
    await page.get_by_role("button", name="Clear data").click()

    await expect(page.get_by_role("button", name="Cleared data")).to_be_visible()
    kept = await page.evaluate("Object.keys(localStorage)")
    # GraphiQL itself may store its open tabs again at any moment.
    assert set(kept) - {"graphiql:tabState"} == {"dropzero.guest"}
