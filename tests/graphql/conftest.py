"""A server that a whole module of tests shares, a record of what reaches the database, and Node.js."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from api.database.endpoint import Endpoint
from api.database.pool import Pool, Transaction
from api.database.regions import Regions
from api.settings import EMBEDDED_REGIONS, read_settings
from tests.graphql.npm import Node, install
from tests.graphql.plans import Statement
from tests.patience import PATIENT_BUDGET, PATIENT_TIMES
from tests.server import ADMIN_TOKEN, Server, serving

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def shared_database_url(postgres: str, template: str) -> AsyncIterator[str]:
    """The URL of a database of this module's own, with the schema and no rows at first."""
    name = f"module_{next(_numbers)}"
    connection = await asyncpg.connect(postgres)
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield urlsplit(postgres)._replace(path=f"/{name}").geturl()
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture(scope="module")
async def shared_server(shared_database_url: str) -> AsyncIterator[Server]:
    """A server with a laptop's settings on the module's database, for tests that do not mind what others left."""
    settings = replace(
        read_settings({}),
        endpoints=tuple(Endpoint(region, shared_database_url) for region in EMBEDDED_REGIONS),
        admin_token=ADMIN_TOKEN,
        budget=PATIENT_BUDGET,
        region_times=PATIENT_TIMES,
    )
    async with serving(settings) as server:
        yield server


@pytest.fixture(scope="module")
async def shared_pool(shared_database_url: str) -> AsyncIterator[Pool]:
    """Connections to the module's database."""
    async with Pool(Endpoint("here", shared_database_url), size=5, times=PATIENT_TIMES.pool) as pool:
        yield pool


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """Every statement with rows for an answer that this process sends from now on, in their order."""
    sent: list[Statement] = []

    def record(lender: type[Pool | Regions | Transaction], name: str) -> None:
        original = getattr(lender, name)

        async def recorded(self: Pool | Regions | Transaction, text: str, *arguments: Any) -> Any:
            sent.append(Statement(text, arguments))
            return await original(self, text, *arguments)

        monkeypatch.setattr(lender, name, recorded)

    record(Pool, "fetch")  # which Pool.fetchrow uses
    record(Regions, "fetch")
    record(Transaction, "fetch")
    record(Transaction, "fetchrow")
    return sent


@pytest.fixture(scope="session")
async def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    """Node.js with this directory's scripts and the packages that they import."""
    return await install(tmp_path_factory.mktemp("node"))
