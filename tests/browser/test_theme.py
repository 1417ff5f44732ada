"""A shop's own look: its pages have its colours, fonts, logo and words, and nothing of them is blocked."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.async_api import expect

from api.shop.reading import read_shop
from tests.browser.visits import Tabs, visiting
from tests.images.pictures import PNG
from tests.server import Server, serving

pytestmark = pytest.mark.browser

SHOP = """
[theme]
name = "Northlight"
logo = "logo.png"
[theme.light]
accent = "#00594c"
[theme.fonts]
sans = "font.woff2"
[seller]
name = "Northlight OÜ"
address = "Pikk 1"
contact = "hello@northlight.example"
"""


async def test_pages_have_the_shops_look(server: Server, tabs: Tabs, tmp_path: Path) -> None:
    (tmp_path / "logo.png").write_bytes(PNG)
    (tmp_path / "font.woff2").write_bytes(b"wOF2")
    (tmp_path / "shop.toml").write_text(SHOP, encoding="utf-8")
    shop = read_shop(str(tmp_path / "shop.toml"))
    async with serving(replace(server.settings, shop=shop)) as themed, visiting(tabs, themed) as visits:
        async with (await visits.blank()).page.expect_request("**/shop/font.woff2") as font:  # once a text needs it
            visit = visits.made[0]
            await visit.goto("/")
        answer = await (await font.value).response()
        assert answer is not None
        assert answer.status == 200

        logo = visit.page.locator(".wordmark img")
        await expect(logo).to_have_js_property("naturalWidth", 3)
        await expect(visit.page).to_have_title(re.compile("Northlight"))
        await expect(visit.page.locator("footer")).to_contain_text("Northlight OÜ")
        accent = "getComputedStyle(document.documentElement).getPropertyValue('--accent')"
        assert "#00594c" in await visit.page.evaluate(accent)
