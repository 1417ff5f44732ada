"""The server ignores upgrades to anything but a websocket. A request's body stays its body, and is never executed."""

import asyncio
import shutil

import pytest

from tests.patience import PATIENCE
from tests.programs import cannot_run
from tests.protocol.conftest import STOCK
from tests.protocol.raw import ANYTHING, PIECES, exchange, pieces_of, purchase, request, stock_of
from tests.protocol.upgrades import FRAMINGS, UPGRADES, smuggling
from tests.server import Server

POST = b"POST /graphql HTTP/1.1"
LAST = request(b"GET /healthz HTTP/1.1", b"Connection: close")
PADDING = b"\r\n" * 500


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("padding", [b"", PADDING], ids=["", "padded"])
@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_the_body_of_a_request_for_an_upgrade_is_not_executed(
    server: Server, product_id: str, upgrade: str, framing: str, padding: bytes, pieces: str
) -> None:
    sent = smuggling(UPGRADES[upgrade], framing, product_id, padding) + LAST
    answers = await exchange(server, pieces_of(sent, pieces))

    assert [answer.status for answer in answers] == [400, 200], "the body is no JSON, and the next request is the last"
    assert await stock_of(server, product_id) == STOCK


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("upgrade", UPGRADES)
async def test_a_request_for_an_upgrade_is_answered(server: Server, upgrade: str, pieces: str) -> None:
    product_id = await server.create_product(stock=5)
    sent = request(POST, *UPGRADES[upgrade], body=purchase(product_id)) * 2 + LAST
    first, second, last = await exchange(server, pieces_of(sent, pieces))

    assert [first.data["purchase"]["status"], second.data["purchase"]["status"]] == ["CONFIRMED", "CONFIRMED"]
    assert last.status == 200
    assert await stock_of(server, product_id) == 3


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("framing", FRAMINGS)
async def test_a_handshake_with_a_body_is_refused_with_it(
    server: Server, product_id: str, framing: str, pieces: str
) -> None:
    upgrade = (b"Connection: Upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13")
    sent = smuggling(upgrade, framing, product_id, line=b"GET /graphql HTTP/1.1")
    answers = await exchange(server, pieces_of(sent, pieces))

    assert [answer.status for answer in answers] == [400]
    assert await stock_of(server, product_id) == STOCK


@pytest.mark.parametrize("how", ["--http2", "--http1.1"])
async def test_curl_buys_with_every_version_of_http_that_it_offers(server: Server, how: str) -> None:
    """With `--http2` over http:// the first request, with its body, asks for an upgrade to h2c."""
    curl = shutil.which("curl") or cannot_run("there is no curl; on Debian: apt-get install curl")
    product_id = await server.create_product(stock=5)
    process = await asyncio.create_subprocess_exec(
        *[curl, "--silent", "--show-error", "--noproxy", "*", how, "-H", "content-type: application/json"],
        *["--data-binary", purchase(product_id).decode(), f"{server.url}/graphql"],
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)

    assert process.returncode == 0
    assert b'"status":"CONFIRMED"' in out
    assert await stock_of(server, product_id) == 4


def test_the_placeholder_is_as_long_as_the_id_of_a_product() -> None:
    assert len(ANYTHING) == 36
