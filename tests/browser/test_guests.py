"""The guest of a browser: made at the first purchase, shared by all tabs, and replaced when its token is refused."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from api.graphql.errors import rate_limited_error
from api.identity.errors import RateLimited
from api.identity.guests import GuestTokens
from api.settings import Settings
from api.storefront.languages import LANGUAGES
from api.storefront.pages import read_messages
from tests.browser.drop_page import DropPage, english, is_purchase, key_of, makes_a_guest, open_drop, orders_of
from tests.browser.visits import Tabs, Visits, visiting
from tests.patience import until
from tests.server import GUEST_KEY, Server, serving

pytestmark = pytest.mark.browser

REFUSED = {"message": "no guest of this shop", "extensions": {"code": "UNAUTHENTICATED"}}
BECOME_GUEST = "mutation { guest { token subject } }"


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    """The settings of a server with an endpoint: buyers must be known."""
    return replace(settings, open_to_anyone=False, race=False)


async def guest_of(page: Page) -> dict[str, str]:
    """Return the guest that the browser keeps."""
    kept: dict[str, str] = json.loads(await page.evaluate("localStorage.getItem('dropzero.guest')"))
    return kept


async def keep_guest(page: Page, guest: dict[str, str]) -> None:
    await page.evaluate("(guest) => localStorage.setItem('dropzero.guest', guest)", json.dumps(guest))


def stale_guest() -> dict[str, str]:
    """A guest whose token the server refuses: another key has signed it."""
    made = GuestTokens([GUEST_KEY[::-1]]).issue(datetime.now(UTC).timestamp())
    return {"token": made.token, "subject": made.subject}


class Requests:
    """The requests of a page: purchases, and those that make guests. The first `lost` purchases get no answer."""

    def __init__(self, lost: int = 0) -> None:
        self.keys: list[str] = []
        self.guests = 0
        self._lost = lost

    async def watch(self, page: Page) -> None:
        await page.route("**/graphql", self._pass_on)

    async def _pass_on(self, route: Route) -> None:
        self.guests += makes_a_guest(route.request)
        if is_purchase(route.request):
            self.keys.append(key_of(route.request))
            if len(self.keys) <= self._lost:
                await route.fetch()  # the server has decided
                await route.abort()
                return
        await route.continue_()


async def test_a_browser_becomes_a_guest_at_its_first_purchase_and_stays_it(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    await page.expect_live("5")
    assert await page.page.evaluate("localStorage.getItem('dropzero.guest')") is None, "who only looks is nobody"

    await page.buy()
    await page.expect_confirmed()
    await page.page.reload()
    await expect(page.orders).to_have_count(1)
    await page.buy()
    await expect(page.orders).to_have_count(2)

    guest = await guest_of(page.page)
    assert [order["userRef"] for order in await orders_of(server, product_id)] == [guest["subject"]] * 2


async def test_a_buyer_who_waits_for_the_opening_is_a_guest_before_it(server: Server, visits: Visits) -> None:
    opening = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    page = await open_drop(visits, await server.create_product(stock=5, opensAt=opening))

    async def is_a_guest() -> bool:
        return bool(await page.page.evaluate("localStorage.getItem('dropzero.guest')"))

    await until(is_a_guest)


async def test_the_token_is_in_no_address_and_in_no_text_of_the_page(server: Server, visits: Visits) -> None:
    visit = await visits.blank()
    said: list[str] = []
    visit.page.on("console", lambda message: said.append(message.text))
    visit.page.on("websocket", lambda socket: visit.requested.append(socket.url))
    await visit.goto(f"/drop/{await server.create_product(stock=5)}")
    page = DropPage(visit.page)
    await page.buy()
    await page.expect_confirmed()
    await page.page.reload()
    await expect(page.orders).to_have_count(1)

    token = (await guest_of(page.page))["token"]
    seen = [*visit.requested, *said, page.page.url, await page.page.content()]
    assert visit.requested
    assert not any(token in text for text in seen)


async def test_two_tabs_that_buy_first_at_once_are_one_guest(server: Server, visits: Visits) -> None:
    # Two products: purchases of one product at once share their key.
    products = [await server.create_product(stock=5), await server.create_product(stock=5)]
    first_tab = await visits.open(f"/drop/{products[0]}")
    pages = [DropPage(first_tab.page), await open_drop(visits, products[1], beside=first_tab)]
    for page in pages:
        await page.expect_live("5")

    await asyncio.gather(*(page.buy() for page in pages))

    for page in pages:
        await page.expect_confirmed()
    buyers = [order["userRef"] for product_id in products for order in await orders_of(server, product_id)]
    assert buyers == [(await guest_of(pages[0].page))["subject"]] * 2


async def test_without_locks_the_guest_that_another_tab_made_meanwhile_counts(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.blank(alone=True)
    await visit.page.context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    await visit.goto(f"/drop/{product_id}")
    page = DropPage(visit.page)
    other = (await server.data(BECOME_GUEST))["guest"]

    async def let_another_tab_be_faster(route: Route) -> None:
        if makes_a_guest(route.request):
            await keep_guest(page.page, other)
        await route.continue_()

    await page.page.route("**/graphql", let_another_tab_be_faster)
    await page.buy()
    await page.expect_confirmed()

    assert [order["userRef"] for order in await orders_of(server, product_id)] == [other["subject"]]
    assert await guest_of(page.page) == other


async def test_a_refused_token_is_replaced_and_the_purchase_sent_again_once(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    await keep_guest(page.page, stale_guest())
    await page.page.reload()  # the drop is shown although its orders cannot be read
    await page.expect_live("5")
    requests = Requests()
    await requests.watch(page.page)

    await page.buy()
    await page.expect_confirmed()

    [order] = await orders_of(server, product_id)
    assert order["userRef"] == (await guest_of(page.page))["subject"]
    assert (len(requests.keys), len(set(requests.keys)), requests.guests) == (2, 1, 1)


async def test_a_server_that_refuses_new_guests_too_ends_the_purchase(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    requests = Requests()

    async def refuse(route: Route) -> None:
        if is_purchase(route.request):
            requests.keys.append(key_of(route.request))
            await route.fulfill(json={"errors": [REFUSED]})
        else:
            await route.continue_()

    await page.page.route("**/graphql", refuse)
    await page.buy()

    await expect(page.verdict).to_have_text(english("answer_refused"))
    await expect(page.detail).to_have_text(english("answer_refused_unauthenticated"))
    assert len(requests.keys) == 2


@pytest.mark.parametrize("reloaded", [False, True])
async def test_a_purchase_that_may_have_bought_for_a_former_guest_is_not_bought_again_unsaid(
    server: Server, visits: Visits, reloaded: bool
) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.open(f"/drop/{product_id}")
    page = DropPage(visit.page)
    await page.expect_live("5")
    keys: list[str] = []

    async def lose_the_answer_and_forget_the_guest(route: Route) -> None:
        if not is_purchase(route.request):
            await route.continue_()
            return
        keys.append(key_of(route.request))
        if len(keys) == 1:
            await route.fetch()
            if not reloaded:
                await route.abort()
        else:
            await route.fulfill(json={"errors": [REFUSED]})

    await page.page.route("**/graphql", lose_the_answer_and_forget_the_guest)
    await page.buy()
    if reloaded:
        await page.expect_live("4")
        await page.page.reload()

    await expect(page.verdict).to_have_text(english("answer_unknown"))
    [order] = await orders_of(server, product_id)
    await expect(page.detail).to_contain_text(order["userRef"])
    assert len(keys) == 2
    visit.problems.clear()  # the error of the aborted request

    await page.page.unroute("**/graphql")
    await page.page.reload()  # the page goes on saying so, and buys nothing by itself
    await expect(page.verdict).to_have_text(english("answer_unknown"))
    assert len(await orders_of(server, product_id)) == 1
    await page.buy()
    await page.expect_confirmed()
    assert len(await orders_of(server, product_id)) == 2


async def test_a_purchase_sent_for_a_guest_whom_another_tab_has_replaced_is_not_sent_for_the_new_one(
    server: Server, visits: Visits
) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    await page.expect_live("5")
    new = (await server.data(BECOME_GUEST))["guest"]
    await keep_guest(page.page, new)
    intent = "JSON.stringify({ key: 'one', subject: 'guest-of-before', at: Date.now() })"
    await page.page.evaluate(f"localStorage.setItem('dropzero.intent.{product_id}', {intent})")

    await page.page.reload()

    await expect(page.verdict).to_have_text(english("answer_unknown"))
    await expect(page.detail).to_contain_text("guest-of-before")
    assert await orders_of(server, product_id) == []


async def test_what_a_browser_kept_before_there_were_guests_is_dropped(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    intent = "JSON.stringify({ key: 'one', at: Date.now() })"
    await page.page.evaluate(f"localStorage.setItem('dropzero.intent.{product_id}', {intent})")

    await page.page.reload()

    await page.expect_button("buy", enabled=True)
    await expect(page.verdict).to_be_empty()
    await page.buy()
    await page.expect_confirmed()


async def refuse_guests(page: Page, error: dict[str, Any]) -> asyncio.Event:
    """Answer this error when the page wants a guest, until the event is set."""
    released = asyncio.Event()

    async def answer(route: Route) -> None:
        if makes_a_guest(route.request) and not released.is_set():
            await route.fulfill(json={"data": {"guest": None}, "errors": [error]})
        else:
            await route.continue_()

    await page.route("**/graphql", answer)
    return released


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_crowded_network_waits_for_its_guest(server: Server, visits: Visits, language: str) -> None:
    messages = read_messages(language)
    page = await open_drop(visits, await server.create_product(stock=5), language=language)
    released = await refuse_guests(page.page, rate_limited_error(RateLimited("too many guests", 0.01)))

    await page.buy()
    await expect(page.verdict).to_have_text(messages["answer_crowded"])
    await expect(page.detail).to_have_text(messages["answer_busy_detail"])
    released.set()

    await expect(page.verdict).to_have_text(messages["answer_confirmed"])


async def test_a_network_that_stays_crowded_buys_nothing_and_says_so(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    released = await refuse_guests(page.page, rate_limited_error(RateLimited("too many guests", 1000)))

    await page.buy()

    await expect(page.verdict).to_have_text(english("answer_crowded"))
    await expect(page.detail).to_have_text(english("answer_crowded_detail"))
    assert await orders_of(server, product_id) == []
    released.set()
    await page.buy()
    await page.expect_confirmed()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_a_server_without_guests_asks_to_sign_in_and_counts_on(
    settings: Settings, tabs: Tabs, language: str
) -> None:
    messages = read_messages(language)
    async with serving(replace(settings, guest_keys=())) as server, visiting(tabs, server) as visits:
        product_id = await server.create_product(stock=5)
        page = await open_drop(visits, product_id, language=language)
        await expect(page.verdict).to_have_text(messages["answer_sign_in"])
        await expect(page.detail).to_have_text(messages["answer_sign_in_detail"])
        await expect(page.button).to_have_text(messages["sign_in"])
        await expect(page.button).to_have_attribute("aria-disabled", "true")

        await expect(page.page.locator(".drop.live")).to_be_visible()
        await server.purchase(product_id)
        await expect(page.units).to_have_text("4")


async def test_a_page_that_was_open_when_guests_ended_asks_to_sign_in(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    released = await refuse_guests(page.page, {"message": "no guests", "extensions": {"code": "FORBIDDEN"}})

    await page.buy()

    await expect(page.verdict).to_have_text(english("answer_sign_in"))
    await page.expect_button("sign_in", enabled=False)
    released.set()
    await page.page.reload()  # the server has guests again
    await page.expect_button("buy", enabled=True)


async def test_a_guest_that_a_form_made_for_an_expired_one_is_kept(server: Server, visits: Visits) -> None:
    expired = GuestTokens([GUEST_KEY]).issue(0.0)
    made = (await server.data(BECOME_GUEST))["guest"]
    page = await open_drop(visits, await server.create_product())
    await keep_guest(page.page, {"token": expired.token, "subject": expired.subject})
    await page.page.context.add_cookies([{"name": "dropzero_guest", "value": made["token"], "url": server.url}])
    await page.buy()
    await page.expect_confirmed()
    assert await guest_of(page.page) == made
