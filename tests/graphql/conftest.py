"""Connections to a module's database, the schema, sockets, holds, a record of statements, and Node.js."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from graphql import GraphQLSchema

from api.database.endpoint import Endpoint
from api.database.pool import Pool, Transaction
from api.database.regions import Regions
from api.graphql.schema import make_schema
from tests.graphql.callers import Shop, open_shop
from tests.graphql.holds import HOLD, OpenTill, Till
from tests.graphql.transport import Client, connected
from tests.npm import Node, install
from tests.patience import PATIENT_TIMES
from tests.plans import Statement, record
from tests.server import Server

PACKAGES = ("graphql@16.15.0", "graphql-http@1.23.1", "graphql-sse@2.6.1", "graphql-ws@6.4.2", "ws@8.23.0")
"""graphql-ws uses `ws`: Node.js has a WebSocket of its own only from version 22 on."""


@pytest.fixture(scope="module")
async def shared_pool(shared_database_url: str) -> AsyncIterator[Pool]:
    """Connections to the module's database."""
    async with Pool(Endpoint("here", shared_database_url), size=5, times=PATIENT_TIMES.pool) as pool:
        yield pool


@pytest.fixture(scope="module")
async def closed_shop(shared_database_url: str) -> AsyncIterator[Shop]:
    """A shop with an issuer and an endpoint that is configured, on the module's database."""
    async with open_shop(shared_database_url, closed=True) as shop:
        yield shop


@pytest.fixture
def open_till(closed_shop: Shop, shared_pool: Pool) -> OpenTill:
    """Makes products with holds."""

    async def open_till(stock: int = 10, **more: Any) -> Till:
        product_id = await closed_shop.server.create_product(stock, **{"holdSeconds": HOLD, **more})
        return Till(closed_shop, shared_pool, product_id)

    return open_till


@pytest.fixture
async def till(open_till: OpenTill) -> Till:
    """A product with holds, and 10 units."""
    return await open_till()


@pytest.fixture(scope="session")
def schema() -> GraphQLSchema:
    """The API's schema, as graphql-core has it."""
    return make_schema()._schema


@pytest.fixture
async def client(server: Server) -> AsyncIterator[Client]:
    """A socket whose session is acknowledged."""
    async with connected(server) as client:
        yield client


@pytest.fixture
async def newcomer(server: Server) -> AsyncIterator[Client]:
    """A socket that has not sent connection_init."""
    async with connected(server, init=False) as client:
        yield client


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """Every statement that returns rows and that this process sends from now on, in order."""
    # Pool.fetchrow uses Pool.fetch.
    return record(monkeypatch, (Pool, "fetch"), (Regions, "fetch"), (Transaction, "fetch"), (Transaction, "fetchrow"))


@pytest.fixture(scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Node.js with the scripts of this directory and the packages that they import."""
    return await install(tmp_path_factory.mktemp("node"), PACKAGES, *Path(__file__).parent.glob("*.mjs"))
