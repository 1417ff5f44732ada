"""The buyer's orders and receipts in a browser: what their module adds to the server's pages, and what is printed."""

import json
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from playwright.async_api import Page, Route, expect

from api.identity.guests import GuestTokens
from api.settings import Settings
from api.shop.shop import Seller, Shop
from api.storefront.pages import read_messages
from tests.browser.drop_page import english, open_drop
from tests.browser.test_appearance import INTERACTIVE_MARK, LAYOUT_SHIFTS, NARROW, TOO_WIDE, TWO_FRAMES, violations
from tests.browser.visits import Visit, Visits, packaged
from tests.server import ADMIN_TOKEN, GUEST_KEY, Server

pytestmark = pytest.mark.browser

COOKIE = "dropzero_guest"
CLOCK = re.compile(r"^00:0[0-9]:[0-5][0-9]$")
PRICE = {"amount": "0.10", "currency": "USD"}
LONG = "A rather long name of a product, for all that it is worth to those who read it"

GUEST = "mutation { guest { token subject } }"
BUY = """
mutation ($input: PurchaseInput!) {
  purchase(input: $input) { ... on PurchaseConfirmed { order { id } } ... on PurchaseHeld { order { id } } }
}
"""
CANCEL = "mutation ($id: ID!) { cancelOrder(input: { orderId: $id }) { status } }"
CONFIRM = 'mutation ($id: ID!) { confirmOrder(orderId: $id, paymentRef: "of the shop") { __typename } }'
STOCK = "query ($id: ID!) { product(id: $id) { stock } }"
SPACE_OUT = """
() => {
  for (const { style } of document.querySelectorAll("main *")) {
    Object.assign(style, { letterSpacing: "0.12em", wordSpacing: "0.16em", lineHeight: "1.5" });
  }
}
"""
"""What readers may set for themselves: WCAG 2.2, success criterion 1.4.12."""
LOOK_AGAIN = "document.dispatchEvent(new Event('visibilitychange'))"


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    return replace(settings, shop=Shop(seller=Seller("Aurora Goods", "Here 1\nBerlin", "hello@shop.example")))


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the module's database."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


class Buyer:
    """A guest of the shop, and the browser that keeps the guest's token."""

    def __init__(self, server: Server, visit: Visit, guest: dict[str, str]) -> None:
        self.server = server
        self.visit = visit
        self.page = visit.page
        self.guest = guest

    async def buy(self, product_id: str, quantity: int = 1) -> str:
        """Buy, and return the id of the order."""
        wanted = {"productId": product_id, "quantity": quantity}
        bought = await self.server.data(BUY, {"input": wanted}, token=self.guest["token"])
        order_id: str = bought["purchase"]["order"]["id"]
        return order_id

    async def keep(self, *, cookie: bool = True) -> None:
        """Have the browser keep the guest: in its cookie, or as the module alone did."""
        if cookie:
            await self.page.context.add_cookies(
                [{"name": COOKIE, "value": self.guest["token"], "url": self.server.url, "sameSite": "Strict"}]
            )
            return
        await self.visit.goto("/healthz")
        await self.page.evaluate("(kept) => localStorage.setItem('dropzero.guest', kept)", json.dumps(self.guest))


@pytest.fixture
async def buyer(server: Server, visits: Visits) -> Buyer:
    """A buyer whose browser keeps the cookie."""
    return await new_buyer(server, await visits.blank())


async def new_buyer(server: Server, visit: Visit) -> Buyer:
    made = Buyer(server, visit, (await server.data(GUEST))["guest"])
    await made.keep()
    return made


async def ready(page: Page) -> None:
    await page.evaluate(INTERACTIVE_MARK)


async def test_the_module_requests_and_moves_nothing_that_the_server_has_rendered(server: Server, buyer: Buyer) -> None:
    order_id = await buyer.buy(await server.create_product(price=PRICE), 3)
    sent: list[str] = []
    buyer.page.on("request", lambda request: sent.append(request.url) if "/graphql" in request.url else None)
    await buyer.page.add_init_script(f"({LAYOUT_SHIFTS})()")
    for path in ("/orders", f"/orders/{order_id}"):
        async with server.session.get(f"{server.url}{path}", cookies={COOKIE: buyer.guest["token"]}) as response:
            rendered = await response.text()
        await buyer.visit.goto(path)
        await ready(buyer.page)
        await buyer.page.evaluate(TWO_FRAMES)
        assert await buyer.page.evaluate("window.shifts") == []
        for part in (".each", ".total", ".order-state", ".code", "time"):
            for shown in await buyer.page.locator(f"#main {part}").all_inner_texts():
                assert shown in rendered, part
        await expect(buyer.page.locator("#main .total")).to_have_text("$0.30")
    assert sent == []


@pytest.mark.parametrize("on_list", [True, False], ids=["on the list", "on the receipt"])
async def test_a_buyer_cancels_with_the_keyboard_after_a_second_thought(
    server: Server, buyer: Buyer, on_list: bool
) -> None:
    product_id = await server.create_product(stock=5)
    order_id = await buyer.buy(product_id, 2)
    await buyer.visit.goto("/orders" if on_list else f"/orders/{order_id}")
    await ready(buyer.page)
    button = buyer.page.get_by_role("button", name=english("cancel_sure"))
    await expect(button).to_be_hidden()
    share = buyer.page.locator("#share")
    await expect(share).to_be_visible(visible=not on_list)

    await buyer.page.locator(".cancel summary").press("Enter")
    await expect(buyer.page.get_by_text(english("cancel_question"))).to_be_visible()
    await button.press("Enter")

    state = buyer.page.locator(".order-state")
    await expect(state).to_have_text(english("cancelled"))
    await expect(state if on_list else buyer.page.locator(".verdict")).to_be_focused()
    await expect(buyer.page.locator(".cancel")).to_be_hidden()
    await expect(buyer.page.locator("#announcer")).to_contain_text(english("cancelled"))
    assert (await server.data(STOCK, {"id": product_id}))["product"]["stock"] == 5
    if not on_list:
        await expect(buyer.page.locator(".verdict")).to_have_text(english("answer_cancelled"))
        await expect(share).to_be_hidden()


async def test_a_cancellation_without_an_answer_can_be_sent_again(server: Server, buyer: Buyer) -> None:
    order_id = await buyer.buy(await server.create_product())
    await buyer.visit.goto(f"/orders/{order_id}")
    await ready(buyer.page)
    lost: list[str] = []

    async def lose_the_first(route: Route) -> None:
        if "mutation CancelMine" in (route.request.post_data or "") and not lost:
            lost.append((await route.fetch()).status_text)  # the server has cancelled it
            await route.abort()
        else:
            await route.continue_()

    await buyer.page.route("**/graphql", lose_the_first)
    await buyer.page.locator(".cancel summary").click()
    await buyer.page.locator(".cancel button").click()
    await expect(buyer.page.locator(".failed")).to_have_text(english("cancel_unanswered"))
    buyer.visit.problems.clear()  # the request that was lost

    await buyer.page.locator(".cancel button").click()
    await expect(buyer.page.locator(".verdict")).to_have_text(english("answer_cancelled"))


async def test_a_hold_counts_down_and_its_payment_or_its_end_is_shown(
    server: Server, buyer: Buyer, database: asyncpg.Connection
) -> None:
    product_id = await server.create_product(holdSeconds=300)
    paid, lapsed = await buyer.buy(product_id), await buyer.buy(product_id)
    await buyer.visit.goto("/orders")
    entries = {order_id: buyer.page.locator(f"[data-id='{order_id}']") for order_id in (paid, lapsed)}
    for order_id, entry in entries.items():
        await expect(entry.locator("[role=timer]")).to_have_text(CLOCK)
        await expect(entry.locator(".pay")).to_have_attribute("href", f"/demo/pay/{order_id}")
        await expect(entry.locator("summary")).to_have_text(english("let_go"))
    first = await entries[paid].locator("[role=timer]").inner_text()
    await expect(entries[paid].locator("[role=timer]")).not_to_have_text(first)

    await server.data(CONFIRM, {"id": paid}, token=ADMIN_TOKEN)
    await database.execute("UPDATE orders SET held_until = now() - interval '1 s' WHERE id = $1", lapsed)
    await buyer.page.evaluate(LOOK_AGAIN)

    await expect(entries[paid].locator(".order-state")).to_have_text(english("confirmed"))
    await expect(entries[paid].locator("summary")).to_have_text(english("cancel_order"))
    await expect(entries[lapsed].locator(".order-state")).to_have_text(english("lapsed"))
    await expect(entries[lapsed].locator(".held, .cancel")).to_have_count(2)
    for part in await entries[lapsed].locator(".held, .cancel").all():
        await expect(part).to_be_hidden()


async def test_a_hold_that_was_paid_meanwhile_is_not_let_go(server: Server, buyer: Buyer) -> None:
    order_id = await buyer.buy(await server.create_product(holdSeconds=300))
    await buyer.visit.goto(f"/orders/{order_id}")
    await buyer.page.locator(".cancel summary").click()

    async def let_only_the_release_through(route: Route) -> None:
        await (route.continue_() if "ReleaseMine" in (route.request.post_data or "") else route.abort())

    await buyer.page.route("**/graphql", let_only_the_release_through)
    await server.data(CONFIRM, {"id": order_id}, token=ADMIN_TOKEN)

    await buyer.page.locator(".cancel button").click()

    await expect(buyer.page.locator(".verdict")).to_have_text(english("answer_confirmed"))
    buyer.visit.problems.clear()  # readings that were aborted


async def test_a_guest_whom_only_the_modules_kept_gets_the_orders_and_the_cookie(
    server: Server, visits: Visits
) -> None:
    visit = await visits.blank()
    buyer = Buyer(server, visit, (await server.data(GUEST))["guest"])
    order_id = await buyer.buy(await server.create_product(name="Aurora Tee", price=PRICE), 3)
    for path in ("/orders", f"/orders/{order_id}"):
        await visit.page.context.clear_cookies()
        await buyer.keep(cookie=False)
        await visit.goto(path)
        await expect(visit.page.locator("#main .name")).to_have_text("Aurora Tee")
        await expect(visit.page.locator("#main .total")).to_have_text("$0.30")
        await expect(visit.page.locator("#notice")).to_be_hidden()
        await expect(visit.page.locator("h1")).to_be_visible()
        assert COOKIE in {cookie.get("name") for cookie in await visit.page.context.cookies()}
    visit.problems.clear()  # the 404 of the receipt without a cookie


async def test_a_browser_that_keeps_nothing_says_so(server: Server, visits: Visits) -> None:
    visit = await visits.blank(alone=True)
    await visit.page.add_init_script(
        "Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };"
        "Object.defineProperty(Document.prototype, 'cookie', { get: () => '', set: () => {} });"
        "Object.defineProperty(Navigator.prototype, 'cookieEnabled', { get: () => false });"
    )
    await visit.goto("/orders")
    await expect(visit.page.get_by_text(english("browser_forgets"))).to_be_visible()
    await expect(visit.page.locator("#notice")).to_have_text(english("no_orders"))


async def test_a_database_that_was_replaced_has_no_orders_of_this_browser(
    server: Server, buyer: Buyer, visits: Visits, database: asyncpg.Connection
) -> None:
    order_id = await buyer.buy(await server.create_product())
    await buyer.visit.goto("/orders")
    receipt = (await visits.open(f"/orders/{order_id}", beside=buyer.visit)).page
    await ready(receipt)
    await database.execute("DELETE FROM orders")

    for page, key in ((buyer.page, "orders_empty"), (receipt, "payment_missing")):
        await page.evaluate(LOOK_AGAIN)
        await expect(page.locator("#notice")).to_have_text(english(key))
        await expect(page.locator("#main .code:visible")).to_have_count(0)


async def test_a_token_that_is_refused_while_the_page_is_open_is_said(server: Server, buyer: Buyer) -> None:
    await buyer.buy(await server.create_product())
    await buyer.visit.goto("/orders")
    await ready(buyer.page)
    other = GuestTokens([GUEST_KEY[::-1]]).issue(datetime.now(UTC).timestamp())
    kept = json.dumps({"token": other.token, "subject": other.subject})
    await buyer.page.evaluate("(kept) => localStorage.setItem('dropzero.guest', kept)", kept)

    await buyer.page.evaluate(LOOK_AGAIN)
    await expect(buyer.page.locator("#notice")).to_have_text(english("orders_refused"))


async def test_a_page_that_could_not_be_answered_reads_until_it_is(server: Server, buyer: Buyer) -> None:
    """The document is that of a server without its database, and the database is back."""
    await buyer.buy(await server.create_product(name="Aurora Tee"))
    async with server.session.get(f"{server.url}/orders") as response:
        frame = (await response.text()).replace(english("no_orders"), english("unreachable"), 1)
    await buyer.page.route(f"{server.url}/orders", lambda route: route.fulfill(body=frame, content_type="text/html"))
    await buyer.visit.goto("/orders")
    await expect(buyer.page.locator("#main .name")).to_have_text("Aurora Tee")
    await expect(buyer.page.locator("#notice")).to_be_hidden()


def pages_of(pdf: bytes) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", pdf))


async def test_a_receipt_and_the_answer_to_a_purchase_are_printed_on_one_page(
    server: Server, buyer: Buyer, visits: Visits
) -> None:
    product_id = await server.create_product(name=LONG, price=PRICE)
    await buyer.visit.goto(f"/orders/{await buyer.buy(product_id)}")
    await ready(buyer.page)
    drop = await open_drop(visits, product_id, dark=True)
    await drop.buy()
    await drop.expect_confirmed()
    for page, code in ((buyer.page, ".code"), (drop.page, ".won .order bdi")):
        assert pages_of(await page.pdf(format="A4")) == 1
        await page.emulate_media(media="print", color_scheme="dark")
        for selector in (".bar", "footer", ".primary", "#print"):
            for part in await page.locator(selector).all():
                await expect(part).to_be_hidden()
        await expect(page.locator(code)).to_be_visible()
        red, green, blue = await page.locator(code).evaluate(
            "(at) => getComputedStyle(at).color.match(/[0-9.]+/g).slice(0, 3).map(Number)"
        )
        assert max(red, green, blue) < 100, "dark on white"
        await page.emulate_media(media="screen")


@pytest.mark.parametrize("language", ["fr", "ja", "ar"])
async def test_nothing_is_wider_than_the_narrowest_screen(server: Server, visits: Visits, language: str) -> None:
    buyer = await new_buyer(server, await visits.blank(width=NARROW, language=language))
    price = {"amount": "1234567.89", "currency": "USD"}
    product_id = await server.create_product(name=LONG, price=price, holdSeconds=300, family="Tees", option="XXL")
    order_id = await buyer.buy(product_id, 9)
    for path in ("/orders", f"/orders/{order_id}", "/orders/00000000-0000-4000-8000-000000000000"):
        await buyer.visit.goto(path)
        await ready(buyer.page)
        if path.endswith(("orders", order_id)):
            await buyer.page.locator(".cancel summary").click()
            await expect(buyer.page.locator(".until")).not_to_be_empty()
            state = buyer.page.locator(".order-state")
            await expect(state).to_have_text(read_messages(language)["held"])
        for spacing in ("false", "true"):
            await buyer.page.evaluate(f"{spacing} && ({SPACE_OUT})()")
            assert await buyer.page.evaluate("document.documentElement.scrollWidth") == NARROW, path
            assert await buyer.page.evaluate(TOO_WIDE, NARROW) == [], path
    buyer.visit.problems.clear()  # the 404 of the last one


@pytest.mark.parametrize(("dark", "language"), [(False, "en"), (True, "ar")], ids=["light", "dark"])
async def test_axe_finds_nothing_serious(
    server: Server, visits: Visits, packages: Path, dark: bool, language: str
) -> None:
    axe = packaged(packages / "axe-core-4.14.1.tgz", "axe.min.js").decode()
    buyer = await new_buyer(server, await visits.blank(dark=dark, language=language, still=True))
    held, plain = await server.create_product(holdSeconds=300), await server.create_product(price=PRICE)
    cancelled = await buyer.buy(plain)
    await server.data(CANCEL, {"id": cancelled}, token=buyer.guest["token"])
    receipts = [f"/orders/{order_id}" for order_id in (await buyer.buy(held), await buyer.buy(plain), cancelled)]
    for path in ("/orders", *receipts):
        await buyer.visit.goto(path)
        await ready(buyer.page)
        for summary in await buyer.page.locator(".cancel:visible summary").all():
            await summary.click()
        assert await violations(buyer.page, axe) == [], path
