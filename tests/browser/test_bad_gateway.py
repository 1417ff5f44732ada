"""A gateway that answers 502 for a while: every page shows what has come, throws nothing, and then works."""

import re
from collections import Counter

import pytest
from playwright.async_api import Route, expect

from api.storefront.pages import read_messages
from tests.browser.drop_page import DropPage, english, orders_of
from tests.browser.visits import Visit, Visits
from tests.server import Server

pytestmark = pytest.mark.browser

FAILURES = 2
"""How often each address is answered by 502 at first. Two, so that a retry fails as well."""

LONGEST_PAUSE = 20_000
"""Milliseconds between two attempts of a page; as in load_again.js."""

ATTEMPTS = 12


class Gateway:
    """Answers each address that matches by 502 `failures` times, and then lets the server answer."""

    def __init__(self, visit: Visit, failures: int = FAILURES) -> None:
        self._page = visit.page
        self._failures = failures
        self.refused: Counter[str] = Counter()
        self.thrown: list[str] = []
        visit.page.on("pageerror", lambda error: self.thrown.append(str(error)))

    async def refuse(self, addresses: str) -> None:
        await self._page.route(re.compile(addresses), self._answer)

    async def _answer(self, route: Route) -> None:
        address = route.request.url
        if route.request.is_navigation_request() or self.refused[address] == self._failures:
            await route.continue_()
            return
        self.refused[address] += 1
        await route.fulfill(status=502, content_type="text/html", body="<html><h1>502 Bad Gateway</h1></html>")


def forgive_refusals(visit: Visit, gateway: Gateway) -> None:
    """Check that only refusals were logged and nothing was thrown, and clear the log."""
    assert gateway.thrown == []
    assert [problem for problem in visit.problems if "502" not in problem] == []
    visit.problems.clear()


@pytest.mark.parametrize(
    "addresses",
    [
        "/locales/",
        "/static/drop.js",
        "/static/locale.js",
        "/static/api.js",
        "/static/storefront.css",
        "/static/",
        "/graphql$",
        "/static/|/graphql$|/locales/",
    ],
)
async def test_a_drop_is_bought_after_a_gateway_refused(server: Server, visits: Visits, addresses: str) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.blank(alone=True)  # with nothing in its cache
    gateway = Gateway(visit)
    await gateway.refuse(addresses)
    page = DropPage(visit.page)

    await visit.goto(f"/drop/{product_id}")
    await page.expect_live("5")
    await page.buy()

    await page.expect_confirmed()
    await expect(page.page.locator(".bar")).to_have_css("display", "flex")  # the styles have loaded
    assert len(await orders_of(server, product_id)) == 1
    if addresses != "/locales/":  # the page requests none of these
        assert set(gateway.refused.values()) == {FAILURES}
    forgive_refusals(visit, gateway)


@pytest.mark.parametrize("path", ["/", "/architecture"])
async def test_every_other_page_works_after_a_gateway_refused(server: Server, visits: Visits, path: str) -> None:
    await server.create_product(stock=5)
    visit = await visits.blank(alone=True)
    gateway = Gateway(visit)
    await gateway.refuse("/static/|/graphql$|/locales/")

    await visit.goto(path)

    if path == "/":
        await expect(visit.page.locator(".card.live .units")).to_have_text("5")
    else:
        start = visit.page.get_by_role("button", name=english("race_start"))
        await expect(start).to_have_attribute("aria-disabled", "false")
    forgive_refusals(visit, gateway)


async def test_a_page_stays_readable_and_quiet_while_a_gateway_refuses(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    visit = await visits.blank(alone=True)
    gateway = Gateway(visit, failures=1_000_000)
    await gateway.refuse("/static/.*js$")
    await visit.page.clock.install()

    await visit.goto(f"/drop/{product_id}?lang=ja")
    for _ in range(ATTEMPTS):
        await visit.page.clock.run_for(LONGEST_PAUSE)
        await visit.page.evaluate("fetch('/healthz')")  # its answer comes after those to the requests before it

    await expect(visit.page.locator("#buy")).to_have_text(read_messages("ja")["buy"])
    await expect(visit.page.locator("#buy")).to_have_attribute(
        "aria-disabled", "false"
    )  # the form works without script
    await visit.page.locator(".languages summary").click()
    await expect(visit.page.get_by_role("link", name="한국어")).to_be_visible()
    # One request by the page, at most six while the pauses grow, and then at most two in each longest pause.
    assert 2 <= max(gateway.refused.values()) <= 1 + 6 + 2 * ATTEMPTS
    forgive_refusals(visit, gateway)
