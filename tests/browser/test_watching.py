"""Watching: live counters over one subscription, their marks when they are not live, and announcements."""

import json
from dataclasses import replace

import pytest
from playwright.async_api import Locator, Page, WebSocket, WebSocketRoute, expect

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.settings import Settings
from tests.browser.drop_page import DropPage, english, stop_clock
from tests.browser.visits import Tabs, Visits, visiting
from tests.faults import Faulty
from tests.server import Server, serving

pytestmark = pytest.mark.browser

FIRST_PAUSE = 500
"""Milliseconds within which a page tries to connect again; as in api.js."""


def card(page: Page, name: str = "Tee") -> Locator:
    return page.locator(".card").filter(has=page.get_by_role("link", name=name, exact=True))


async def test_all_counters_of_the_page_share_one_subscription(server: Server, visits: Visits) -> None:
    names = ["Tee", "Cap", "Tote"]
    ids = [await server.create_product(name=name, stock=stock) for name, stock in zip(names, (7, 5, 0), strict=True)]
    visit = await visits.blank(alone=True)
    page = visit.page
    sent: list[list[str]] = []

    def record(socket: WebSocket) -> None:
        frames: list[str] = []
        sent.append(frames)
        socket.on("framesent", lambda frame: frames.append(str(frame)))

    page.on("websocket", record)

    await visit.goto("/")

    for name, stock in zip(names, ("7", "5", "0"), strict=True):
        await expect(card(page, name).locator(".units")).to_have_text(stock)
    await expect(page.locator("#connection")).to_have_text(english("live"))
    await expect(card(page, "Tote").locator(".state")).to_have_text(english("sold_out"))
    await expect(page.locator(".card").last).to_contain_text("Tote")
    for product_id in ids[:2]:
        await server.purchase(product_id)
    await expect(card(page, "Tee").locator(".units")).to_have_text("6")
    await expect(card(page, "Cap").locator(".units")).to_have_text("4")
    subscribed = [frame for frames in sent for frame in map(json.loads, frames) if frame["type"] == "subscribe"]
    [subscription] = [frame for frame in subscribed if "stockChanged" in frame["payload"]["query"]]
    assert set(subscription["payload"]["variables"]["ids"]) == set(ids)


async def test_a_card_leads_to_its_drop(server: Server, visits: Visits) -> None:
    product_id = await server.create_product()
    page = (await visits.open("/")).page

    await card(page).get_by_role("link").click()

    await expect(page).to_have_url(f"{server.url}/drop/{product_id}")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Tee")
    await expect(page).to_have_title("Tee · DROPZERO")


async def test_a_lost_connection_is_marked_and_comes_back_by_itself(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.blank(alone=True)
    page = visit.page
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    await page.route_web_socket("**/graphql", connect)
    await stop_clock(page)
    for path, marks in (("/", (".card .state", "#connection")), (f"/drop/{product_id}", ("#connection",))):
        await visit.goto(path)
        await expect(page.locator("#connection")).to_have_text(english("live"))
        units = page.locator(".units")
        stock = await units.inner_text()

        opened, sockets[:] = sockets[:], []
        for socket in opened:
            await socket.close(code=1012)
        await expect(page.locator(marks[0])).to_have_text(english("last_known"))
        await expect(units).to_have_text(stock)
        await server.purchase(product_id)
        await page.clock.run_for(FIRST_PAUSE)

        await expect(page.locator("#connection")).to_have_text(english("live"))
        await expect(units).to_have_text(str(int(stock) - 1))
        assert len(sockets) == len(opened)
        sockets.clear()


async def test_other_drops_stay_live_when_one_is_deleted(server: Server, visits: Visits, behind: Pool) -> None:
    await server.create_product(name="Tee", stock=5)
    cap = await server.create_product(name="Cap", stock=5)
    visit = await visits.blank(alone=True)
    page = visit.page
    ends: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        ends.extend((socket.connect_to_server(), socket))

    await page.route_web_socket("**/graphql", connect)
    await visit.goto("/")
    await expect(page.locator(".card.live")).to_have_count(2)

    for statement in ("DELETE FROM products WHERE id = $1", "DELETE FROM stock_shards WHERE product_id = $1"):
        await behind.execute(statement, cap)
    opened, ends[:] = ends[:], []
    for end in opened:
        await end.close(code=3000)

    await expect(card(page, "Cap").locator(".state")).to_have_text(english("closed"))
    await expect(page.locator("#connection")).to_have_text(english("live"))
    await expect(card(page, "Tee").locator(".state")).to_have_text(english("open_now"))


async def test_milestones_are_announced_and_other_changes_are_not(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=12)
    page = DropPage((await visits.open(f"/drop/{product_id}")).page)
    await page.expect_live("12")

    await server.purchase(product_id)
    await expect(page.units).to_have_text("11")
    await expect(page.announced).to_have_count(0)

    await server.purchase(product_id)
    await expect(page.announced).to_have_text(english("announce_left", 10, name="Tee"))
    await server.purchase(product_id)
    await expect(page.units).to_have_text("9")
    await expect(page.announced).to_have_count(1)

    await server.purchase(product_id, quantity=9)
    await expect(page.announced.last).to_have_text(english("announce_sold_out", name="Tee"))
    assert await page.page.locator("[aria-live], [role=status], [role=alert], output").count() == 1


async def test_without_a_drop_the_page_says_so_and_shows_the_first_one(server: Server, visits: Visits) -> None:
    page = (await visits.open("/")).page
    await expect(page.get_by_text(english("no_drops"))).to_be_visible()

    await server.create_product(stock=7)

    await expect(card(page).locator(".units")).to_have_text("7")
    await expect(page.get_by_text(english("no_drops"))).to_be_hidden()


async def test_names_are_shown_as_they_are_and_never_run(server: Server, visits: Visits) -> None:
    name = "<img src=x onerror=alert(1)></h2><script>alert(2)</script>"
    product_id = await server.create_product(name=name, dropName="<b>&amp;")
    page = (await visits.open("/")).page

    await expect(card(page, name)).to_be_visible()
    await expect(card(page, name).locator(".eyebrow")).to_have_text("<b>&amp;")
    await page.goto(f"{server.url}/drop/{product_id}")
    await expect(page.get_by_role("heading", level=1)).to_have_text(name)


async def test_a_chosen_language_is_kept_and_a_link_does_not_change_it(server: Server, visits: Visits) -> None:
    page = (await visits.open("/", language="ja")).page
    await expect(page.locator("html")).to_have_attribute("lang", "ja")

    await page.locator(".languages summary").click()
    await page.get_by_role("link", name="한국어").click()
    await expect(page.locator("html")).to_have_attribute("lang", "ko")
    await expect(page).to_have_url(f"{server.url}/")

    await page.goto(f"{server.url}/architecture?lang=ar")
    await expect(page.locator("html")).to_have_attribute("dir", "rtl")
    await page.get_by_role("navigation").get_by_role("link").first.click()
    await expect(page.locator("html")).to_have_attribute("lang", "ko")


async def test_a_language_that_no_cookie_keeps_is_carried_by_the_links(server: Server, visits: Visits) -> None:
    product_id = await server.create_product()
    page = (await visits.open("/architecture")).page
    await page.evaluate("Object.defineProperty(document, 'cookie', { get: () => '', set() {} })")

    await page.locator(".languages summary").click()
    await page.get_by_role("link", name="한국어").click()

    await expect(page.locator("html")).to_have_attribute("lang", "ko")
    await page.locator(".wordmark").click()
    await page.locator(".card a").click()
    await expect(page).to_have_url(f"{server.url}/drop/{product_id}?lang=ko")
    await expect(page.locator("html")).to_have_attribute("lang", "ko")


async def test_a_database_that_is_away_leaves_the_last_known_number(
    settings: Settings, faulty: Faulty, tabs: Tabs
) -> None:
    endpoints = tuple(Endpoint(endpoint.region, faulty.url) for endpoint in settings.endpoints)
    async with (
        serving(replace(settings, endpoints=endpoints)) as server,
        visiting(tabs, server) as visits,
    ):
        page = DropPage((await visits.open(f"/drop/{await server.create_product(stock=5)}")).page)
        await page.expect_live("5")

        shop = (await visits.open("/")).page
        await expect(shop.locator("#connection")).to_have_text(english("live"))

        faulty.down()
        await expect(page.connection).to_have_text(english("last_known"))
        await expect(page.units).to_have_text("5")
        await expect(card(shop).locator(".state")).to_have_text(english("last_known"))
        await expect(shop.locator("#connection")).to_have_text(english("reconnecting"))

        await faulty.up()
        await page.expect_live("5")
        await expect(shop.locator("#connection")).to_have_text(english("live"))
        await expect(card(shop).locator(".state")).to_have_text(english("open_now"))
