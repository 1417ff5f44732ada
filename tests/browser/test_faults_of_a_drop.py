"""The page of a drop when something is wrong: no network, no websockets, a machine that slept, a drop that is gone, a
browser without script."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.async_api import Browser, Route, WebSocketRoute, expect

from api.database.pool import Pool
from tests.browser.drop_page import DropPage, english, is_purchase, open_drop, orders_of
from tests.browser.visits import Visits
from tests.server import ADMIN_TOKEN, Server

pytestmark = pytest.mark.browser

RESTOCK = "mutation ($id: ID!) { restock(input: {productId: $id, delta: 5}) { stock } }"
SLEEP = """() => {
    const before = performance.now.bind(performance);
    performance.now = () => before() - 3_600_000;  // it stands still while the machine sleeps
}"""


async def test_an_offline_page_says_so_at_once_and_is_live_again_by_itself(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.blank(alone=True)
    await visit.goto(f"/drop/{product_id}")
    page = DropPage(visit.page)
    await page.expect_live("5")

    await visit.page.context.set_offline(True)
    await expect(page.connection).to_have_text(english("offline"))
    await expect(visit.page.locator(".drop.live")).to_have_count(0)
    await server.purchase(product_id)
    await visit.page.context.set_offline(False)

    await page.expect_live("4")
    await expect(page.announced).to_have_text([english("offline"), english("live")])
    visit.problems.clear()


async def test_without_websockets_the_stock_comes_over_an_event_stream(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.blank(alone=True)
    await visit.page.route_web_socket("**/graphql", lambda socket: socket.close(code=1006))
    await visit.goto(f"/drop/{product_id}")
    page = DropPage(visit.page)

    await page.expect_live("5")
    async with visit.page.expect_response(lambda response: "mutation Buy" in (response.request.post_data or "")):
        await page.buy()
    await page.expect_confirmed()
    await server.purchase(product_id)
    await page.expect_live("3")


async def test_where_nothing_stays_open_the_stock_is_read_again_and_again(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.blank(alone=True)

    async def cut_streams(route: Route) -> None:
        if "event-stream" in route.request.headers["accept"]:
            await route.abort()
        else:
            await route.continue_()

    await visit.page.route("**/graphql", cut_streams)
    await visit.page.route_web_socket("**/graphql", lambda socket: socket.close(code=1006))
    await visit.goto(f"/drop/{product_id}")
    page = DropPage(visit.page)

    await expect(page.connection).to_have_text(english("polled"))
    await server.purchase(product_id)
    await expect(page.units).to_have_text("4")
    await page.buy()
    await page.expect_confirmed()
    await expect(page.units).to_have_text("3")
    visit.problems.clear()


async def test_the_stock_after_an_own_purchase_is_shown_before_the_subscription_has_it(
    server: Server, visits: Visits
) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.blank(alone=True)
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        upstream = socket.connect_to_server()
        sockets.append(socket)
        upstream.on_message(lambda message: None if '"stock":4' in str(message) else socket.send(message))

    await visit.page.route_web_socket("**/graphql", connect)
    await visit.goto(f"/drop/{product_id}")
    page = DropPage(visit.page)
    await page.expect_live("5")

    await page.buy()

    await page.expect_confirmed()
    await expect(page.units).to_have_text("4")


@pytest.mark.parametrize("event", ["visibilitychange", "focus"])
async def test_a_page_that_is_seen_again_after_a_sleep_knows_the_time_at_once(
    server: Server, visits: Visits, event: str
) -> None:
    opening = datetime.now(UTC) + timedelta(hours=2, minutes=30)
    product_id = await server.create_product(stock=5, opensAt=opening.isoformat())
    visit = await visits.blank(alone=True)
    await visit.page.add_init_script("window.setInterval = () => 0")  # no ping, which would notice the sleep as well
    await visit.goto(f"/drop/{product_id}")
    page = DropPage(visit.page)
    await page.expect_live("5")
    await page.page.evaluate(SLEEP)
    await expect(page.countdown).to_have_text(re.compile("^03:"))

    target = "document" if event == "visibilitychange" else "window"
    await page.page.evaluate(f"{target}.dispatchEvent(new Event('{event}'))")

    await expect(page.countdown).to_have_text(re.compile("^02:"))


async def test_a_drop_that_is_gone_cannot_be_bought_any_more(server: Server, visits: Visits, behind: Pool) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.blank(alone=True)
    ends: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        ends[:] = [socket.connect_to_server(), socket]

    await visit.page.route_web_socket("**/graphql", connect)
    await visit.goto(f"/drop/{product_id}")
    page = DropPage(visit.page)
    await page.expect_live("5")
    for table, column in (("products", "id"), ("stock_shards", "product_id")):
        await behind.execute(f"DELETE FROM {table} WHERE {column} = $1", product_id)

    for end in ends:
        await end.close(code=3000)

    await page.expect_button("closed", enabled=False)
    await expect(page.detail).to_have_text(english("answer_refused_not_found"))
    await expect(page.connection).to_be_empty()
    await expect(page.announced.filter(has_text=english("answer_refused_not_found"))).not_to_have_count(0)


async def test_units_that_come_back_are_sold_again_on_the_open_page(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=1)
    page = await open_drop(visits, product_id)
    await page.expect_live("1")
    await server.purchase(product_id)
    await page.expect_button("sold_out", enabled=False)
    await expect(page.detail).to_have_text(english("answer_gone"))

    await server.data(RESTOCK, {"id": product_id}, token=ADMIN_TOKEN)

    await page.expect_button("buy", enabled=True)
    await expect(page.page.locator("#sold span")).to_have_text(english("gone_of", gone=1, stocked=6))


async def test_several_units_are_bought_at_once_up_to_the_limit(server: Server, visits: Visits) -> None:
    price = {"amount": "48.10", "currency": "EUR"}
    product_id = await server.create_product(stock=9, limitPerBuyer=3, price=price)
    page = await open_drop(visits, product_id)
    await expect(page.button).to_have_text(english("buy_for", price="€48.10"))
    more = page.page.get_by_role("button", name=english("more"))
    for total in ("€96.20", "€144.30"):
        await more.click()
        await expect(page.button).to_have_text(english("buy_for", price=total))
    await expect(more).to_be_disabled()

    await page.buy()

    await page.expect_confirmed()
    [order] = await orders_of(server, product_id)
    assert order["quantity"] == 3
    await page.expect_button("limit_reached", enabled=False)


async def test_another_page_of_the_family_shows_that_an_option_is_sold_out(server: Server, visits: Visits) -> None:
    small = await server.create_product(stock=5, family="Tee", option="S")
    medium = await server.create_product(stock=1, family="Tee", option="M")
    page = await open_drop(visits, small)
    await page.expect_live("5")
    option = page.page.get_by_role("navigation", name=english("options")).get_by_role("link", name="M")

    await server.purchase(medium)

    await expect(option).to_have_text(f"M, {english('sold_out')}")
    await expect(option).to_have_class("out")


async def test_the_bar_of_a_small_screen_buys_too(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5, name="A long name " * 10)
    visit = await visits.blank(width=320)
    await visit.page.set_viewport_size({"width": 320, "height": 480})
    await visit.goto(f"/drop/{product_id}")
    page = DropPage(visit.page)
    bar = visit.page.locator("#bar")
    await expect(bar).to_be_in_viewport(ratio=1)

    await bar.get_by_role("button").click()

    await page.expect_confirmed()
    await expect(page.verdict).to_be_in_viewport()
    assert len(await orders_of(server, product_id)) == 1


async def test_a_browser_without_script_buys_and_is_the_same_buyer_with_it(server: Server, browser: Browser) -> None:
    product_id = await server.create_product(stock=5, limitPerBuyer=2)
    context = await browser.new_context(java_script_enabled=False, locale="fr")
    page = await context.new_page()
    await page.goto(f"{server.url}/drop/{product_id}")
    await expect(page.locator("#units")).to_have_text("5")
    await page.locator("#buy").click()
    await expect(page).to_have_url(re.compile("/orders/"))
    scripted = await browser.new_context(storage_state=await context.storage_state())
    await context.close()

    drop = DropPage(await scripted.new_page())
    await drop.page.goto(f"{server.url}/drop/{product_id}")

    await expect(drop.orders).to_have_count(1)
    await drop.buy()
    await drop.expect_confirmed()
    await drop.expect_button("limit_reached", enabled=False)
    assert len({order["userRef"] for order in await orders_of(server, product_id)}) == 1
    await scripted.close()


async def test_a_long_purchase_shows_how_long_it_takes(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = await open_drop(visits, product_id)
    held: list[Route] = []

    async def hold(route: Route) -> None:
        if is_purchase(route.request):
            held.append(route)
        else:
            await route.continue_()

    await page.page.route("**/graphql", hold)
    await page.buy()

    await expect(page.detail).to_contain_text(english("seconds_so_far", 2))
    await held[0].continue_()
    await page.expect_confirmed()
