"""The examples of buying in docs/frontend.md, run as they stand on a page of a server with an endpoint."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from tests.browser.drop_page import orders_of
from tests.browser.visits import Visits
from tests.server import Server

pytestmark = pytest.mark.browser

PAGE = Path(__file__).parents[2] / "docs" / "frontend.md"
ADDRESS = "http://127.0.0.1:8000/graphql"


@pytest.fixture(scope="module")
def settings(settings: Settings) -> Settings:
    """The settings of a server on which buyers must be known."""
    return replace(settings, open_to_anyone=False, race=False)


def examples() -> str:
    """The code of the page that uses fetch."""
    blocks = re.findall(r"^```js\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    becoming, buying = [code for code in blocks if f'fetch("{ADDRESS}"' in code]
    assert "buyerToken()" in becoming
    assert "buyerToken()" in buying
    return f"{becoming}\n{buying}"


async def test_the_examples_buy_as_the_guest_of_the_browser(server: Server, visits: Visits) -> None:
    product_id = await server.create_product(stock=5)
    page = (await visits.open("/")).page
    code = examples().replace(ADDRESS, f"{server.url}/graphql")

    async def buy() -> dict[str, Any]:
        answer: dict[str, Any] = await page.evaluate(
            f"async (productId) => {{ {code}\nreturn {{ data, errors }}; }}", product_id
        )
        return answer

    for left in (4, 3):
        answer = await buy()
        assert answer["errors"] is None
        assert answer["data"]["purchase"]["status"] == "CONFIRMED"
        assert answer["data"]["purchase"]["remaining"] == left
    first, second = await orders_of(server, product_id)
    assert first["userRef"] == second["userRef"]
    viewer = "{ viewer { subject guest } }"
    token = await page.evaluate("localStorage.getItem('guest')")
    assert await server.data(viewer, token=token) == {"viewer": {"subject": first["userRef"], "guest": True}}
