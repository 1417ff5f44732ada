"""The callers of a websocket: which pages may connect, and which token makes a caller the operator."""

from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
from websockets.exceptions import InvalidStatus

from api.graphql.origins import REFUSED_ORIGINS
from api.identity.authenticator import FREE_GUESSES
from api.settings import Settings, read_settings
from tests.graphql.transport import Client, assert_alive, connected
from tests.server import ADMIN_TOKEN, Server, serving

CREATE = """
mutation { createProduct(input: { name: "Cap", dropName: "Second Light", stock: 3 }) { name stock } }
"""


@pytest.fixture(scope="module")
def server(shared_server: Server) -> Server:
    return shared_server


@pytest.fixture(scope="module")
def settings(shared_server: Server) -> Settings:
    return shared_server.settings


@pytest.mark.parametrize("name", ["authorization", "Authorization"])
async def test_the_operators_token_is_read_from_connection_init(newcomer: Client, name: str) -> None:
    await newcomer.init({name: f"Bearer {ADMIN_TOKEN}"})

    assert await newcomer.answer(CREATE) == {"createProduct": {"name": "Cap", "stock": 3}}


async def test_the_operators_token_is_read_from_the_handshake(server: Server) -> None:
    async with connected(server, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"}) as client:
        assert await client.answer(CREATE) == {"createProduct": {"name": "Cap", "stock": 3}}


@pytest.mark.parametrize("payload", [None, {"authorization": "Bearer wrong"}, {"authorization": ADMIN_TOKEN}, {"é": 1}])
async def test_without_the_operators_token_a_caller_is_not_the_operator(
    newcomer: Client, payload: dict[str, Any] | None
) -> None:
    await newcomer.init(payload)

    await newcomer.subscribe(CREATE)

    refusal = await newcomer.receive()
    assert [error["extensions"]["code"] for error in refusal["payload"]["errors"]] == ["UNAUTHENTICATED"]


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1.evil.example:80"]
)
async def test_a_page_of_another_origin_is_refused(server: Server, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refusal:
        async with connected(server, origin=origin):
            pass

    assert refusal.value.response.status_code == 403
    assert refusal.value.response.body == b"pages of this origin may not connect\n"


async def test_refused_origins_are_counted_and_logged_once(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(settings) as server:
        for _ in range(5):
            with pytest.raises(InvalidStatus):
                async with connected(server, origin="https://evil.example/" + "e" * 5_000):
                    pass
        lines = [record.getMessage() for record in caplog.records if "evil.example" in record.getMessage()]
        assert len(lines) == 1
        assert len(lines[0]) < 300
        async with server.session.get(f"{server.url}/metrics") as response:
            assert f'dropzero_refusals_total{{what="{REFUSED_ORIGINS}"}} 5.0' in await response.text()


async def test_a_client_that_guesses_the_operators_token_is_disconnected(settings: Settings) -> None:
    async with serving(settings) as server:
        for _ in range(FREE_GUESSES):
            async with connected(server, init=False) as client:
                await client.init({"Authorization": "Bearer a-wrong-guess"})
        for headers in ({}, {"authorization": f"Bearer {ADMIN_TOKEN}"}):
            async with connected(server, init=False, headers=headers) as client:
                if not headers:
                    await client.send(
                        {"type": "connection_init", "payload": {"authorization": f"Bearer {ADMIN_TOKEN}"}}
                    )
                code, reason = await client.closed()
            assert code == 1013
            assert "too many wrong tokens came from your address" in reason
        async with connected(server) as client:
            await assert_alive(client)
        assert (await server.metrics())["dropzero_refused_tokens_total"] == FREE_GUESSES + 2


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:5173", "https://localhost"])
async def test_a_page_of_localhost_may_connect_on_a_laptop(server: Server, origin: str) -> None:
    async with connected(server, origin=origin) as client:
        await assert_alive(client)


async def test_with_endpoints_only_named_origins_may_connect(settings: Settings) -> None:
    """Pages of the server's own origin may connect too."""
    configured = read_settings(
        {
            "DROPZERO_ENDPOINTS": "us-east-1=postgresql://nobody@localhost/nothing",
            "DROPZERO_ALLOWED_ORIGINS": "https://shop.example",
        }
    )
    async with serving(replace(settings, allowed_origins=configured.allowed_origins)) as server:
        for origin in ("https://shop.example", f"http://{urlsplit(server.url).netloc}"):
            async with connected(server, origin=origin) as client:
                await assert_alive(client)
        for origin in ("http://localhost:3000", "https://shop.example.evil.example", "http://shop.example"):
            with pytest.raises(InvalidStatus):
                async with connected(server, origin=origin):
                    pass
