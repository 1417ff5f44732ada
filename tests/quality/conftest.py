"""A shop with three products, and Node.js with the tools that judge its pages, in a real browser."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from api.settings import Settings
from tests.npm import Node, install
from tests.programs import cannot_run
from tests.server import GUEST_KEY, Server

PACKAGES = ("html-validate@10.9.0", "lighthouse@12.8.2", "pa11y@9.1.1", "puppeteer@24.43.1")
"""The newest of each that run on Node.js 20."""


@dataclass(frozen=True)
class Shop:
    """A server with a product on sale, one that is sold out and one that has not opened, by these names."""

    server: Server
    products: dict[str, str]

    def address(self, page: str) -> str:
        """The path of a page, such as "/drop/{open}" with the name of a product."""
        return page.format_map(self.products)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the browser."""
    return shutil.which("chromium") or cannot_run("there is no chromium; on Debian: apt-get install chromium")


@pytest.fixture(scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Node.js with the programs of this folder and the packages that they import."""
    return await install(tmp_path_factory.mktemp("quality"), PACKAGES, Path(__file__).parent / "programs")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return replace(settings, guest_keys=(GUEST_KEY,))


@pytest.fixture
async def shop(server: Server) -> Shop:
    products = {
        "open": await server.create_product(name="Aurora Tee", stock=70, description="Heavy cotton, cut in one piece."),
        "gone": await server.create_product(name="Aurora Cap", stock=0),
        "later": await server.create_product(name="Aurora Hoodie", opensAt="2999-01-01T00:00:00Z", limitPerBuyer=2),
    }
    return Shop(server, products)
