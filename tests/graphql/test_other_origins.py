"""What pages of other origins may do.

Before such a page may send JSON, the browser sends a preflight request. It hides every answer that the page may not
read.
"""

from dataclasses import replace

import pytest

from api.settings import Settings, read_settings
from tests.graphql.http_requests import TYPENAME, post
from tests.patience import PATIENT_TIMES
from tests.server import Server, serving


@pytest.fixture
def server(shared_server: Server) -> Server:
    return shared_server


async def preflight(server: Server, origin: str) -> tuple[int, str | None]:
    """The status of a preflight request, and the origin that its answer allows."""
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    async with server.session.options(f"{server.url}/graphql", headers=headers) as response:
        return response.status, response.headers.get("access-control-allow-origin")


async def readable_by(server: Server, origin: str) -> bool:
    """Whether a page of the origin may read an answer."""
    response, _ = await post(server, TYPENAME, origin=origin)
    return response.headers.get("access-control-allow-origin") == origin


@pytest.mark.parametrize(
    "origin", ["http://localhost:5173", "https://localhost", "http://127.0.0.1:3000", "http://[::1]:8080"]
)
async def test_a_page_of_the_same_laptop_may_call_the_server(server: Server, origin: str) -> None:
    assert await preflight(server, origin) == (200, origin)
    assert await readable_by(server, origin)


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://localhost.evil.example", "http://evil.example:80#localhost", "null"],
)
async def test_a_page_of_another_site_may_not_call_the_server(server: Server, origin: str) -> None:
    assert await preflight(server, origin) == (400, None)
    assert not await readable_by(server, origin)


async def test_only_named_origins_may_call_a_server_with_endpoints(settings: Settings) -> None:
    endpoint = settings.endpoints[0]
    configured = {"DROPZERO_ENDPOINTS": f"{endpoint.region}={endpoint.url}"}
    async with serving(replace(read_settings(configured), region_times=PATIENT_TIMES)) as server:
        for origin in ("http://localhost:5173", "https://shop.example"):
            assert await preflight(server, origin) == (400, None)
            assert not await readable_by(server, origin)
    named = {**configured, "DROPZERO_ALLOWED_ORIGINS": "https://shop.example"}
    async with serving(replace(read_settings(named), region_times=PATIENT_TIMES)) as server:
        assert await preflight(server, "https://shop.example") == (200, "https://shop.example")
        assert not await readable_by(server, "https://shop-example")
        assert not await readable_by(server, "https://shop.example.evil.example")
        assert not await readable_by(server, "http://localhost:5173")
