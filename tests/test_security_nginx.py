"""The configuration of nginx that docs/security.md shows, in a real nginx before a real server.

Where there is no nginx the tests are skipped with the reason; where CI=true they fail instead.
"""

import asyncio
import re
import shutil
import ssl
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from ipaddress import ip_network
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import trustme
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from api.graphql.errors import ErrorCode
from api.graphql.requests import MAX_BODY
from api.graphql.websocket import PROTOCOL
from api.identity.admission import Admission
from api.identity.clients import client_of
from api.settings import Settings, read_settings
from tests.listener import accepting
from tests.patience import PATIENCE
from tests.proxies import free_port, running_nginx
from tests.server import PURCHASE, Server, serving

PAGE = Path(__file__).parent.parent / "docs" / "security.md"
NAME = "shop.example"
BURST = 5
CLIENT = "X-Test-Client"
"""The header with which a test sets the address of its client, as a proxy before nginx could."""

pytestmark = pytest.mark.slow


def configuration(folder: Path, ports: tuple[int, int], server: int, more: str) -> str:
    """The configuration of the page, with these ports, this server and a new certificate."""
    [shown] = re.findall(r"^```nginx\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    authority = trustme.CA()
    certificate = authority.issue_cert(NAME)
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "shop.pem")
    authority.cert_pem.write_to_path(folder / "authority.pem")
    for old, new in {
        "server 10.0.1.10:8000": f"server 127.0.0.1:{server}",
        "    server 10.0.2.10:8000 max_fails=0;\n": "",
        "listen 80": f"listen 127.0.0.1:{ports[0]}",
        "listen 443": f"listen 127.0.0.1:{ports[1]}",
        "/etc/nginx/shop.example.pem": f"{folder}/shop.pem",
        "/etc/nginx/shop.example.key": f"{folder}/shop.pem",
    }.items():
        assert old in shown, old
        shown = shown.replace(old, new)
    return f"{more}\n{shown}"


@dataclass(frozen=True)
class Shop:
    """An nginx as the page has it, and a client that trusts its certificate."""

    http: str
    https: str
    trust: ssl.SSLContext
    session: aiohttp.ClientSession

    async def get(self, path: str, host: str = NAME, **more: Any) -> tuple[int, str]:
        return await self.send("GET", path, host, **more)

    async def send(self, method: str, path: str, host: str = NAME, **more: Any) -> tuple[int, str]:
        """Send a request over TLS, to the name in the certificate. Returns the status and the text of the answer."""
        headers = {"host": host, **more.pop("headers", {})}
        async with self.session.request(
            method, f"{self.https}{path}", headers=headers, ssl=self.trust, server_hostname=NAME, **more
        ) as response:
            return response.status, await response.text()


@asynccontextmanager
async def shop_before(url: str, more: str = "", changes: dict[str, str] | None = None) -> AsyncIterator[Shop]:
    """Run the nginx of the page before the server at a URL. `more` comes before the page's configuration, and
    `changes` replace parts of it."""
    ports, behind = (free_port(), free_port()), urlsplit(url).port
    assert behind is not None
    # Not in the test's folder, which belongs to this user alone.
    with tempfile.TemporaryDirectory(prefix="shop-") as name:
        shutil.copymode("/usr", name)
        text = configuration(Path(name), ports, behind, more)
        for old, new in (changes or {}).items():
            assert old in text, old
            text = text.replace(old, new)
        (Path(name) / "shop.pem").chmod(0o644)
        trust = ssl.create_default_context(cafile=f"{name}/authority.pem")
        async with running_nginx(ports[1], text), aiohttp.ClientSession() as session:
            yield Shop(f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}", trust, session)


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A server that answers to the shop's name and trusts nginx."""
    named = read_settings({"DROPZERO_HOSTS": NAME, "DROPZERO_TRUSTED_PROXIES": "127.0.0.1"})
    changed = replace(named, endpoints=settings.endpoints, admin_token=settings.admin_token, budget=settings.budget)
    async with serving(changed) as server:
        yield server


@pytest.fixture
async def shop(server: Server) -> AsyncIterator[Shop]:
    async with shop_before(server.url) as shop:
        yield shop


class TestNginx:
    async def test_buyers_buy_and_watch_through_nginx(self, server: Server, shop: Shop) -> None:
        product_id = await server.create_product(stock=3)
        body = {"query": PURCHASE, "variables": {"input": {"productId": product_id, "userRef": "ada"}}}
        status, answer = await shop.send("POST", "/graphql", json=body)
        assert status == 200
        assert "CONFIRMED" in answer
        assert (await shop.get("/"))[0] == 200
        port = urlsplit(shop.https).port
        url, protocols = f"wss://{NAME}:{port}/graphql", [Subprotocol(PROTOCOL)]
        where: dict[str, Any] = {"host": "127.0.0.1", "port": port, "proxy": None, "open_timeout": PATIENCE}
        async with connect(url, subprotocols=protocols, ssl=shop.trust, **where) as socket:
            await socket.send('{"type":"connection_init"}')
            assert await socket.recv() == '{"type":"connection_ack"}'

    async def test_other_names_are_refused(self, shop: Shop) -> None:
        assert (await shop.get("/healthz"))[0] == 200
        for request in (
            shop.session.get(f"{shop.http}/", headers={"host": "evil.example"}),
            shop.session.get(f"{shop.https}/", headers={"host": "evil.example"}, ssl=False, server_hostname="evil"),
            shop.session.get(f"{shop.https}/", headers={"host": "evil.example"}, ssl=shop.trust, server_hostname=NAME),
        ):
            with pytest.raises(aiohttp.ClientError):
                await request

    async def test_plain_http_is_redirected_to_https(self, shop: Shop) -> None:
        headers = {"host": NAME}
        async with shop.session.get(f"{shop.http}/drop", headers=headers, allow_redirects=False) as response:
            assert (response.status, response.headers["location"]) == (301, f"https://{NAME}/drop")

    async def test_large_bodies_other_methods_and_inner_paths_do_not_reach_the_server(self, shop: Shop) -> None:
        assert (await shop.send("POST", "/graphql", data=b" " * (MAX_BODY + 1)))[0] == 413
        assert (await shop.send("DELETE", "/graphql"))[0] == 403
        assert (await shop.send("POST", "/"))[0] == 403
        assert (await shop.get("/metrics"))[0] == 404
        assert (await shop.get("/readyz"))[0] == 404
        assert (await shop.get("/healthz"))[0] == 200


@pytest.fixture
async def mirror(settings: Settings) -> AsyncIterator[Server]:
    """A server that answers with the name of its client."""

    def make_app(admission: Admission) -> Starlette:
        async def answer(request: Request) -> PlainTextResponse:
            return PlainTextResponse(admission.clients.of(request.scope))

        return Starlette(routes=[Route("/", answer)])

    trusting = replace(settings, trusted_proxies=(ip_network("127.0.0.1"),))
    async with serving(trusting, make_app=make_app) as server:
        yield server


class TestClientsBehindNginx:
    BEHIND_ANOTHER = f"set_real_ip_from 127.0.0.1; real_ip_header {CLIENT};"
    """Lets a test have many clients."""

    async def test_the_client_is_the_address_that_nginx_has_seen(self, mirror: Server) -> None:
        async with shop_before(mirror.url, self.BEHIND_ANOTHER) as shop:
            for address in ("203.0.113.7", "2001:db8::7"):
                headers = {CLIENT: address, "x-forwarded-for": "198.51.100.1, 127.0.0.1"}
                assert await shop.get("/", headers=headers) == (200, client_of(address))

    async def test_a_flood_of_one_network_is_refused_and_others_are_served(self, mirror: Server) -> None:
        slow = {"rate=100r/s": "rate=1r/m", "burst=500": f"burst={BURST}"}
        async with shop_before(mirror.url, self.BEHIND_ANOTHER, slow) as shop:

            async def statuses(addresses: list[str]) -> list[int]:
                answers = await asyncio.gather(*(shop.get("/", headers={CLIENT: each}) for each in addresses))
                return sorted(status for status, _ in answers)

            flood = [f"2001:db8:0:1::{number:x}" for number in range(2 * BURST)]
            assert await statuses(flood) == [200] * (BURST + 1) + [429] * (BURST - 1)
            assert await statuses(["2001:db8:0:2::1", "203.0.113.7"]) == [200, 200]
            headers = {"host": NAME, CLIENT: flood[0]}
            async with shop.session.get(shop.https, headers=headers, ssl=shop.trust, server_hostname=NAME) as refused:
                [error] = (await refused.json())["errors"]
                code, milliseconds = error["extensions"]["code"], error["extensions"]["retryAfterMs"]
                assert (refused.status, code) == (429, ErrorCode.RATE_LIMITED)
                assert refused.headers["retry-after"] == str(ceil(milliseconds / 1000))


@pytest.fixture
async def heads() -> AsyncIterator[str]:
    """The URL of a server that answers each request with its head as it came."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%s" % (len(head), head))
        await writer.drain()
        writer.close()

    async with accepting(await asyncio.start_server(answer, "127.0.0.1", 0)) as port:
        yield f"http://127.0.0.1:{port}"


async def test_only_upgrades_to_a_websocket_at_its_path_are_passed_on(heads: str) -> None:
    async with shop_before(heads) as shop:
        for path, upgrade, passed in (
            ("/graphql", "WebSocket", ["connection: upgrade", "upgrade: websocket"]),
            ("/graphql", "h2c", []),
            ("/graphql", "foo, websocket", []),
            ("/", "websocket", []),
            ("/", "h2c", []),
        ):
            headers = {"connection": "upgrade", "upgrade": upgrade}
            status, head = await shop.get(path, headers=headers)
            sent = sorted(line for line in head.split("\r\n") if line.startswith(("connection:", "upgrade:")))
            assert (status, sent) == (200, passed), (path, upgrade)


async def test_an_address_that_a_client_makes_up_is_dropped(heads: str) -> None:
    async with shop_before(heads) as shop:
        for path in ("/", "/graphql"):
            _, head = await shop.get(path, headers={"x-forwarded-for": "198.51.100.1"})
            assert "x-forwarded-for: 127.0.0.1\r\n" in head
            assert "198.51.100.1" not in head
