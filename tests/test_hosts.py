"""Host names: the names that the server answers to, and what a page of a rebound name receives."""

import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Origin, Subprotocol

from api.database.endpoint import Endpoint
from api.graphql.websocket import PROTOCOL
from api.hosts import MAX_HOST, PROBES, REFUSED_HOSTS, UNNAMED, Hosts, parse_hosts
from api.server import reachable_as, warn_of_names
from api.settings import InvalidSettings, Settings, read_settings
from tests.graphql.stranger import Stranger, connection
from tests.patience import PATIENCE
from tests.server import Server, serving

HERE = "192.0.2.1"
SHOP = "postgresql://app@db.example/shop"


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LocalHost:8000", True),
        ("localhost.", True),
        ("localhost.:8000", True),
        ("shop.localhost", True),
        ("127.0.0.1:8000", True),
        ("127.255.3.4", True),
        ("[::1]:8000", True),
        ("[0:0::1]", True),
        ("[::ffff:127.0.0.1]", True),
        (HERE, True),
        (f"[::ffff:{HERE}]:80", True),
        ("192.0.2.2", False),
        ("[2001:db8::1]", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("evillocalhost", False),
        ("127.0.0.1.nip.io", False),
        ("localhost:evil", False),
        ("localhost:80@evil.example", False),
        ("evil.example#localhost", False),
        ("localhost, evil.example", False),
        ("local\u00a0host", False),
        (" localhost", False),
        ("::1", False),
        ("[::1", False),
        ("", False),
        (".", False),
        (":8000", False),
        ("a" * MAX_HOST + ".localhost", False),
    ],
)
def test_only_local_names_and_the_address_of_the_connection_are_answered_by_default(host: str, allowed: bool) -> None:
    assert Hosts().allows(host.encode("latin-1"), HERE) is allowed


def test_the_address_of_an_ipv6_connection_is_answered_in_any_spelling() -> None:
    for host in (b"[2001:db8::1]", b"[2001:DB8:0:0::1]:8000"):
        assert Hosts().allows(host, "2001:db8::1")
    assert Hosts().allows(b"192.0.2.1", "::ffff:192.0.2.1")
    assert Hosts().allows(b"[fe80::1]", "fe80::1%eth0")


def test_a_unix_socket_has_no_address_to_answer_to() -> None:
    assert not Hosts().allows(b"192.0.2.1", "/run/dropzero.sock")
    assert not Hosts().allows(b"evil.example", "")


@pytest.mark.parametrize(
    ("configured", "host", "allowed"),
    [
        ("shop.example", "shop.example", True),
        ("shop.example", "SHOP.example.:443", True),
        ("Shop.Example.", "shop.example", True),
        ("shop.example", "www.shop.example", False),
        ("shop.example", "shop.example.evil.example", False),
        ("*.shop.example", "a.b.shop.example", True),
        ("*.shop.example", "shop.example", False),
        ("*.shop.example", "evilshop.example", False),
        ("a.example, *.b.example", "x.b.example:1", True),
        ("198.51.100.7, [2001:db8::2], 2001:db8::3", "198.51.100.7:80", True),
        ("198.51.100.7, [2001:db8::2], 2001:db8::3", "[2001:db8::2]", True),
        ("198.51.100.7, [2001:db8::2], 2001:db8::3", "[2001:db8::3]", True),
        ("my_shop", "my_shop:8000", True),
        ("*", "anything at all", True),
        ("shop.example", "localhost", True),
    ],
)
def test_configured_names_are_answered_too(configured: str, host: str, allowed: bool) -> None:
    hosts = Hosts(read_settings({"DROPZERO_HOSTS": configured}).hosts)
    assert hosts.allows(host.encode(), HERE) is allowed


@pytest.mark.parametrize(
    "text",
    ["https://shop.example", "shop.example:443", "shop.example/", "*.*.example", "shop.*", "a b", "münchen.example"],
)
def test_an_invalid_host_name_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(InvalidSettings, match=r"^DROPZERO_HOSTS: expected host names such as shop\.example"):
        read_settings({"DROPZERO_HOSTS": text})


def test_vercels_own_names_are_answered_on_vercel_alone() -> None:
    names = {
        "VERCEL_URL": "shop-abc.vercel.app",
        "VERCEL_BRANCH_URL": "shop-git-main.vercel.app",
        "VERCEL_PROJECT_PRODUCTION_URL": "shop.example",
    }
    assert read_settings({"VERCEL": "1", **names}).hosts == tuple(names.values())
    assert read_settings({"VERCEL": "1", "DROPZERO_HOSTS": "a.example", **names}).hosts[0] == "a.example"
    assert read_settings(names).hosts == ()


def test_the_host_that_the_server_is_bound_to_is_answered(settings: Settings) -> None:
    assert Hosts(reachable_as("shop.internal", settings).hosts).allows(b"shop.internal:8000", HERE)
    everywhere = reachable_as("0.0.0.0", settings)  # noqa: S104
    assert Hosts(everywhere.hosts).allows(b"0.0.0.0:8000", "127.0.0.1")


def test_a_server_with_endpoints_and_without_names_logs_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    def warnings(environment: dict[str, str]) -> list[str]:
        caplog.clear()
        warn_of_names(read_settings(environment))
        return [record.getMessage() for record in caplog.records]

    endpoints = {"DROPZERO_ENDPOINTS": f"here={SHOP}"}
    assert warnings(endpoints) == [UNNAMED]
    assert "DROPZERO_HOSTS" in UNNAMED
    assert warnings({**endpoints, "DROPZERO_HOSTS": "shop.example"}) == []
    assert warnings({}) == []


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    async with serving(replace(settings, hosts=parse_hosts("shop.example"))) as server:
        yield server


async def status(server: Server, path: str, host: str, method: str = "GET", **more: Any) -> tuple[int, str]:
    headers = {"host": host, "origin": f"http://{host}"}
    async with server.session.request(method, f"{server.url}{path}", headers=headers, **more) as response:
        return response.status, await response.text()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/architecture"),
        ("GET", "/static/api.js"),
        ("GET", "/metrics"),
        ("GET", "/graphql"),
        ("GET", "/healthz/"),
        ("POST", "/graphql"),
        ("OPTIONS", "/graphql"),
        ("GET", "/nothing"),
    ],
)
async def test_a_page_of_a_name_that_was_bound_to_this_address_reaches_nothing(
    server: Server, method: str, path: str
) -> None:
    body: dict[str, Any] = {"json": {"query": "{ __typename }"}} if method == "POST" else {}
    refused, said = await status(server, path, "evil.example:8000", method, **body)
    assert refused == 421
    assert "DROPZERO_HOSTS" in said
    assert "evil" not in said
    allowed, _ = await status(server, path, "shop.example", method, **body)
    assert allowed != 421


@pytest.mark.parametrize("path", sorted(PROBES))
async def test_health_and_readiness_are_answered_under_any_name(server: Server, path: str) -> None:
    assert (await status(server, path, "10.0.3.7:8000"))[0] == 200


async def test_a_websocket_under_another_name_is_refused(server: Server) -> None:
    port = urlsplit(server.url).port

    async def open_as(host: str) -> None:
        url, protocols = f"ws://{host}:{port}/graphql", [Subprotocol(PROTOCOL)]
        origin = Origin(f"http://{host}:{port}")
        # Connects to this server, whatever address the name has.
        where: dict[str, Any] = {"host": "127.0.0.1", "port": port, "proxy": None, "open_timeout": PATIENCE}
        async with connect(url, origin=origin, subprotocols=protocols, **where):
            pass

    await open_as("shop.example")
    with pytest.raises(InvalidStatus) as refusal:
        await open_as("evil.example")
    response = refusal.value.response
    assert response.status_code == 403
    assert b"DROPZERO_HOSTS" in (response.body or b"")
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("head", "answer"),
    [
        (b"GET / HTTP/1.1\r\n", b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n", b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n", b"HTTP/1.1 400"),
        (b"GET / HTTP/1.1\r\nhost:\r\n", b"HTTP/1.1 421"),
        (b"GET / HTTP/1.0\r\n", b"HTTP/1.1 200"),
        (b"GET / HTTP/1.1\r\nhost: localhost\r\n", b"HTTP/1.1 200"),
    ],
)
async def test_a_request_has_exactly_one_host(server: Server, head: bytes, answer: bytes) -> None:
    async with connection(server) as stranger:
        await said(stranger, head, answer)


async def said(stranger: Stranger, head: bytes, answer: bytes) -> None:
    await stranger.send(head + b"connection: close\r\n\r\n", until=answer)


async def test_refused_names_are_counted_and_logged_once(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "dropzero.refusals"):
        for _ in range(5):
            await status(server, "/", "evil.example")
    [line] = [record.getMessage() for record in caplog.records if record.name == "dropzero.refusals"]
    assert "evil.example" in line
    assert "127.0.0.1" in line
    _, figures = await status(server, "/metrics", "localhost")
    assert f'dropzero_refusals_total{{what="{REFUSED_HOSTS}"}} 5.0' in figures


async def test_names_stay_closed_where_endpoints_are_configured(settings: Settings) -> None:
    hosts = read_settings({"DROPZERO_ENDPOINTS": f"here={SHOP}"}).hosts
    home = Endpoint("here", settings.endpoints[0].url)
    async with serving(replace(settings, endpoints=(home,), hosts=hosts)) as server:
        assert (await status(server, "/", "shop.example"))[0] == 421
        assert (await status(server, "/", "localhost"))[0] == 200
