"""The opening of a drop on its page: a countdown by the database's clock, and the click just before it."""

import re
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from playwright.async_api import Route, WebSocketRoute, expect

from api.database.pool import Pool
from tests.browser.drop_page import DropPage, english, open_drop, orders_of, stop_clock
from tests.browser.test_appearance import LAYOUT_SHIFTS, TWO_FRAMES
from tests.browser.visits import Visits
from tests.server import Server

pytestmark = pytest.mark.browser


async def fulfil_at(moment: str, route: Route) -> None:
    """Answer as the server does, with this moment as the database's time."""
    response = await route.fetch()
    answer = await response.json()
    if "now" in answer["data"]:
        answer["data"]["now"] = moment
    await route.fulfill(response=response, json=answer)


async def test_the_button_waits_for_the_countdown_and_opens_by_itself(
    server: Server, visits: Visits, behind: Pool
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


async def test_a_click_just_before_the_opening_is_sent_again_after_it(
    server: Server, visits: Visits, behind: Pool
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


async def test_the_countdown_is_right_again_after_the_machine_slept(server: Server, visits: Visits) -> None:
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


async def test_nothing_moves_while_the_page_becomes_live_nor_at_the_opening(server: Server, visits: Visits) -> None:
    opening = datetime.now(UTC) + timedelta(seconds=4)
    soon = await server.create_product(stock=5, opensAt=opening.isoformat(), limitPerBuyer=3)
    over = await server.create_product(stock=5, closesAt=opening.isoformat())
    visit = await visits.blank(alone=True, width=390)
    await visit.page.add_init_script(f"({LAYOUT_SHIFTS.strip()})()")
    page = DropPage(visit.page)
    for product_id, key in ((soon, "buy"), (over, "closed")):
        await visit.goto(f"/drop/{product_id}")
        await page.expect_live("5")
        await page.expect_button(key, enabled=key == "buy")
        await visit.page.evaluate(TWO_FRAMES)
        assert await visit.page.evaluate("window.shifts") == []


async def test_a_far_opening_is_counted_in_days(server: Server, visits: Visits) -> None:
    then = (datetime.now(UTC) + timedelta(days=3, hours=1)).isoformat()
    page = await open_drop(visits, await server.create_product(stock=5, opensAt=then))

    await expect(page.page.locator("#opening")).to_have_text("Opens in 3 days")
    await expect(page.page.locator("#opens")).to_contain_text("Opens ")
    await expect(page.page.locator("#label")).to_have_text(english("units_to_sell"))
    await expect(page.detail).to_have_text(english("answer_before"))
