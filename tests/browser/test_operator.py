"""A drop that is run from the operator's page alone, and what the page does when something goes wrong."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Route, expect

from api.settings import Settings
from api.storefront.languages import LANGUAGES
from tests.browser.drop_page import DropPage, english
from tests.browser.operator_page import OperatorPage, field_of
from tests.browser.test_appearance import INTERACTIVE_MARK, NARROW, violations
from tests.browser.visits import Tabs, Visit, Visits, packaged, visiting
from tests.graphql.callers import SUE, Shop, shop_settings
from tests.graphql.expiring import OPERATORS, shop
from tests.identity.shop_issuer import shop_issuer
from tests.server import ADMIN_TOKEN, Server, serving

pytestmark = pytest.mark.browser

PRODUCT = "query ($id: ID!) { product(id: $id) { stock stocked revision name description limitPerBuyer } }"
UPDATE = "mutation ($input: UpdateProductInput!) { updateProduct(input: $input) { revision } }"
LATEST = re.compile(r"In stock 7\b")


async def sold(server: Server, product_id: str, buyers: int) -> list[dict[str, Any]]:
    """Sell one unit to each of some buyers at the same time."""
    return await asyncio.gather(*(server.purchase(product_id, f"buyer-{number}") for number in range(buyers)))


async def signed_in(visits: Visits, address: str, **look: Any) -> tuple[Visit, OperatorPage]:
    """Open a page of the operator, and sign in."""
    visit = await visits.open(address, **look)
    page = OperatorPage(visit.page)
    await page.sign_in(ADMIN_TOKEN)
    return visit, page


async def created(page: OperatorPage) -> str:
    """Create a product of 20 units that opens in an hour. Returns its id, with its page open."""
    await page.fill("create", name="Aurora Tee", dropName="First Light", stock="20", limitPerBuyer="1")
    await page.fill("create", opensAt=field_of(datetime.now(UTC) + timedelta(hours=1)))
    await page.submit("create")
    await expect(page.products).to_have_count(1)
    await expect(page.products.locator(".badge")).to_have_text(english("operator_scheduled"))
    await page.products.locator("a").click()
    await page.expect_state("operator_scheduled")
    return page.page.url.partition("product=")[2]


async def test_a_drop_is_run_from_the_page_alone(server: Server, visits: Visits) -> None:
    visit, page = await signed_in(visits, "/operator")
    product_id = await created(page)
    assert (await server.purchase(product_id))["status"] == "NOT_OPEN"

    await page.fill("details", opensAt="", description="Printed by hand.")
    await page.submit("details")
    await page.expect_state("operator_on_sale")
    await page.expect_live()
    await sold(server, product_id, 13)
    await expect(page.figure("stock")).to_have_text("7")
    await expect(page.charts.first).to_have_attribute("aria-label", LATEST)
    await expect(page.orders).to_have_count(10)

    buyer = DropPage((await visits.open(f"/drop/{product_id}")).page)
    await page.submit("pause")
    await page.expect_state("paused")
    assert (await server.purchase(product_id, "late"))["status"] == "PAUSED"
    await expect(buyer.button).to_have_text(english("paused"))
    await page.submit("pause")
    await page.expect_state("operator_on_sale")

    await page.fill("restock", delta="-2")
    await page.submit("restock")
    await expect(page.result("restock")).to_have_text(english("operator_restocked", 5))
    await page.search(userRef="buyer-3")
    await expect(page.orders).to_have_count(1)
    reference = await page.orders.locator("th").inner_text()
    await page.search(userRef="", reference=reference.lower())
    await expect(page.orders.locator("td").first).to_have_text("buyer-3")

    await page.cancel_first_order("no")
    await expect(page.orders.get_by_role("button")).to_be_focused()
    await page.search(reference="no reference")
    await expect(page.search_result).to_contain_class("failed")
    await page.cancel_first_order("yes")
    await expect(page.search_result).not_to_contain_class("failed")
    await expect(page.search_result).to_contain_text(reference)
    await expect(page.orders.locator("td").nth(2)).to_have_text(english("cancelled"))
    await expect(page.figure("stock")).to_have_text("6")
    await expect(page.page.locator("#counts tbody tr").first).to_contain_text("12")

    log = [english(f"operator_did_{step}") for step in ("cancel", "restock", "resume", "pause", "update", "create")]
    await expect(page.log.locator("strong")).to_have_text(log)
    await visit.goto("/operator")
    await expect(page.log.locator("a")).to_have_text(["Aurora Tee"] * len(log))
    assert ADMIN_TOKEN not in "".join(visit.requested)


async def test_all_orders_are_downloaded_as_a_file(server: Server, visits: Visits, tmp_path: Path) -> None:
    product_id = await server.create_product(stock=5)
    bought = await sold(server, product_id, 3)
    visit = await visits.blank(alone=True)
    await visit.page.add_init_script("delete window.showSaveFilePicker")  # whose dialog no test can use
    await visit.goto(f"/operator?product={product_id}")
    page = OperatorPage(visit.page)
    await page.sign_in(ADMIN_TOKEN)

    async with visit.page.expect_download() as downloading:
        await page.page.locator("[data-export=csv]").click()
    await (await downloading.value).save_as(tmp_path / "orders.csv")

    content = (tmp_path / "orders.csv").read_text()
    assert all(outcome["order"]["id"] in content for outcome in bought)
    await expect(page.search_result).to_contain_text("orders-")
    await expect(page.log.locator("strong").first).to_have_text(english("operator_did_export"))


async def test_nothing_is_shown_without_a_token(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(name="Secret Tee")
    visit = await visits.open(f"/operator?product={product_id}")
    page = OperatorPage(visit.page)
    await expect(page.sign_in_form).to_be_visible()
    assert not [url for url in visit.requested if url.endswith("/graphql")]
    assert "Secret Tee" not in await visit.page.content()

    for wrong in ("トークン", "no-such-token"):
        await page.sign_in(wrong)
        await expect(page.result("sign-in")).to_have_text(english("operator_wrong_token"))
        await expect(page.page.locator("#token")).to_be_focused()
        await page.page.evaluate("document.querySelector('#sign-in .result').textContent = ''")
    assert "Secret Tee" not in await visit.page.content()
    await page.sign_in(ADMIN_TOKEN)
    await expect(page.heading).to_have_text("Secret Tee")

    await page.page.locator("#sign-out").click()
    await expect(page.sign_in_form).to_be_visible()
    await expect(page.heading).to_have_text(english("operator_heading"))
    assert await visit.page.evaluate("[sessionStorage.length, localStorage.length]") == [0, 0]


async def test_a_token_that_expires_ends_the_session(
    settings: Settings, tabs: Tabs, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with shop(settings, monkeypatch) as here, visiting(tabs, here.server) as visits:
        product_id = await here.server.create_product()
        page = OperatorPage((await visits.open(f"/operator?product={product_id}")).page)
        await page.sign_in(here.issuer.token("olga", roles=[OPERATORS]))
        await page.expect_live()

        here.expire()
        await page.submit("pause")

        await expect(page.result("sign-in")).to_have_text(english("operator_expired"))
        await expect(page.page.locator("#product")).to_be_hidden()


@pytest.fixture
async def without_activity(settings: Settings, postgres_url: str) -> AsyncIterator[Shop]:
    """A shop that keeps no activity, and has somebody for support."""
    async with shop_issuer() as issuer:
        here = replace(shop_settings(issuer, postgres_url, closed=False), activity=False)
        async with serving(here) as server:
            yield Shop(server, issuer)


async def test_support_sees_what_there_is_without_activity(without_activity: Shop, tabs: Tabs) -> None:
    server = without_activity.server
    product_id = await server.create_product(stock=9)
    async with visiting(tabs, server) as visits:
        page = OperatorPage((await visits.open(f"/operator?product={product_id}")).page)
        await page.sign_in(without_activity.token(SUE) or "")

        await expect(page.read_only).to_be_visible()
        await expect(page.page.locator("#no-activity")).to_contain_text("DROPZERO_ACTIVITY")
        await expect(page.page.locator(".writes:visible")).to_have_count(0)
        await page.expect_live()
        await server.purchase(product_id)
        await expect(page.figure("stock")).to_have_text("8")
        await expect(page.orders).to_have_count(1)


async def test_a_restock_whose_answer_is_lost_counts_once(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=10)
    visit, page = await signed_in(visits, f"/operator?product={product_id}")
    await page.expect_live()

    async def lose(route: Route) -> None:
        if "mutation Restock" in (route.request.post_data or ""):
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await visit.page.route("**/graphql", lose)
    await page.fill("restock", delta="7")
    await page.submit("restock")
    once = f"{english('operator_no_answer')} {english('operator_once')}"
    await expect(page.result("restock")).to_have_text(once)
    await visit.page.unroute("**/graphql")
    await visit.page.reload()
    await expect(page.result("restock")).to_have_text(once)
    await expect(page.form("restock").locator("input")).to_have_value("7")
    await page.submit("restock")

    await expect(page.result("restock")).to_have_text(english("operator_restocked", 17))
    assert (await server.data(PRODUCT, {"id": product_id}))["product"]["stocked"] == 17
    visit.problems.clear()  # the request that failed


async def test_a_change_on_top_of_another_operators_is_shown_before_it_is_saved(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(limitPerBuyer=2)
    _, page = await signed_in(visits, f"/operator?product={product_id}")
    await page.expect_live()
    await page.fill("details", name="Aurora Tee")
    product = (await server.data(PRODUCT, {"id": product_id}))["product"]
    change = {"productId": product_id, "revision": product["revision"], "limitPerBuyer": 5}
    await server.data(UPDATE, {"input": change}, token=ADMIN_TOKEN)
    await expect(page.log).to_have_count(2)

    await page.submit("details")
    await expect(page.result("details")).to_have_text(english("operator_stale"))
    await expect(page.page.locator("#conflict li")).to_have_text(["Limit per customer: 2 → 5"])
    await page.submit("details")
    await expect(page.result("details")).to_have_text(english("operator_saved"))

    product = (await server.data(PRODUCT, {"id": product_id}))["product"]
    assert (product["name"], product["limitPerBuyer"]) == ("Aurora Tee", 5)


@pytest.mark.parametrize(
    ("dark", "language", "width"), [(False, "en", 1280), (True, "ar", 390)], ids=["light", "dark and narrow"]
)
async def test_axe_finds_nothing_serious(
    server: Server, visits: Visits, packages: Path, dark: bool, language: str, width: int
) -> None:
    product_id = await server.create_product(stock=5)
    await server.create_product(name="Later", opensAt="2999-01-01T00:00:00Z")
    await sold(server, product_id, 7)
    axe = packaged(packages / "axe-core-4.14.1.tgz", "axe.min.js").decode()
    visit = await visits.open("/operator", dark=dark, language=language, width=width, still=True)
    page = OperatorPage(visit.page)

    async def is_clean() -> None:
        assert await violations(visit.page, axe) == []
        assert await visit.page.evaluate("document.documentElement.scrollWidth") <= width  # a scrollbar has its place

    await expect(page.sign_in_form).to_be_visible()
    await is_clean()
    await page.sign_in(ADMIN_TOKEN)
    await expect(page.products).to_have_count(2)
    await is_clean()
    await page.products.locator("a").last.click()
    await expect(page.orders).to_have_count(5)
    await expect(page.page.locator(".bars.confirmed").last).to_have_attribute("d", re.compile("M"))
    await page.page.locator(".chart summary").first.click()
    await page.page.locator(".plot").first.press("ArrowLeft")
    await is_clean()


async def test_nothing_is_wider_than_the_narrowest_screen_in_any_language(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=1_234_567, name="A rather long name of a product, for all that")
    await server.purchase(product_id)
    visit, page = await signed_in(visits, "/operator", width=NARROW)
    await expect(page.products).to_have_count(1)
    for language in LANGUAGES:
        for address in ("/operator?", f"/operator?product={product_id}&"):
            await visit.goto(f"{address}lang={language}")
            await visit.page.evaluate(INTERACTIVE_MARK)
            assert await visit.page.evaluate("document.documentElement.scrollWidth") == NARROW, (language, address)


async def test_the_keyboard_alone_is_enough(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    await sold(server, product_id, 2)
    visit = await visits.open("/operator")
    page, keyboard = OperatorPage(visit.page), visit.page.keyboard

    async def tab_to(selector: str) -> None:
        for _ in range(80):
            if await visit.page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
            await keyboard.press("Tab")
        raise AssertionError(f"no Tab reaches {selector}")

    await tab_to("#token")
    await keyboard.type(ADMIN_TOKEN)
    await keyboard.press("Enter")
    await expect(page.products).to_have_count(1)
    await tab_to("#product-list a")
    await keyboard.press("Enter")
    await page.expect_live()
    await tab_to("#pause button")
    await keyboard.press("Enter")
    await page.expect_state("paused")
    await expect(page.form("pause").locator("button")).to_be_focused()
    await expect(page.form("pause").locator("button")).to_have_text(english("operator_resume"))
    await expect(page.result("pause")).to_have_text(english("operator_paused_now"))
    await expect(page.charts.first).to_have_attribute("aria-label", re.compile(r"In stock 3\b"))
    await tab_to(".plot")
    tip = page.page.locator(".tip").first
    await keyboard.press("End")
    await expect(tip).to_contain_text(f"{english('stock')}: 3")
    await keyboard.press("Escape")
    await expect(tip).to_be_hidden()
    await tab_to("#archive button")
    await keyboard.press("Enter")
    await keyboard.press("Tab")
    await keyboard.press("Shift+Tab")
    await tab_to("#confirm [value=yes]")
    await keyboard.press("Enter")
    await page.expect_state("operator_archived")
    await expect(page.form("pause").locator("button")).to_be_focused()
