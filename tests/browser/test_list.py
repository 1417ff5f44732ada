"""The list of drops while it is open: what is new, what is no more, and what stays where it is."""

import pytest
from playwright.async_api import Locator, Page, WebSocketRoute, expect

from tests.browser.drop_page import english, stop_clock
from tests.browser.visits import Visits
from tests.server import ADMIN_TOKEN, Server

pytestmark = pytest.mark.browser

UPDATE = "mutation ($input: UpdateProductInput!) { updateProduct(input: $input) { id } }"
ARCHIVE = "mutation ($id: ID!) { archiveProduct(productId: $id) { id } }"
SHIFTS = """
() => new Promise((done) => {
  let sum = 0;
  new PerformanceObserver((list) => {
    for (const { value } of list.getEntries()) sum += value;
  }).observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => requestAnimationFrame(() => done(sum)));
})
"""


def card(page: Page, name: str = "Tee") -> Locator:
    return page.locator(".card").filter(has=page.get_by_role("link", name=name, exact=True))


async def live(page: Page) -> None:
    await expect(page.locator("#connection")).to_have_text(english("live"))


async def test_a_new_drop_waits_until_the_reader_wants_to_see_it(server: Server, visits: Visits) -> None:
    await server.create_product(stock=5)
    page = (await visits.open("/")).page
    await live(page)
    before = await card(page).bounding_box()
    button = page.locator("#new-drops")

    cap = await server.create_product(name="Cap", dropName="Heads", stock=7)

    await expect(button).to_have_text(english("new_drops", 1))
    await expect(page.locator("#announcer")).to_contain_text(english("new_drops", 1))
    await expect(card(page, "Cap")).to_have_count(0)
    assert await card(page).bounding_box() == before
    await button.click()
    await expect(card(page, "Cap").locator(".units")).to_have_text("7")
    await expect(button).to_be_hidden()
    await expect(page.locator("#drops")).to_be_focused()
    await server.purchase(cap, quantity=3)
    await expect(card(page, "Cap").locator(".units")).to_have_text("4")


async def test_a_card_shows_what_an_operator_changes_in_its_place(server: Server, visits: Visits) -> None:
    tee = await server.create_product(stock=5)
    cap = await server.create_product(name="Cap", stock=5)
    page = (await visits.open("/")).page
    await live(page)
    await card(page).get_by_role("link").focus()

    change = {"productId": tee, "revision": 0, "name": "Aurora Tee", "price": {"amount": "48", "currency": "EUR"}}
    await server.data(UPDATE, {"input": change}, token=ADMIN_TOKEN)
    await expect(card(page, "Aurora Tee").locator("strong")).to_have_text("€48.00")
    await expect(card(page, "Aurora Tee").get_by_role("link")).to_be_focused()
    await server.purchase(tee)
    await expect(card(page, "Aurora Tee").locator(".units")).to_have_text("4")

    await server.data(ARCHIVE, {"id": cap}, token=ADMIN_TOKEN)
    await expect(card(page, "Cap").locator(".state")).to_have_text(english("closed"))


async def test_a_lost_connection_does_not_hide_when_a_drop_opens(server: Server, visits: Visits) -> None:
    await server.create_product(opensAt="2999-01-01T00:00:00Z", stock=5)
    visit = await visits.blank(alone=True)
    page = visit.page
    sockets: list[WebSocketRoute] = []

    def connect(socket: WebSocketRoute) -> None:
        sockets.append(socket)
        socket.connect_to_server()

    await page.route_web_socket("**/graphql", connect)
    await stop_clock(page)
    await visit.goto("/")
    await live(page)
    state = await card(page).locator(".state").inner_text()
    assert "2999" in state

    for socket in sockets:
        await socket.close(code=1012)

    await expect(page.locator("#connection")).to_have_text(english("reconnecting"))
    await expect(card(page).locator(".state")).to_have_text(state)


async def test_a_list_that_is_longer_than_the_screen_does_not_move_when_it_is_loaded(
    server: Server, visits: Visits
) -> None:
    for number in range(9):
        await server.create_product(name=f"Tee {number}", stock=1_000 + number, opensAt="2999-01-01T00:00:00Z")
    visit = await visits.blank()
    for width in (1280, 390):
        await visit.page.set_viewport_size({"width": width, "height": 800})
        await visit.goto("/")
        await live(visit.page)
        assert await visit.page.evaluate(SHIFTS) == 0
