"""A server that a module of tests shares, and a product that nobody may buy."""

import pytest

from tests.server import Server

STOCK = 50


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture(scope="module")
async def product_id(server: Server) -> str:
    """A product of STOCK units."""
    return await server.create_product(stock=STOCK)
