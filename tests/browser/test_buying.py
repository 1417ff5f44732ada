"""Buying from the page: in every language, beside other pages, and whatever the answer is."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import Route, expect

from api.settings import Settings
from api.storefront.languages import LANGUAGES
from api.storefront.pages import read_messages
from tests.browser.drop_page import DropPage, english, is_purchase, key_of, open_drop, orders_of
from tests.browser.visits import Tabs, Visits, visiting
from tests.server import Server, serving

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("language", LANGUAGES)
async def test_one_is_bought_in_each_language(server: Server, visits: Visits, language: str) -> None:
    messages = read_messages(language)
    product_id = await server.create_product(stock=3)
    page = await open_drop(visits, product_id, language=language)
    await expect(page.page.locator("html")).to_have_attribute("lang", language)
    await expect(page.button).to_have_text(messages["buy"])

    await page.buy()

    await expect(page.verdict).to_have_text(messages["answer_confirmed"])
    [order] = await orders_of(server, product_id)
    await expect(page.order_number).to_have_text(order["reference"])
    await expect(page.announced.filter(has_text=order["reference"])).to_have_count(1)
    await expect(page.orders).to_have_count(1)
    two_left = messages["answer_left"].get("two", messages["answer_left"]["other"])
    await expect(page.detail).to_have_text(two_left.format(count=2))


async def test_the_counters_of_other_pages_fall_by_themselves(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=3)
    ada = await open_drop(visits, product_id)
    drop, shop = await visits.open(f"/drop/{product_id}", dark=True), await visits.open("/")
    bob, card = DropPage(drop.page), shop.page.locator(".card.live .units")
    for page in (ada, bob):
        await page.expect_live("3")
    await expect(card).to_have_text("3")
    for watching in (drop, shop):
        watching.requested.clear()

    await ada.buy()
    await ada.expect_confirmed()

    await expect(bob.units).to_have_text("2")
    await expect(card).to_have_text("2")
    await expect(bob.verdict).to_be_empty()
    assert drop.requested + shop.requested == [], "the server sends the stock without a request"


async def test_the_last_unit_goes_to_exactly_one_of_two_pages(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=1)
    pages = [await open_drop(visits, product_id) for _ in range(2)]
    both_arrived = asyncio.Barrier(2)

    async def start_together(route: Route) -> None:
        if is_purchase(route.request):
            await both_arrived.wait()
        await route.continue_()

    for page in pages:
        await page.expect_live("1")
        await page.page.route("**/graphql", start_together)

    await asyncio.gather(*(page.buy() for page in pages))

    for page in pages:
        await expect(page.verdict).not_to_be_empty()
        await page.expect_button("sold_out", enabled=False)
        await expect(page.units).to_have_text("0")
    verdicts = [await page.verdict.inner_text() for page in pages]
    assert sorted(verdicts) == sorted([english("answer_confirmed"), english("answer_sold_out")])
    assert len(await orders_of(server, product_id)) == 1


async def test_a_busy_purchase_is_sent_again_under_the_same_key(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    await page.expect_live("5")
    keys = []
    released = asyncio.Event()

    async def be_busy_once(route: Route) -> None:
        if not is_purchase(route.request):
            await route.continue_()
            return
        keys.append(key_of(route.request))
        if len(keys) == 1:
            await route.fulfill(json={"data": {"purchase": {"status": "BUSY", "retryAfterMs": 50}}})
        else:
            await released.wait()
            await route.continue_()

    await page.page.route("**/graphql", be_busy_once)
    await page.buy()
    await expect(page.verdict).to_have_text(english("answer_busy"))
    await page.expect_button("buying", enabled=False)
    released.set()

    await page.expect_confirmed()
    assert len(keys) == 2
    assert keys[0] == keys[1]


async def test_a_buyer_who_has_reached_the_limit_sees_it(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5, limitPerBuyer=1)
    first_tab = await visits.open(f"/drop/{product_id}")
    first, second = DropPage(first_tab.page), await open_drop(visits, product_id, beside=first_tab)
    await second.expect_button("buy", enabled=True)
    await first.buy()
    await first.expect_confirmed()
    await first.expect_button("limit_reached", enabled=False)

    await second.buy()  # this tab does not know of the first purchase yet

    await expect(second.verdict).to_have_text(english("limit_reached"))
    await expect(second.detail).to_have_text(english("answer_limit", 1, held=1))
    await second.expect_button("limit_reached", enabled=False)


async def test_the_page_says_that_a_drop_does_not_exist(visits: Visits) -> None:
    visit = await visits.open("/drop/00000000-0000-4000-8000-000000000000")
    await expect(visit.page.get_by_text(english("missing_text"))).to_be_visible()
    visit.problems.clear()  # the 404


async def test_a_server_that_stops_and_starts_loses_no_click(settings: Settings, tabs: Tabs) -> None:
    async with AsyncExitStack() as stack:
        async with serving(settings) as server:
            port = int(server.url.rsplit(":", 1)[1])
            product_id = await server.create_product(stock=5)
            visits = await stack.enter_async_context(visiting(tabs, server))
            visit = await visits.open(f"/drop/{product_id}")
            page = DropPage(visit.page)
            await page.expect_live("5")

        await expect(page.connection).to_have_text(english("last_known"))
        await expect(page.units).to_have_text("5")
        await page.buy()
        await expect(page.verdict).to_have_text(english("answer_checking"))

        async with serving(settings, port) as server:
            await page.expect_confirmed()
            await page.expect_live("4")
            assert len(await orders_of(server, product_id)) == 1
            assert all("ERR_CONNECTION" in problem for problem in visit.problems)
            visit.problems.clear()
            await stack.aclose()  # end the visits while the server still runs
