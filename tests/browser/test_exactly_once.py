"""One click buys one unit: after double clicks, lost answers, reloads, and in several tabs."""

import asyncio

import pytest
from playwright.async_api import Route, expect

from tests.browser.drop_page import DropPage, english, is_purchase, key_of, open_drop, orders_of, stop_clock
from tests.browser.visits import Visits
from tests.server import Server

pytestmark = pytest.mark.browser

REST = 1000
"""Milliseconds after an answer until the next click counts; as in drop.js."""


async def test_a_double_click_buys_one(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=9)
    visit = await visits.blank(alone=True)
    page = DropPage(visit.page)
    await stop_clock(visit.page)
    await visit.goto(f"/drop/{product_id}")
    await page.expect_live("9")

    await page.button.dblclick()

    await page.expect_confirmed()
    await visit.page.clock.run_for(REST - 1)
    await page.expect_button("confirmed", enabled=False)
    await page.button.click(force=True)  # the second click of a slow double click
    await visit.page.clock.run_for(1)
    await page.expect_button("buy_another", enabled=True)
    assert len(await orders_of(server, product_id)) == 1


async def test_a_key_held_down_buys_one(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=9)
    page = await open_drop(visits, product_id)
    await page.expect_live("9")

    await page.button.focus()
    for _ in range(20):
        await page.page.keyboard.down("Enter")
    await page.expect_button("buy_another", enabled=True)
    await page.page.keyboard.down("Enter")  # still held

    await page.expect_button("buy_another", enabled=True)
    await page.page.keyboard.up("Enter")
    assert len(await orders_of(server, product_id)) == 1


async def test_each_further_click_buys_one_more_for_the_same_buyer(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=2)
    page = await open_drop(visits, product_id)
    await page.expect_button("buy", enabled=True)
    await page.buy()
    await page.expect_button("buy_another", enabled=True)

    await page.buy()

    await expect(page.orders).to_have_count(2)
    orders = await orders_of(server, product_id)
    assert len(orders) == 2
    assert len({order["userRef"] for order in orders}) == 1


async def test_a_purchase_whose_answer_was_cut_off_is_sent_again(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.open(f"/drop/{product_id}")
    page = DropPage(visit.page)
    await page.expect_live("5")
    keys: list[str] = []

    async def lose_the_answer(route: Route) -> None:
        if not is_purchase(route.request) or len(keys) == 2:
            await route.continue_()
            return
        keys.append(key_of(route.request))
        await route.fetch()  # the server has decided
        await route.abort()

    await page.page.route("**/graphql", lose_the_answer)
    await page.buy()

    await page.expect_confirmed()
    await expect(page.detail).to_have_text(english("answer_once"))
    [order] = await orders_of(server, product_id)
    await expect(page.order_number).to_have_text(order["reference"])
    await page.expect_live("4")
    assert len(set(keys)) == 1
    assert all("ERR_FAILED" in problem for problem in visit.problems)
    visit.problems.clear()


@pytest.mark.parametrize("way", ["reload", "back"])
async def test_leaving_during_the_purchase_buys_one_and_shows_its_answer(
    server: Server, visits: Visits, way: str
) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    await page.expect_live("5")
    decided = asyncio.Event()

    async def hold_the_answer(route: Route) -> None:
        if not is_purchase(route.request) or decided.is_set():
            await route.continue_()
            return
        await route.fetch()
        decided.set()

    await page.page.route("**/graphql", hold_the_answer)
    await page.buy()
    await decided.wait()
    if way == "reload":
        await page.page.reload()
    else:
        await page.page.goto(f"{server.url}/healthz")
        await page.page.go_back()

    await page.expect_confirmed()
    [order] = await orders_of(server, product_id)
    await expect(page.order_number).to_have_text(order["reference"])

    await page.page.reload()  # the outcome is still shown, and nothing is bought again
    await expect(page.order_number).to_have_text(order["reference"])
    await page.expect_button("buy_another", enabled=True)
    assert len(await orders_of(server, product_id)) == 1


async def test_a_browser_with_full_storage_can_still_buy(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    await page.expect_live("5")
    await page.page.evaluate(
        "() => { Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); }; }"
    )

    await page.buy()

    await page.expect_confirmed()
    await page.expect_button("buy_another", enabled=True)
    await page.buy()
    await expect(page.orders).to_have_count(2)
    await expect(page.page.locator("#browser-forgets")).to_have_text(english("browser_forgets"))
    assert len(await orders_of(server, product_id)) == 2


async def test_a_page_out_of_the_cache_shows_what_was_bought_meanwhile(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    tab = await visits.open(f"/drop/{product_id}")
    kept, other = DropPage(tab.page), await open_drop(visits, product_id, beside=tab)
    await kept.expect_live("5")
    await other.buy()
    await other.expect_confirmed()

    await kept.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")

    await expect(kept.orders).to_have_count(1)


@pytest.mark.parametrize("at", ["0", "Date.now() + 86_400_000"], ids=["yesterday", "before a clock was set back"])
async def test_an_old_click_is_not_sent_again_by_itself(server: Server, visits: Visits, at: str) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    await page.expect_live("5")
    intent = f"JSON.stringify({{ key: 'of yesterday', subject: null, at: {at} }})"
    await page.page.evaluate(f"localStorage.setItem('dropzero.intent.{product_id}', {intent})")

    await page.page.reload()

    await expect(page.verdict).to_have_text(english("answer_unanswered"))
    assert await orders_of(server, product_id) == []
    await page.buy()
    await page.expect_confirmed()
    assert len(await orders_of(server, product_id)) == 1
