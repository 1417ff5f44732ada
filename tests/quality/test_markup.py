"""Every page is valid HTML for html-validate, and accessible for pa11y (WCAG 2 AA), in two languages."""

import json

import pytest

from tests.npm import Node
from tests.quality.conftest import Visited

pytestmark = [pytest.mark.npm, pytest.mark.browser]

PAGES = (
    "/",
    "/drop/{open}",
    "/drop/{gone}",
    "/drop/{held}",
    "/drop/{later}",
    "/orders",
    "/orders/{order of open}",
    "/orders/{order of held}",
    "/demo/pay/{order of held}",
    "/about/returns",
    "/architecture",
    "/operator",
    "/none",
)
LANGUAGES = ("en", "ar")
"""One from left to right, and one from right to left."""


async def test_every_page_is_valid_and_accessible(shop: Visited, node: Node, launch: dict[str, object]) -> None:
    task = shop.task(PAGES, languages=LANGUAGES)

    seen = await node.run("markup.mjs", json.dumps(launch), json.dumps(task))

    found = [f"{at['path']} ({at['language']}): {problem}" for at in seen for problem in at["problems"]]
    assert not found, "\n".join(found)
    assert len(seen) == len(PAGES) * len(LANGUAGES) * 2, "both tools have looked at every page"
