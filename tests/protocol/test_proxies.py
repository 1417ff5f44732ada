"""A stranger behind a proxy that keeps its connections to the server: what is hidden in the body of a request is never
executed, and the next customer of the same connection has an answer of their own.

The proxies are real. Where one is missing its tests are skipped with the reason; where CI=true they fail instead.
"""

from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import orjson
import pytest

from tests.graphql.transport import connected
from tests.protocol.conftest import STOCK
from tests.protocol.raw import Answer, connection_to, purchase, request, stock_of
from tests.protocol.upgrades import FRAMINGS, UPGRADES, smuggling
from tests.proxies import free_port, running_haproxy, running_nginx
from tests.server import Server

pytestmark = pytest.mark.slow

AS_EVERYBODY = """
upstream servers {{ server 127.0.0.1:{server}; keepalive 4; }}
server {{
    listen 127.0.0.1:{port};
    location / {{
        proxy_pass http://servers;
        proxy_http_version 1.1;
        proxy_set_header Host $host;
        proxy_set_header Upgrade $http_upgrade;
        proxy_set_header Connection "upgrade";
    }}
}}
"""
"""nginx with websockets, as most web pages configure it."""

PADDING = {"": b"", "padded": b"\r\n" * 1_000, "padded beyond one read": b"\r\n" * 40_000}
CUSTOMERS = 3


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
async def proxy(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Server]:
    """The server behind a proxy."""
    port, behind = free_port(), urlsplit(server.url).port
    assert behind is not None
    if request.param == "nginx":
        running = running_nginx(port, AS_EVERYBODY.format(port=port, server=behind))
        async with running:
            yield replace(server, url=f"http://127.0.0.1:{port}")
    else:
        async with running_haproxy(port, behind):
            yield replace(server, url=f"http://127.0.0.1:{port}")


async def asked(proxy: Server, data: bytes) -> Answer:
    """Return the first answer to a client with a new connection."""
    async with connection_to(proxy) as connection:
        await connection.send(data)
        return await connection.answer()


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_the_next_client_of_a_proxy_receives_its_own_answer(
    proxy: Server, product_id: str, upgrade: str, framing: str, padding: str
) -> None:
    attack = await asked(proxy, smuggling(UPGRADES[upgrade], framing, product_id, PADDING[padding]))
    customers = [await asked(proxy, request(b"GET /healthz HTTP/1.1")) for _ in range(CUSTOMERS)]

    assert attack.status >= 400
    assert [customer.body for customer in customers] == [b"ok\n"] * CUSTOMERS
    assert await stock_of(proxy, product_id) == STOCK


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_purchase_hidden_in_a_handshake_does_not_run(proxy: Server, product_id: str, framing: str) -> None:
    upgrade = (
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )
    attack = await asked(proxy, smuggling(upgrade, framing, product_id, line=b"GET /graphql HTTP/1.1"))
    customers = [await asked(proxy, request(b"GET /healthz HTTP/1.1")) for _ in range(CUSTOMERS)]

    assert attack.status >= 400
    assert [customer.body for customer in customers] == [b"ok\n"] * CUSTOMERS
    assert await stock_of(proxy, product_id) == STOCK


async def test_a_request_for_an_upgrade_buys(proxy: Server) -> None:
    product_id = await proxy.create_product(stock=5)
    body = purchase(product_id)
    answer = await asked(proxy, request(b"POST /graphql HTTP/1.1", b"Connection: Upgrade", b"Upgrade: h2c", body=body))

    assert orjson.loads(answer.body)["data"]["purchase"]["status"] == "CONFIRMED"
    assert await stock_of(proxy, product_id) == 4


async def test_a_websocket_passes_through_a_proxy(proxy: Server) -> None:
    product_id = await proxy.create_product(stock=5)
    async with connected(proxy) as client:
        stock = await client.answer("query ($id: ID!) { product(id: $id) { stock } }", {"id": product_id})
        assert stock == {"product": {"stock": 5}}
