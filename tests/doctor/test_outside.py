"""What the doctor finds of servers that are not the database: dropzero itself, the issuer, the receiver of webhooks."""

import asyncio
from dataclasses import replace
from importlib import metadata

import pytest
from aiohttp import web

from api.doctor.finding import Finding, Level
from api.doctor.outside import check_documents, check_issuer, check_receiver, check_server
from api.identity.issuer_settings import IssuerSettings
from api.settings import read_settings
from api.webhooks.webhook_settings import WebhookSettings
from tests.dsql.certificates import HOST
from tests.identity.shop_issuer import AUDIENCE, SigningKey, shop_issuer
from tests.listener import accepting, running
from tests.server import ADMIN_TOKEN, Server
from tests.webhooks.certificates import server_context

SECRETS = ("whsec_" + "A" * 44,)


@pytest.fixture
async def closed_port() -> int:
    """A port where nothing listens any more."""
    async with accepting(await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)) as port:
        pass
    return port


async def test_a_server_is_found_with_its_health(server: Server) -> None:
    for named in (True, False):
        [finding] = await check_server(server.url, ADMIN_TOKEN, named=named)
        version = metadata.version("dropzero")
        assert (finding.level, finding.found) == (Level.OK, f"dropzero {version} answers at {server.url}, and is ready")


async def test_a_port_is_free_or_taken(closed_port: int) -> None:
    url = f"http://127.0.0.1:{closed_port}"
    [free] = await check_server(url, None, named=False)
    assert (free.level, free.found) == (Level.OK, f"none runs at {url}, and the port is free")
    [gone] = await check_server(url, None, named=True)
    assert (gone.level, "no dropzero answers" in gone.found) == (Level.FAILED, True)

    async def another(request: web.BaseRequest) -> web.Response:
        return web.Response(text="welcome")

    async with running(web.ServerRunner(web.Server(another))) as url:
        [taken] = await check_server(url, None, named=False)
    assert (taken.level, "something else than dropzero answers" in taken.found) == (Level.FAILED, True)


async def test_a_server_that_drains_or_has_no_region_is_not_ready() -> None:
    healths: list[tuple[dict[str, object], int, Level, str]] = [
        ({"draining": True}, 503, Level.FAILED, "it drains"),
        ({"regions": {"here": False}}, 503, Level.FAILED, "no Region answers it (here)"),
        ({"regions": {"here": True, "there": False}}, 200, Level.WARNING, "there is away for it"),
    ]
    health = healths[0]

    async def server(request: web.BaseRequest) -> web.Response:
        match request.path:
            case "/healthz":
                return web.Response(text="ok\n")
            case "/readyz":
                return web.json_response(health[0], status=health[1])
            case _:
                return web.Response(text='dropzero_build_info{python="3.11",version="1.2.3"} 1.0\n')

    async with running(web.ServerRunner(web.Server(server))) as url:
        for health in healths:
            [finding] = await check_server(url, "token", named=True)
            assert finding.level is health[2]
            assert finding.found.startswith(f"dropzero 1.2.3 answers at {url}, and ")
            assert health[3] in finding.found


async def test_the_keys_of_the_issuer_are_found(closed_port: int) -> None:
    async with shop_issuer() as shop:
        shop.keys = [SigningKey("one")]
        [found] = await check_issuer(IssuerSettings(shop.url, frozenset({AUDIENCE})))
        assert (found.level, found.found) == (Level.OK, f"{shop.url} has 1 keys, for ES256")
        [wrong] = await check_issuer(IssuerSettings(f"{shop.url}/", frozenset({AUDIENCE})))
        assert (wrong.level, "names" in wrong.found) == (Level.FAILED, True)
    gone = f"http://127.0.0.1:{closed_port}"
    [finding] = await check_issuer(IssuerSettings(gone, frozenset({AUDIENCE})))
    assert finding.level is Level.FAILED
    assert f"curl {gone}/.well-known/openid-configuration" in finding.mend


async def received(port: int, *, private: bool) -> list[Finding]:
    findings = await check_receiver(WebhookSettings(f"https://{HOST}:{port}/secret-path", SECRETS, private))
    assert "secret-path" not in str(findings)
    return findings


async def test_the_receiver_is_reached_and_nothing_is_sent(closed_port: int) -> None:
    got: list[bytes] = []

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())
        writer.close()

    context = server_context(HOST, by="unknown")
    async with accepting(await asyncio.start_server(receive, "127.0.0.1", 0, ssl=context)) as port:
        *_, private = await received(port, private=False)
        assert (private.level, "has the private address" in private.found) == (Level.FAILED, True)
        reached, certificate = await received(port, private=True)
        assert reached.level is Level.OK
        assert (certificate.level, "does not verify" in certificate.found) == (Level.FAILED, True)
    [gone] = await received(closed_port, private=True)
    assert (gone.level, "nothing listens" in gone.found) == (Level.FAILED, True)
    assert b"".join(got) == b""


async def test_trusted_documents_are_executed_by_this_version_or_found() -> None:
    settings = read_settings({})
    [good] = await check_documents(replace(settings, trusted_documents={"1": "{ products { edges { cursor } } }"}))
    assert (good.level, good.found) == (Level.OK, "all 1 of DROPZERO_DOCUMENTS are valid")
    [bad] = await check_documents(replace(settings, trusted_documents={"1": "{ nothing }"}))
    assert (bad.level, "Cannot query field 'nothing'" in bad.found) == (Level.FAILED, True)
