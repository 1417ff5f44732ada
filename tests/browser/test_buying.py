"""Buying from the page: one click, one purchase, one answer, whatever happens on the way."""

import asyncio
import json
import re
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Unpack

import pytest
from playwright.async_api import Request, Route, WebSocketRoute, expect

from api.database.pool import Pool
from api.settings import Settings
from api.storefront.languages import LANGUAGES
from api.storefront.pages import read_messages
from tests.browser.drop_page import DropPage, english, orders_of, stop_clock
from tests.browser.visits import Look, Tabs, Visit, Visits, visiting
from tests.server import Server, serving

pytestmark = pytest.mark.browser

REST = 1000
"""Milliseconds after an answer until the next click counts; as in drop.js."""


async def open_drop(visits: Visits, product_id: str, *, beside: Visit | None = None, **look: Unpack[Look]) -> DropPage:
    return DropPage((await visits.open(f"/drop/{product_id}", beside=beside, **look)).page)


def is_purchase(request: Request) -> bool:
    return "mutation" in (request.post_data or "")


def key_of(request: Request) -> str:
    key: str = json.loads(request.post_data or "")["variables"]["input"]["idempotencyKey"]
    return key


async def fulfil_at(moment: str, route: Route) -> None:
    """Answer as the server does, with a database whose clock shows this moment."""
    response = await route.fetch()
    answer = await response.json()
    if "now" in answer["data"]:
        answer["data"]["now"] = moment
    await route.fulfill(response=response, json=answer)


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
    await expect(page.order_number).to_have_text(order["id"])
    await expect(page.announced.filter(has_text=order["id"])).to_have_count(1)
    await expect(page.orders).to_have_count(1)
    two_left = messages["answer_left"].get("two", messages["answer_left"]["other"])
    await expect(page.detail).to_have_text(two_left.format(count=2))


async def test_one_buys_and_the_other_pages_counter_falls_by_itself(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=3)
    ada = await open_drop(visits, product_id)
    drop, shop = await visits.open(f"/drop/{product_id}", dark=True), await visits.open("/")
    bob, card = DropPage(drop.page), shop.page.locator(".card.live .units")
    for page in (ada, bob):
        await page.expect_live("3")
    await expect(card).to_have_text("3")
    for watching in (drop, shop):
        watching.asked.clear()

    await ada.buy()
    await ada.expect_confirmed()

    await expect(bob.units).to_have_text("2")
    await expect(card).to_have_text("2")
    await expect(bob.verdict).to_be_empty()
    assert drop.asked + shop.asked == [], "the stock is sent to them, not asked for"


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


class TestExactlyOnce:
    async def test_a_double_click_buys_one(self, server: Server, visits: Visits) -> None:
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
        await page.button.click(force=True)  # the second click of somebody slow
        await visit.page.clock.run_for(1)
        await page.expect_button("buy_another", enabled=True)
        assert len(await orders_of(server, product_id)) == 1

    async def test_a_key_held_down_buys_one(self, server: Server, visits: Visits) -> None:
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

    async def test_each_further_click_buys_one_more_for_the_same_buyer(self, server: Server, visits: Visits) -> None:
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

    async def test_an_answer_that_was_cut_off_is_asked_for_again(self, server: Server, visits: Visits) -> None:
        product_id = await server.create_product(stock=5)
        visit = await visits.open(f"/drop/{product_id}")
        page = DropPage(visit.page)
        await page.expect_live("5")
        keys = []

        async def lose_the_answer(route: Route) -> None:
            keys.append(key_of(route.request))
            await route.fetch()  # the server has decided
            await route.abort()

        await page.page.route("**/graphql", lose_the_answer, times=2)
        await page.buy()

        await page.expect_confirmed()
        await expect(page.detail).to_have_text(english("answer_once"))
        [order] = await orders_of(server, product_id)
        await expect(page.order_number).to_have_text(order["id"])
        await page.expect_live("4")
        assert len(set(keys)) == 1
        assert all("ERR_FAILED" in problem for problem in visit.problems)
        visit.problems.clear()

    @pytest.mark.parametrize("way", ["reload", "back"])
    async def test_leaving_during_the_purchase_buys_one_and_shows_its_answer(
        self, server: Server, visits: Visits, way: str
    ) -> None:
        product_id = await server.create_product(stock=5)
        page = await open_drop(visits, product_id)
        await page.expect_live("5")
        decided = asyncio.Event()

        async def hold_the_answer(route: Route) -> None:
            await route.fetch()
            decided.set()

        await page.page.route("**/graphql", hold_the_answer, times=1)
        await page.buy()
        await decided.wait()
        if way == "reload":
            await page.page.reload()
        else:
            await page.page.goto(f"{server.url}/healthz")
            await page.page.go_back()

        await page.expect_confirmed()
        [order] = await orders_of(server, product_id)
        await expect(page.order_number).to_have_text(order["id"])

        await page.page.reload()  # the answer is still there, and nothing is bought again
        await expect(page.order_number).to_have_text(order["id"])
        await page.expect_button("buy_another", enabled=True)
        assert len(await orders_of(server, product_id)) == 1

    async def test_a_browser_that_keeps_nothing_more_buys_all_the_same(self, server: Server, visits: Visits) -> None:
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
        assert len(await orders_of(server, product_id)) == 2

    async def test_tabs_that_were_first_opened_at_once_buy_for_one_buyer(self, server: Server, visits: Visits) -> None:
        product_id = await server.create_product(stock=5)
        page = await open_drop(visits, product_id)
        await page.expect_live("5")
        await page.page.evaluate("localStorage.setItem('dropzero.buyer', 'the other tab made up')")

        await page.buy()
        await page.expect_confirmed()

        assert [order["userRef"] for order in await orders_of(server, product_id)] == ["the other tab made up"]

    async def test_whoever_comes_back_to_the_page_sees_what_was_bought_meanwhile(
        self, server: Server, visits: Visits
    ) -> None:
        product_id = await server.create_product(stock=5)
        tab = await visits.open(f"/drop/{product_id}")
        kept, other = DropPage(tab.page), await open_drop(visits, product_id, beside=tab)
        await kept.expect_live("5")
        await other.buy()
        await other.expect_confirmed()

        await kept.page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))")

        await expect(kept.orders).to_have_count(1)

    @pytest.mark.parametrize("at", ["0", "Date.now() + 86_400_000"], ids=["yesterday", "before a clock was set back"])
    async def test_a_click_of_long_ago_is_not_carried_out_without_asking(
        self, server: Server, visits: Visits, at: str
    ) -> None:
        product_id = await server.create_product(stock=5)
        page = await open_drop(visits, product_id)
        await page.expect_live("5")
        intent = f"JSON.stringify({{ key: 'of yesterday', at: {at} }})"
        await page.page.evaluate(f"localStorage.setItem('dropzero.intent.{product_id}', {intent})")

        await page.page.reload()

        await expect(page.verdict).to_have_text(english("answer_unanswered"))
        assert await orders_of(server, product_id) == []
        await page.buy()
        await page.expect_confirmed()
        assert len(await orders_of(server, product_id)) == 1


class TestAnswers:
    async def test_busy_is_tried_again_for_the_buyer_under_the_same_key(self, server: Server, visits: Visits) -> None:
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

    async def test_whoever_holds_the_limit_is_told_so(self, server: Server, visits: Visits) -> None:
        product_id = await server.create_product(stock=5, limitPerBuyer=1)
        first_tab = await visits.open(f"/drop/{product_id}")
        first, second = DropPage(first_tab.page), await open_drop(visits, product_id, beside=first_tab)
        await second.expect_button("buy", enabled=True)
        await first.buy()
        await first.expect_confirmed()
        await first.expect_button("limit_reached", enabled=False)

        await second.buy()  # which does not know yet

        await expect(second.verdict).to_have_text(english("limit_reached"))
        await expect(second.detail).to_have_text(english("answer_limit", 1, held=1))
        await second.expect_button("limit_reached", enabled=False)

    async def test_the_button_waits_for_the_countdown_and_opens_by_itself(
        self, server: Server, visits: Visits, behind: Pool
    ) -> None:
        opening = datetime.now(UTC) + timedelta(hours=1)
        product_id = await server.create_product(stock=5, opensAt=opening.isoformat())
        visit = await visits.blank(alone=True)
        page, clock = DropPage(visit.page), visit.page.clock
        await stop_clock(visit.page)
        await visit.page.route("**/graphql", partial(fulfil_at, (opening - timedelta(seconds=5)).isoformat()))
        await visit.goto(f"/drop/{product_id}")

        await page.expect_button("not_open_yet", enabled=False)
        for milliseconds, shown in ((0, "00:00:05"), (1100, "00:00:04"), (3000, "00:00:01")):
            await clock.run_for(milliseconds)
            await expect(page.countdown).to_have_text(shown)
        await page.expect_button("not_open_yet", enabled=False)
        await clock.run_for(1000)

        await page.expect_button("buy", enabled=True)
        await expect(page.countdown).to_be_empty()
        await behind.execute("UPDATE products SET opens_at = now()")
        await page.buy()
        await page.expect_confirmed()

    async def test_a_click_before_the_database_opens_is_sent_again_when_it_has(
        self, server: Server, visits: Visits, behind: Pool
    ) -> None:
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        product_id = await server.create_product(stock=5, opensAt=later)
        visit = await visits.blank()
        await visit.page.route("**/graphql", partial(fulfil_at, "2990-01-01T00:00:00+00:00"))
        await visit.goto(f"/drop/{product_id}")
        page = DropPage(visit.page)
        await page.buy()
        await expect(page.verdict).to_have_text(english("answer_opening"))
        await page.expect_button("buying", enabled=False)

        await behind.execute("UPDATE products SET opens_at = now()")

        await page.expect_confirmed()
        assert len(await orders_of(server, product_id)) == 1

    async def test_a_machine_that_slept_counts_down_by_the_databases_clock_again(
        self, server: Server, visits: Visits
    ) -> None:
        then = (datetime.now(UTC) + timedelta(hours=2, minutes=30)).isoformat()
        product_id = await server.create_product(stock=5, opensAt=then)
        visit = await visits.blank(alone=True)
        sockets: list[WebSocketRoute] = []

        def connect(socket: WebSocketRoute) -> None:
            sockets.append(socket)
            socket.connect_to_server()

        await visit.page.route_web_socket("**/graphql", connect)
        await visit.goto(f"/drop/{product_id}")
        page = DropPage(visit.page)
        await page.expect_live("5")
        await expect(page.countdown).to_have_text(re.compile("^02:"))

        await page.page.evaluate("""() => {
            const before = performance.now.bind(performance);
            performance.now = () => before() - 3_600_000;  // it stands still while the machine sleeps
        }""")
        await expect(page.countdown).to_have_text(re.compile("^03:"))
        await sockets[-1].close(code=1001)

        await expect(page.countdown).to_have_text(re.compile("^02:"))

    async def test_a_far_opening_is_counted_in_days(self, server: Server, visits: Visits) -> None:
        then = (datetime.now(UTC) + timedelta(days=3, hours=1)).isoformat()
        page = await open_drop(visits, await server.create_product(stock=5, opensAt=then))

        await expect(page.page.locator("#opening")).to_have_text("Opens in 3 days")
        await expect(page.page.locator("#opens")).to_contain_text("Opens ")

    async def test_a_drop_that_does_not_exist_is_said_so(self, visits: Visits) -> None:
        visit = await visits.open("/drop/00000000-0000-4000-8000-000000000000")
        await expect(visit.page.get_by_text(english("no_such_drop"))).to_be_visible()


class TestOutage:
    async def test_a_server_that_stops_and_starts_loses_no_click(self, settings: Settings, tabs: Tabs) -> None:
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
                await stack.aclose()  # the visits, while there is a server
