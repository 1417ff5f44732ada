"""What the pages look like and how they are used: every language, width, scheme and way of reading."""

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from api.storefront.languages import LANGUAGES
from tests.browser.drop_page import DropPage, english, nothing_moves
from tests.browser.visits import Visits, packaged
from tests.patience import until
from tests.server import Server

pytestmark = pytest.mark.browser

PATHS = ("/", "/drop/{id}", "/architecture", "/none")
NARROW = 320
"""CSS pixels: WCAG 2.2, success criterion 1.4.10."""
MAX_CODE = 60_000
MAX_REQUESTS = 9

LAYOUT_SHIFTS = """
() => {
  window.shifts = [];
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      window.shifts.push(entry.sources.map(({ node }) => node?.nodeName + "." + node?.className + "#" + node?.id));
    }
  }).observe({ type: "layout-shift", buffered: false });
}
"""
INTERACTIVE_MARK = """
() => new Promise((done) => new PerformanceObserver((list) => {
  if (list.getEntriesByName("interactive").length > 0) done();
}).observe({ type: "mark", buffered: true }))
"""
TOO_WIDE = """
(screen) => [...document.querySelectorAll("main *")].filter((at) => {
  const { left, right, width } = at.getBoundingClientRect();
  const isText = at.matches("p, h1, h2, h3, li, th, td, dt, dd, button, legend, label, caption, strong, small");
  const cutOff = isText && at.clientWidth > 1 && at.scrollWidth > at.clientWidth + 1;
  return cutOff || (width > 1 && (left < -1 || right > screen + 1));
}).map((at) => at.outerHTML.slice(0, 80))
"""
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
AXE_RUN = """
async (tags) => {
  const { passes, violations } = await axe.run(document, { runOnly: tags, resultTypes: ["violations"] });
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const found = serious.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target} ${node.failureSummary}`));
  return { passed: passes.length, violations: found };
}
"""
"""Returns only the serious findings: sending a whole report takes longer than making it."""
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


async def ready(page: Page) -> None:
    """Wait until the page can be used. A page without anything to use is ready at once."""
    if await page.locator("#main :is(#drops, #drop, #race)").count():
        await page.evaluate(INTERACTIVE_MARK)


async def box(page: Page, selector: str) -> dict[str, float]:
    found = await page.locator(selector).first.bounding_box()
    assert found is not None
    return {"left": found["x"], "right": found["x"] + found["width"]}


async def test_arabic_is_the_mirror_image_of_english(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=77, limitPerBuyer=2)
    places: dict[str, dict[str, dict[str, float]]] = {}
    width = 0
    for language in ("en", "ar"):
        page = (await visits.open(f"/drop/{product_id}?lang={language}", width=1280)).page
        await ready(page)
        width = await page.evaluate("document.body.clientWidth")
        selectors = (".wordmark", ".languages", ".ticket", "#units", ".gallery", ".connection", ".back a")
        places[language] = {selector: await box(page, selector) for selector in selectors}
        places[language]["inside"] = await box(page, "#buy")

    for selector, english_place in places["en"].items():
        arabic = places["ar"][selector]
        if selector != ".languages":  # its text has another width, and it stands at the end of its line
            assert arabic["right"] == pytest.approx(width - english_place["left"], abs=1), selector
        if selector in (".ticket", ".gallery", ".languages", "inside"):
            assert arabic["left"] == pytest.approx(width - english_place["right"], abs=1), selector
    assert places["ar"][".wordmark"]["left"] > places["ar"][".languages"]["right"]
    assert places["ar"][".ticket"]["right"] < places["ar"][".gallery"]["left"]


async def test_ids_and_numbers_run_left_to_right_in_arabic(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=77)
    page = DropPage((await visits.open(f"/drop/{product_id}", language="ar")).page)
    await page.buy()
    await expect(page.order_number).not_to_be_empty()

    for place in (page.units, page.order_number, page.orders.locator("a"), page.countdown):
        assert await place.evaluate("(at) => getComputedStyle(at).direction") == "ltr"
    assert "\u2066" in await page.announced.first.inner_text()


@pytest.mark.parametrize("language", LANGUAGES)
async def test_nothing_is_wider_than_the_narrowest_screen(server: Server, visits: Visits, language: str) -> None:
    product_id = await server.create_product(stock=1_234_567, name="A rather long name of a product, for all that")
    visit = await visits.blank(width=NARROW)
    page = visit.page
    for path in PATHS[:3]:
        await visit.goto(f"{path.format(id=product_id)}?lang={language}")
        await ready(page)
        if path == "/architecture" and language in ("ar", "fr"):
            await page.get_by_role("button").last.click()
            await expect(page.locator("#sum dd").last).not_to_have_text("–")
        elif path == "/drop/{id}":
            await page.locator("#buy").click()
            await expect(page.locator("#answer .order bdi")).not_to_be_empty()
        assert await page.evaluate("document.documentElement.scrollWidth") == NARROW, path
        assert await page.evaluate(TOO_WIDE, NARROW) == [], path


@pytest.mark.parametrize(("dark", "language"), [(False, "en"), (True, "ar")], ids=["light", "dark"])
async def test_axe_finds_nothing_serious(
    server: Server, visits: Visits, packages: Path, dark: bool, language: str
) -> None:
    product_id = await server.create_product(stock=70)
    gone = await server.create_product(name="Gone", stock=0)
    later = await server.create_product(name="Later", opensAt="2999-01-01T00:00:00Z")
    axe = packaged(packages / "axe-core-4.14.1.tgz", "axe.min.js").decode()
    visit = await visits.blank(dark=dark, language=language, still=True)
    page = visit.page
    for path in (*PATHS, f"/drop/{gone}", f"/drop/{later}"):
        await visit.goto(path.format(id=product_id))
        await ready(page)
        # All parts of the page are checked at once. Sold-out drops show it as it is before a purchase.
        if path == "/drop/{id}":
            await page.locator("#buy").click()
            await expect(page.locator("#orders li")).to_have_count(1)
            await expect(page.locator("#buy[aria-disabled=false]")).to_be_visible()
        elif path == "/architecture":
            await page.get_by_role("button").last.click()
            await expect(page.locator("#sum dd").last).not_to_have_text("–")
        await page.locator(".languages summary").click()
        assert await violations(page, axe) == [], path
    visit.problems.clear()  # the 404 of /none


async def violations(page: Page, axe: str) -> list[str]:
    """Return the findings of axe that are serious or critical."""
    await page.evaluate(axe)
    report: dict[str, Any] = await page.evaluate(AXE_RUN, AXE_TAGS)
    assert report["passed"] > 10, "axe has run"
    found: list[str] = report["violations"]
    return found


async def test_the_keyboard_alone_is_enough_to_buy(server: Server, visits: Visits) -> None:
    await server.create_product(stock=5)
    page = (await visits.open("/")).page
    await ready(page)

    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name=english("skip"))).to_be_focused()
    await expect(page.get_by_role("link", name=english("skip"))).to_be_in_viewport()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Tee")
    drop = DropPage(page)
    await drop.expect_button("buy", enabled=True)
    for _ in range(20):
        if await drop.button.evaluate("(at) => at === document.activeElement"):
            break
        await page.keyboard.press("Tab")
    await expect(drop.button).to_be_focused()
    outline: str = await drop.button.evaluate("(at) => getComputedStyle(at).outlineStyle")
    assert outline == "solid"

    await page.keyboard.press("Space")

    await drop.expect_confirmed()
    await expect(drop.button).to_be_focused()
    await drop.expect_button("buy_another", enabled=True)


async def test_nothing_moves_when_numbers_change(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=1001)
    await server.create_product(name="Beside", stock=3)
    shop = (await visits.open("/")).page
    drop = (await visits.open(f"/drop/{product_id}")).page
    narrow = (await visits.open(f"/drop/{product_id}", width=NARROW)).page
    pages = (shop, drop, narrow)
    for page in pages:
        await expect(page.locator(".units", has_text="1,001")).to_be_visible()
        await expect(page.locator("#connection")).to_have_text(english("live"))
        await page.evaluate(TWO_FRAMES)
        await page.evaluate(LAYOUT_SHIFTS)

    for quantity, left in ((2, "999"), (900, "99"), (90, "9"), (9, "0")):
        await server.purchase(product_id, quantity=quantity)
        for page in pages:
            await expect(page.locator(".units", has_text=re.compile(f"^{left}$"))).to_be_visible()
            await page.evaluate(TWO_FRAMES)

    for page in pages:
        assert await page.evaluate("window.shifts") == []


async def test_the_answer_moves_nothing_but_the_orders_below_it(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=10)
    page = DropPage((await visits.open(f"/drop/{product_id}")).page)
    await page.expect_live("10")

    async with nothing_moves(page):
        await page.expect_confirmed()
        await expect(page.orders).to_have_count(1)


@pytest.mark.parametrize("path", PATHS[:3])
async def test_a_page_is_small_and_sends_few_requests(server: Server, visits: Visits, path: str) -> None:
    product_id = await server.create_product(stock=10)
    visit = await visits.blank(alone=True)  # with nothing in its cache
    page = visit.page
    session = await page.context.new_cdp_session(page)
    await session.send("Network.enable")
    requested: list[str] = []
    session.on("Network.requestWillBeSent", lambda sent: requested.append(sent["request"]["url"]))
    session.on("Network.webSocketCreated", lambda created: requested.append(created["url"]))

    await visit.goto(path.format(id=product_id))
    await ready(page)
    if path != "/architecture":
        await expect(page.locator("#connection")).to_have_text(english("live"))

    # The icon is loaded after everything else, and once for all pages.
    over_the_network = [url for url in requested if not url.startswith("data:") and not url.endswith("/icon.svg")]
    assert len(over_the_network) <= MAX_REQUESTS, over_the_network
    assert len(set(over_the_network)) == len(over_the_network), "nothing is requested twice"
    sizes = await page.evaluate("performance.getEntriesByType('resource').map((at) => [at.name, at.decodedBodySize])")
    code = sum(size for name, size in sizes if "/static/" in name)
    assert 0 < code < MAX_CODE


@pytest.mark.parametrize("path", PATHS[:3])
async def test_a_page_is_interactive_after_its_files_and_one_operation(
    server: Server, visits: Visits, path: str
) -> None:
    address = path.format(id=await server.create_product(stock=10))
    async with server.session.get(f"{server.url}{address}") as response:
        named = set(re.findall(r'(?:href|src)="(/static/[^"]+)"', await response.text()))
    visit = await visits.blank()
    held: list[Route] = []

    async def hold(route: Route) -> None:
        held.append(route)

    await visit.page.route(re.compile(r"/static/|/graphql$"), hold)

    async def release(expected: set[str]) -> None:
        """Answer these requests. The page must send all of them before any is answered."""
        await until(lambda: {route.request.url.removeprefix(server.url) for route in held} >= expected)
        assert {route.request.url.removeprefix(server.url) for route in held} == expected
        released, held[:] = held[:], []
        for route in released:
            await route.continue_()

    await visit.page.goto(f"{server.url}{address}", wait_until="commit")
    await release(named)
    if path == "/":  # the page of a drop has all that it needs
        await release({"/graphql"})
    await ready(visit.page)
    await visit.page.unroute_all()
    for route in held:
        await route.continue_()


async def test_buttons_have_an_edge_in_forced_colours(server: Server, visits: Visits) -> None:
    page = (await visits.open(f"/drop/{await server.create_product(stock=10)}")).page
    await page.emulate_media(forced_colors="active")

    edge = await page.locator("#buy").evaluate(
        "(at) => [getComputedStyle(at).borderTopWidth, "
        "getComputedStyle(at).borderTopColor !== getComputedStyle(at).backgroundColor]"
    )

    assert edge == ["2px", True]


async def test_nothing_is_animated_for_readers_who_prefer_no_motion(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=10)
    moving, still = [DropPage((await visits.open(f"/drop/{product_id}", still=still)).page) for still in (False, True)]
    for page, some in ((moving, True), (still, False)):
        await page.expect_live("10")
        running = await page.page.evaluate("document.getAnimations().filter((at) => at.animationName).length")
        assert (running > 0) is some
