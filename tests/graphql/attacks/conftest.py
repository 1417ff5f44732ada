"""Two servers to attack: one as on a laptop, and one with endpoints configured. After every attack they still sell."""

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.drops.audit import audit
from api.settings import EMBEDDED_REGIONS, Settings, read_settings
from tests.patience import PATIENT_BUDGET, PATIENT_TIMES
from tests.server import ADMIN_TOKEN, Server, serving

SHOP = "https://shop.example"
"""An origin whose pages may call the server with endpoints."""

ORIGINS = f"{SHOP}, https://*-acme.vercel.app, capacitor://localhost"
"""All of them: the shop, its previews, and its app."""


def laptop(url: str) -> Settings:
    endpoints = tuple(Endpoint(region, url) for region in EMBEDDED_REGIONS)
    return replace(read_settings({}), endpoints=endpoints, admin_token=ADMIN_TOKEN)


def production(url: str) -> Settings:
    return read_settings(
        {
            "DROPZERO_ENDPOINTS": ",".join(f"{region}={url}" for region in EMBEDDED_REGIONS),
            "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN,
            "DROPZERO_ALLOWED_ORIGINS": ORIGINS,
        }
    )


@pytest.fixture(scope="module", params=[laptop, production], ids=lambda mode: mode.__name__)
async def server(request: pytest.FixtureRequest, shared_database_url: str, shared_pool: Pool) -> AsyncIterator[Server]:
    """A server in each of the two modes. After all attacks its stock and its orders have to balance."""
    settings: Settings = request.param(shared_database_url)
    async with serving(replace(settings, budget=PATIENT_BUDGET, region_times=PATIENT_TIMES)) as server:
        yield server
    books = await audit(shared_pool)
    assert books
    assert [line for line in books if not line.balanced] == []


@dataclass
class Shelf:
    """A product that only `unharmed` buys, and the units that are left of it."""

    product_id: str
    units: int


@pytest.fixture(scope="module")
async def shelf(server: Server) -> Shelf:
    units = 100_000
    return Shelf(await server.create_product(units), units)


@pytest.fixture
def product_id(shelf: Shelf) -> str:
    """A product of which no attack may buy a unit."""
    return shelf.product_id


@pytest.fixture(autouse=True)
async def unharmed(server: Server, shelf: Shelf, caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    """After each attack nothing is bought, no error is logged, and the next buyer gets exactly one unit."""
    yield
    bought = await server.purchase(shelf.product_id)
    assert bought["status"] == "CONFIRMED"
    before, shelf.units = shelf.units, bought["remaining"]
    assert shelf.units == before - 1
    logged = caplog.get_records("call")
    assert [each.getMessage() for each in logged if each.levelno >= logging.ERROR or each.exc_info] == []


@pytest.fixture
def allowed_origin(server: Server) -> str:
    """An origin whose pages may call this server."""
    return SHOP if server.settings.allowed_origins.fullmatch(SHOP) else "http://localhost:5173"
