"""A server that a whole module of tests shares, for those that do not mind what the others left in its database."""

import itertools
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import pytest

from api.database.endpoint import Endpoint
from api.settings import EMBEDDED_REGIONS, read_settings
from tests.conftest import ADMIN_TOKEN, Server, serving

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
    """A server with a laptop's settings on the module's database."""
    endpoints = tuple(Endpoint(region, shared_database_url) for region in EMBEDDED_REGIONS)
    async with serving(replace(read_settings({}), endpoints=endpoints, admin_token=ADMIN_TOKEN)) as server:
        yield server
