"""Screenshots of every page in every language, for people to look at: python -m tests.browser.screenshots DIRECTORY.

DIRECTORY/LANGUAGE/PAGE-SCHEME-WIDTH.png, of a server with drops in every state that a buyer meets.
"""

import asyncio
import re
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, Page, async_playwright, expect

from api.database.embedded import embedded_postgres
from api.database.endpoint import Endpoint
from api.database.migrations import load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.settings import read_settings
from api.storefront.languages import LANGUAGES
from tests.browser.visits import CHROMIUM_FLAGS, find_chromium
from tests.server import ADMIN_TOKEN, GUEST_KEY, Server, serving

Scheme = Literal["light", "dark"]
LOOKS: tuple[tuple[Scheme, int], ...] = (("light", 1280), ("dark", 1280), ("light", 320), ("dark", 390))
"""Colour schemes, and widths in CSS pixels."""


@dataclass(frozen=True)
class View:
    """A page, and what is done on it before its screenshot."""

    name: str
    path: str
    prepare: Callable[[Page], Awaitable[None]]


async def live(page: Page) -> None:
    await expect(page.locator(".connection.live, .drop.live").first).to_be_visible()


async def bought(page: Page) -> None:
    await live(page)
    await page.locator("#buy").click()
    await expect(page.locator("#orders li")).to_have_count(1)
    await expect(page.locator("#buy[aria-disabled=false]")).to_be_visible()


async def held(page: Page) -> None:
    """Buy a hold, unless an earlier view has."""
    await live(page)
    if await page.locator(".hold").count() == 0:
        await page.locator("#buy").click()
    await expect(page.locator(".hold")).to_have_count(1)


async def at_payment(page: Page) -> None:
    await held(page)
    await page.locator(".hold a").click()
    await expect(page.locator("#pay[aria-disabled=false]")).to_be_visible()


async def at_receipt(page: Page) -> None:
    """The receipt of the newest order, which an earlier view has placed."""
    await page.locator("a.receipt").first.click()
    await expect(page.locator("#print")).to_be_visible()


async def raced(page: Page) -> None:
    await page.locator("#race button[aria-disabled=false]").click()
    await expect(page.locator("#sum dd").last).not_to_have_text("–")


async def signed_in(page: Page) -> None:
    """Sign in as the operator, unless an earlier view has."""
    await page.evaluate(f"sessionStorage.setItem('dropzero.operator', '{ADMIN_TOKEN}')")
    await page.reload()
    await expect(page.locator("#signed-in")).to_be_visible()


async def run(page: Page) -> None:
    await signed_in(page)
    await live(page)
    await expect(page.locator(".levels").first).to_have_attribute("d", re.compile("M"))


async def nothing(page: Page) -> None:
    pass


async def stock_up(server: Server) -> list[View]:
    """Create drops in every state, and return the views of them."""
    soon = (datetime.now(UTC) + timedelta(hours=3, minutes=12)).isoformat()
    gone = await server.create_product(name="Night Runner 01", dropName="After Hours", stock=0)
    later = await server.create_product(
        name="Field Jacket", dropName="After Hours", stock=40, limitPerBuyer=1, opensAt=soon
    )
    holds = await server.create_product(
        name="Studio Tote", dropName="Second Light", stock=80, limitPerBuyer=2, holdSeconds=600
    )
    image = {"url": "/static/aurora-tee.svg", "alt": "White tee with the aurora", "width": 800, "height": 1000}
    tee = {
        "name": "Aurora Tee",
        "dropName": "First Light",
        "family": "Aurora Tee",
        "description": "Heavy cotton, printed by hand.\nWash it inside out, at 30 °C.",
        "images": [image],
        "price": {"amount": "48", "currency": "EUR"},
    }
    sizes = [
        await server.create_product(option=option, stock=stock, **tee)
        for option, stock in (("S", 0), ("M", 128), ("L", 40), ("XL", 25))
    ]
    open_ = sizes[1]
    await asyncio.gather(*(server.purchase(open_, f"buyer {number}") for number in range(28)))
    await server.create_product(name="Halo Lamp, brushed aluminium", dropName="Interiors", stock=1250)
    return [
        View("drops", "/", live),
        View("drops-of-one", "/?drop=after-hours", live),
        View("drop-bought", f"/drop/{open_}", bought),
        View("drop-soon", f"/drop/{later}", live),
        View("drop-sold-out", f"/drop/{gone}", live),
        View("drop-held", f"/drop/{holds}", held),
        View("payment", f"/drop/{holds}", at_payment),
        View("orders", "/orders", nothing),
        View("receipt", "/orders", at_receipt),
        View("architecture", "/architecture", raced),
        View("operator", "/operator", signed_in),
        View("operator-drop", f"/operator?product={open_}", run),
        View("missing", "/none", nothing),
    ]


async def take(browser: Browser, server: Server, views: list[View], directory: Path) -> None:
    for language in LANGUAGES:
        folder = directory / language
        folder.mkdir(parents=True, exist_ok=True)
        for scheme, width in LOOKS:
            context = await browser.new_context(
                color_scheme=scheme, locale=language, viewport={"width": width, "height": 800}, reduced_motion="reduce"
            )
            page = await context.new_page()
            for view in views:
                await page.goto(server.url + view.path)
                await view.prepare(page)
                await page.screenshot(path=folder / f"{view.name}-{scheme}-{width}.png", full_page=True)
            await context.close()


async def main(directory: Path, postgres_url: str) -> None:
    settings = read_settings({}).with_embedded(postgres_url, ADMIN_TOKEN)
    async with Pool(Endpoint("here", postgres_url), size=1) as pool:
        await migrate(pool, load_migrations(migrations_directory()))
    async with (
        serving(replace(settings, guest_keys=(GUEST_KEY,))) as server,
        async_playwright() as playwright,
    ):
        views = await stock_up(server)
        browser = await playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_FLAGS)
        await take(browser, server, views, directory)
        await browser.close()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("which directory? python -m tests.browser.screenshots DIRECTORY")
    with tempfile.TemporaryDirectory(prefix="dropzero-screenshots-") as data, embedded_postgres(Path(data)) as url:
        asyncio.run(main(Path(sys.argv[1]), url))
