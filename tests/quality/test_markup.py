"""Every page is valid HTML for html-validate, and accessible for pa11y (WCAG 2 AA), in two languages."""

import json

import pytest

from tests.browser.visits import CHROMIUM_FLAGS
from tests.npm import Node
from tests.quality.conftest import Shop

pytestmark = [pytest.mark.npm, pytest.mark.browser]

PAGES = ("/", "/drop/{open}", "/drop/{gone}", "/drop/{later}", "/architecture", "/operator", "/none")
LANGUAGES = ("en", "ar")
"""One from left to right, and one from right to left."""


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the list's aria-label; regions of the operator's page that are no sections or have no name",
)
async def test_every_page_is_valid_and_accessible(shop: Shop, node: Node, chromium: str) -> None:
    launch = {"executablePath": chromium, "args": CHROMIUM_FLAGS}
    task = {"url": shop.server.url, "pages": [shop.address(page) for page in PAGES], "languages": LANGUAGES}

    seen = await node.run("markup.mjs", json.dumps(launch), json.dumps(task))

    found = [f"{at['path']} ({at['language']}): {problem}" for at in seen for problem in at["problems"]]
    assert not found, "\n".join(found)
    assert len(seen) == len(PAGES) * len(LANGUAGES) * 2, "both tools have looked at every page"
