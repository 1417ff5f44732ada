"""A shop with pictures, prices and sizes, and Node.js with the tools that judge its pages, in a real browser."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from api.settings import Settings
from api.shop.shop import LegalPage, LegalText, Seller, Shop
from tests.browser.visits import CHROMIUM_FLAGS, find_chromium
from tests.npm import Node, install
from tests.server import GUEST_KEY, Server

PACKAGES = ("html-validate@10.9.0", "lighthouse@12.8.2", "pa11y@9.1.1", "puppeteer@24.43.1")
"""The newest of each that run on Node.js 20."""

OWN = Shop(
    seller=Seller("Aurora Goods", "Here 1\nBerlin", "hello@shop.example"),
    pages={
        "returns": LegalPage(
            "returns", "en", {"en": LegalText("en", "Returns", ("You can return it within 14 days.",))}
        )
    },
)

TEE: dict[str, Any] = {
    "name": "Aurora Tee",
    "family": "Aurora Tee",
    "description": "Heavy cotton, cut in one piece.",
    "price": {"amount": "48.00", "currency": "EUR"},
    "images": [
        {"url": "/static/aurora-tee.svg", "alt": "White tee with a wave of green", "width": 800, "height": 1000}
    ],
}

PRODUCTS: dict[str, dict[str, Any]] = {
    "open": TEE | {"option": "M", "stock": 70},
    "gone": TEE | {"option": "L", "stock": 0},
    "held": TEE | {"name": "Aurora Print", "family": None, "stock": 5, "holdSeconds": 600},
    "later": {"name": "Aurora Hoodie", "stock": 10, "opensAt": "2999-01-01T00:00:00Z", "limitPerBuyer": 2},
}

GUEST = "mutation { guest { token } }"
BUY = """
mutation ($input: PurchaseInput!) {
  purchase(input: $input) { ... on PurchaseConfirmed { order { id } } ... on PurchaseHeld { order { id } } }
}
"""


@dataclass(frozen=True)
class Visited:
    """A shop on a server, and a browser that is a guest of it, with a confirmed order and a held one."""

    url: str
    guest: str
    ids: dict[str, str]

    def task(self, pages: tuple[str, ...], **more: object) -> dict[str, Any]:
        """What a tool has to do: the addresses of pages such as "/drop/{open}", with the name of a product."""
        return {"url": self.url, "guest": self.guest, "pages": [page.format_map(self.ids) for page in pages], **more}


@pytest.fixture(scope="session")
def launch() -> dict[str, object]:
    """The browser's path and flags, as Puppeteer launches it."""
    return {"executablePath": find_chromium(), "args": CHROMIUM_FLAGS, "headless": "shell"}


@pytest.fixture(scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Node.js with the programs of this folder and the packages that they import."""
    return await install(tmp_path_factory.mktemp("quality"), PACKAGES, Path(__file__).parent / "programs")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, guest_keys=(GUEST_KEY,), demo=True, shop=OWN)


@pytest.fixture
async def shop(server: Server) -> Visited:
    ids = {name: await server.create_product(**product) for name, product in PRODUCTS.items()}
    guest = (await server.data(GUEST))["guest"]["token"]
    for name in ("open", "held"):
        bought = await server.data(BUY, {"input": {"productId": ids[name], "quantity": 2}}, token=guest)
        ids[f"order of {name}"] = bought["purchase"]["order"]["id"]
    return Visited(server.url, guest, ids)
