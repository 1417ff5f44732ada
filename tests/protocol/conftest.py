"""One server for each module of tests, and a product in it whose stock no test may change."""

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
