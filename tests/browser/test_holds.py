"""Holds in the storefront: their clock, the demo of a payment, letting them go, and what becomes of them elsewhere."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Unpack

import asyncpg
import pytest
from playwright.async_api import Page, Request, Route, expect

from api.settings import Settings
from api.storefront.pages import read_messages
from tests.browser.drop_page import DropPage, english, nothing_moves, open_drop, orders_of
from tests.browser.test_appearance import NARROW, TOO_WIDE, violations
from tests.browser.visits import Look, Tabs, Visit, Visits, packaged, visiting
from tests.patience import until
from tests.server import ADMIN_TOKEN, Server, serving

pytestmark = pytest.mark.browser

CLOCK = re.compile(r"^00:0[0-9]:[0-5][0-9]$")
SHORTEST = 2000
"""Milliseconds between two readings of a hold; as in hold.js."""

NOTE_READINGS = """
() => {
  window.readings = [];
  const send = window.fetch;
  window.fetch = (address, options) => {
    if (options.body.includes("query Mine(")) window.readings.push(performance.now());
    return send(address, options);
  };
}
"""
CONFIRM = 'mutation ($id: ID!) { confirmOrder(orderId: $id, paymentRef: "of the shop") { __typename } }'


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to the module's database."""
    connection = await asyncpg.connect(postgres_url)
    yield connection
    await connection.close()


async def hold_one(
    server: Server, visits: Visits, stock: int = 3, price: dict[str, str] | None = None, **look: Unpack[Look]
) -> tuple[Visit, DropPage, str]:
    """Open the page of a product with holds, and buy one unit. Returns the visit, its page and the product's id."""
    product_id = await server.create_product(stock=stock, holdSeconds=300, price=price)
    visit = await visits.open(f"/drop/{product_id}", **look)
    page = DropPage(visit.page)
    await page.buy()
    await expect(page.hold).to_have_count(1)
    return visit, page, product_id


async def let_time_pass(database: asyncpg.Connection, order_id: str) -> None:
    """Move the end of a hold into the past."""
    await database.execute("UPDATE orders SET held_until = now() - interval '1 s' WHERE id = $1", order_id)


async def only_order(server: Server, product_id: str) -> dict[str, str]:
    [order] = await orders_of(server, product_id)
    return order


async def pay_beside(visits: Visits, visit: Visit, order_id: str) -> Page:
    """Open the page of the demo in a second tab of the buyer's browser."""
    page = (await visits.open(f"/demo/pay/{order_id}", beside=visit)).page
    await expect(page.locator("#payment")).to_have_attribute("aria-busy", "false")
    return page


async def test_a_hold_shows_its_clock_and_reference_and_counts_for_the_limit(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=3, holdSeconds=300, limitPerBuyer=1)
    page = await open_drop(visits, product_id)
    await expect(page.page.locator("#hold-time")).to_have_text(english("hold_time", time="5 minutes"))

    await page.buy()

    await expect(page.verdict).to_have_text(english("answer_held"))
    order = await only_order(server, product_id)
    assert order["status"] == "HELD"
    await expect(page.held_number).to_have_text(order["reference"])
    await expect(page.announced.filter(has_text=order["reference"])).to_have_count(1)
    await expect(page.clock).to_have_text(CLOCK)
    first = await page.clock.inner_text()
    await expect(page.clock).not_to_have_text(first)  # it ticks
    await page.expect_button("limit_reached", enabled=False)
    await expect(page.orders).to_contain_text([english("held")])
    await expect(page.units).to_have_text("2")


async def test_a_hold_is_paid_in_the_demo_and_confirmed_without_a_reload(server: Server, visits: Visits) -> None:
    visit, page, product_id = await hold_one(server, visits, price={"amount": "48", "currency": "EUR"})
    order = await only_order(server, product_id)
    await expect(page.pay).to_have_attribute("href", f"/demo/pay/{order['id']}")
    payment = await pay_beside(visits, visit, order["id"])
    await expect(payment.locator("#reference")).to_have_text(order["reference"])
    await expect(payment.locator("#total")).to_have_text("€48.00")
    await expect(payment.locator("#clock")).to_have_text(CLOCK)
    await expect(payment.get_by_text(english("payment_demo"))).to_be_visible()

    await payment.locator("#pay").click()

    await expect(payment.locator("#answer .verdict")).to_have_text(english("answer_confirmed"))
    await page.page.bring_to_front()
    await page.expect_confirmed()
    await expect(page.detail).to_have_text(english("answer_paid"))
    await expect(page.hold).to_have_count(0)
    await expect(page.orders).to_contain_text([english("confirmed")])
    assert (await only_order(server, product_id))["status"] == "CONFIRMED"
    await expect(page.units).to_have_text("2")


async def test_a_payment_that_the_shop_confirms_itself_is_shown(server: Server, visits: Visits) -> None:
    visit, page, product_id = await hold_one(server, visits)
    order = await only_order(server, product_id)
    payment = await pay_beside(visits, visit, order["id"])
    await server.data(CONFIRM, {"id": order["id"]}, token=ADMIN_TOKEN)

    await payment.evaluate("dispatchEvent(new Event('online'))")
    await expect(payment.locator("#answer .verdict")).to_have_text(english("answer_confirmed"))
    await expect(payment.locator("#pay")).to_have_attribute("aria-disabled", "true")
    await page.page.bring_to_front()
    await page.expect_confirmed()


async def test_a_reload_and_another_tab_show_the_hold_of_the_server(server: Server, visits: Visits) -> None:
    visit, page, product_id = await hold_one(server, visits)
    order = await only_order(server, product_id)

    await page.page.reload()
    other = await open_drop(visits, product_id, beside=visit)

    for shown in (page, other):
        await expect(shown.held_number).to_have_text(order["reference"])
        await expect(shown.verdict).to_have_text(english("answer_held"))
        await expect(shown.clock).to_have_text(CLOCK)
    assert len(await orders_of(server, product_id)) == 1


async def test_a_hold_that_ends_while_nobody_looks_is_gone_after_the_reload(
    server: Server, visits: Visits, database: asyncpg.Connection
) -> None:
    _, page, product_id = await hold_one(server, visits)
    await page.page.goto(f"{server.url}/healthz")
    await let_time_pass(database, (await only_order(server, product_id))["id"])
    await until(lambda: _has_status(server, product_id, "LAPSED"))

    await page.page.goto(f"{server.url}/drop/{product_id}")

    await expect(page.verdict).to_have_text(english("answer_lapsed"))
    await expect(page.hold).to_have_count(0)


async def _has_status(server: Server, product_id: str, status: str) -> bool:
    return (await only_order(server, product_id))["status"] == status


async def test_a_hold_that_runs_out_is_checked_and_then_gone(
    server: Server, visits: Visits, database: asyncpg.Connection
) -> None:
    _, page, product_id = await hold_one(server, visits)
    order_id = (await only_order(server, product_id))["id"]
    await database.execute("UPDATE orders SET held_until = now() + interval '2 s' WHERE id = $1", order_id)
    await page.page.reload()  # so that the page knows the earlier end
    checked = page.page.locator(".hold .state", has_text=english("hold_checking"))
    lapsed = page.page.locator("#answer .verdict", has_text=english("answer_lapsed"))

    await expect(checked.or_(lapsed)).to_be_visible()
    await expect(lapsed).to_be_visible()

    await expect(page.hold).to_have_count(0)
    await expect(page.orders).to_contain_text([english("lapsed")])
    await expect(page.announced.filter(has_text=english("answer_lapsed"))).to_have_count(1)
    await expect(page.units).to_have_text("3")
    await page.expect_button("buy_another", enabled=True)


async def test_letting_go_returns_the_units_once(server: Server, visits: Visits) -> None:
    _, page, product_id = await hold_one(server, visits, stock=1)
    watching = await open_drop(visits, product_id)
    await watching.expect_live("0")

    await page.let_go.click()

    await expect(page.verdict).to_have_text(english("answer_released"))
    await expect(page.hold).to_have_count(0)
    await expect(page.page.locator("#answer")).to_be_focused()
    await watching.expect_live("1")
    assert (await only_order(server, product_id))["status"] == "CANCELLED"


async def test_letting_go_without_an_answer_claims_nothing_and_is_found_out(server: Server, visits: Visits) -> None:
    visit, page, product_id = await hold_one(server, visits)
    sent, cut = asyncio.Event(), asyncio.Event()
    requests: list[Request] = []

    async def lose_the_answer(route: Route) -> None:
        if not _lets_go(route.request):
            await (route.continue_() if cut.is_set() else route.abort())
            return
        requests.append(route.request)
        await route.fetch()  # the server has decided
        sent.set()
        await cut.wait()
        await route.abort()

    await page.page.route("**/graphql", lose_the_answer)
    await page.let_go.click()
    await sent.wait()
    await expect(page.let_go).to_have_text(english("letting_go"))
    await expect(page.let_go).to_have_attribute("aria-disabled", "true")
    await page.let_go.click(force=True)  # a second click sends nothing
    await expect(page.verdict).to_have_text(english("answer_held"))

    cut.set()

    await expect(page.verdict).to_have_text(english("answer_released"))
    assert len(requests) == 1
    assert (await only_order(server, product_id))["status"] == "CANCELLED"
    assert all("ERR_FAILED" in problem for problem in visit.problems)
    visit.problems.clear()


def _lets_go(request: Request) -> bool:
    return "mutation LetGo(" in (request.post_data or "")


async def test_of_two_holds_each_is_let_go_by_itself(server: Server, visits: Visits) -> None:
    _, page, product_id = await hold_one(server, visits)
    await page.expect_button("buy_another", enabled=True)
    await page.buy()
    await expect(page.hold).to_have_count(2)
    kept = await page.held_number.nth(1).inner_text()

    await page.let_go.first.click()

    await expect(page.hold).to_have_count(1)
    await expect(page.held_number).to_have_text(kept)
    await expect(page.verdict).to_have_text(english("answer_released"))
    assert {order["status"] for order in await orders_of(server, product_id)} == {"HELD", "CANCELLED"}


async def test_a_payment_that_comes_too_late_is_gone(
    server: Server, visits: Visits, database: asyncpg.Connection
) -> None:
    visit, _, product_id = await hold_one(server, visits, stock=1)
    order_id = (await only_order(server, product_id))["id"]
    payment = await pay_beside(visits, visit, order_id)
    await let_time_pass(database, order_id)
    await until(lambda: _has_status(server, product_id, "LAPSED"))
    await expect(payment.locator("#answer .detail")).to_have_text(english("payment_late"))
    assert (await server.purchase(product_id, "bob"))["__typename"] == "PurchaseHeld"

    await payment.locator("#pay").click()

    await expect(payment.locator("#answer .verdict")).to_have_text(english("payment_gone"))
    await expect(payment.locator("#pay")).to_have_attribute("aria-disabled", "true")


async def test_another_browser_can_neither_see_nor_pay_the_order(server: Server, visits: Visits) -> None:
    _, _, product_id = await hold_one(server, visits)
    order_id = (await only_order(server, product_id))["id"]
    stranger = await visits.open(f"/drop/{product_id}")
    await DropPage(stranger.page).buy()
    await expect(DropPage(stranger.page).hold).to_have_count(1)

    await stranger.goto(f"/demo/pay/{order_id}")

    await expect(stranger.page.locator("#notice")).to_have_text(english("payment_missing"))
    await expect(stranger.page.locator("#pay")).to_be_hidden()


async def test_where_there_is_no_demo_the_shop_takes_the_payment(settings: Settings, tabs: Tabs) -> None:
    async with serving(replace(settings, demo=False)) as server, visiting(tabs, server) as visits:
        _, page, _ = await hold_one(server, visits)
        await expect(page.pay).to_be_hidden()
        before, after = english("answer_held_shop", moment="|").split("|")
        await expect(page.detail).to_have_text(re.compile(f"^{re.escape(before)}.+{re.escape(after)}$"))
        async with server.session.get(f"{server.url}/demo/pay/00000000-0000-4000-8000-000000000000") as response:
            assert response.status == 404


async def test_a_hold_is_read_again_no_more_often_than_every_two_seconds(server: Server, visits: Visits) -> None:
    _, page, _ = await hold_one(server, visits)
    await page.page.evaluate(NOTE_READINGS)
    await page.page.evaluate("() => { setInterval(() => dispatchEvent(new Event('online')), 20); }")

    async def has_read_thrice() -> bool:
        return bool(await page.page.evaluate("window.readings.length >= 3"))

    await until(has_read_thrice)
    readings = await page.page.evaluate("window.readings")
    assert min(later - earlier for earlier, later in pairwise(readings)) >= SHORTEST - 5, "it begins some ms late"


@pytest.mark.parametrize("language", ["ar", "ja"])
async def test_a_hold_is_shown_in_other_scripts_on_a_narrow_screen(
    server: Server, visits: Visits, language: str
) -> None:
    messages = read_messages(language)
    visit, page, product_id = await hold_one(server, visits, language=language, width=NARROW)
    order = await only_order(server, product_id)
    await expect(page.verdict).to_have_text(messages["answer_held"])
    for place in (page.held_number, page.clock):
        assert await place.evaluate("(at) => getComputedStyle(at).direction") == "ltr"
    assert await page.page.evaluate(TOO_WIDE, NARROW) == []

    await visit.goto(f"/demo/pay/{order['id']}")
    await expect(page.page.locator("#pay")).to_have_text(messages["pay_in_demo"])
    assert await page.page.evaluate("document.documentElement.scrollWidth") == NARROW
    assert await page.page.evaluate(TOO_WIDE, NARROW) == []
    await page.page.locator("#pay").click()
    await expect(page.page.locator("#answer .verdict")).to_have_text(messages["answer_confirmed"])


@pytest.mark.parametrize(("dark", "language"), [(False, "en"), (True, "ar")], ids=["light", "dark"])
async def test_axe_finds_nothing_serious_about_a_hold_and_its_payment(
    server: Server, visits: Visits, packages: Path, dark: bool, language: str
) -> None:
    axe = packaged(packages / "axe-core-4.14.1.tgz", "axe.min.js").decode()
    visit, page, product_id = await hold_one(server, visits, dark=dark, language=language, still=True)
    await expect(page.page.locator("#buy[aria-disabled=false]")).to_be_visible()
    assert await violations(page.page, axe) == []
    await visit.goto(f"/demo/pay/{(await only_order(server, product_id))['id']}")
    await expect(page.page.locator("#pay[aria-disabled=false]")).to_be_visible()
    assert await violations(page.page, axe) == []


async def test_the_answer_of_a_hold_moves_nothing_but_the_orders_below_it(server: Server, visits: Visits) -> None:
    page = await open_drop(visits, await server.create_product(stock=10, holdSeconds=300))
    await page.expect_live("10")

    async with nothing_moves(page):
        await expect(page.hold).to_have_count(1)
        await expect(page.orders).to_have_count(1)
