"""The page of one drop, as a buyer sees it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

from playwright.async_api import Page, Request, Route, expect

from api.storefront.pages import read_messages
from tests.browser.visits import Look, Visit, Visits
from tests.server import ADMIN_TOKEN, Server

ORDERS = "query ($id: ID) { orders(productId: $id) { edges { node { id reference userRef quantity status } } } }"


class DropPage:
    """The parts of the page that a buyer sees and presses."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.units = page.locator("#units")
        self.button = page.locator("#buy")
        self.connection = page.locator("#connection")
        self.verdict = page.locator("#answer .verdict")
        self.detail = page.locator("#answer .detail")
        self.order_number = page.locator("#answer .won .order bdi")
        self.hold = page.locator(".hold")
        self.held_number = page.locator(".hold .order bdi")
        self.clock = page.locator(".hold [role=timer]")
        self.pay = page.locator(".hold a")
        self.let_go = page.locator(".hold button")
        self.countdown = page.locator("#countdown")
        self.announced = page.locator("#announcer p")
        self.orders = page.locator("#orders li")

    async def buy(self) -> None:
        await self.button.click()

    async def expect_live(self, units: str) -> None:
        await expect(self.connection).to_have_text(english("live"))
        await expect(self.units).to_have_text(units)

    async def expect_confirmed(self) -> None:
        await expect(self.verdict).to_have_text(english("answer_confirmed"))

    async def expect_button(self, key: str, *, enabled: bool) -> None:
        await expect(self.button).to_have_text(english(key))
        await expect(self.button).to_have_attribute("aria-disabled", "false" if enabled else "true")


async def open_drop(visits: Visits, product_id: str, *, beside: Visit | None = None, **look: Unpack[Look]) -> DropPage:
    return DropPage((await visits.open(f"/drop/{product_id}", beside=beside, **look)).page)


def is_purchase(request: Request) -> bool:
    return "mutation Buy(" in (request.post_data or "")


def makes_a_guest(request: Request) -> bool:
    return "mutation BecomeGuest" in (request.post_data or "")


def key_of(request: Request) -> str:
    key: str = json.loads(request.post_data or "")["variables"]["input"]["idempotencyKey"]
    return key


async def stop_clock(page: Page) -> None:
    """Stop the clock of a page that is still empty. Its timers wait until the test runs the clock."""
    await page.clock.install()
    await page.clock.pause_at(datetime.now(UTC) + timedelta(minutes=1))


def english(key: str, number: int = 2, **values: object) -> str:
    """Return an English text of the page, in the plural form for `number`."""
    message = read_messages("en")[key]
    forms = {"other": message} if isinstance(message, str) else message
    form: str = forms.get({0: "zero", 1: "one"}.get(number, "other"), forms["other"])
    return form.format(count=number, **values)


async def orders_of(server: Server, product_id: str) -> list[dict[str, Any]]:
    """Return all buyers' orders of a product."""
    found = await server.data(ORDERS, {"id": product_id}, token=ADMIN_TOKEN)
    return [edge["node"] for edge in found["orders"]["edges"]]


@asynccontextmanager
async def nothing_moves(page: DropPage) -> AsyncIterator[None]:
    """Buy, and check that the answer, which comes in the block, moves nothing: it has room from the click on."""
    released = asyncio.Event()

    async def wait(route: Route) -> None:
        if is_purchase(route.request):
            await released.wait()
        await route.continue_()

    await page.page.route("**/graphql", wait)
    button = await page.button.bounding_box()
    await page.buy()
    await page.expect_button("buying", enabled=False)
    before = {selector: await page.page.locator(selector).bounding_box() for selector in ("#buy", ".ticket", "footer")}
    assert before["#buy"] == button
    released.set()
    yield
    after = {selector: await page.page.locator(selector).bounding_box() for selector in before}
    assert after == before
