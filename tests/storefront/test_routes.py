"""The storefront's addresses, as a server answers them."""

import base64
import hashlib
import re
from dataclasses import replace

import pytest
from yarl import URL

from api.database.pool import Pool
from api.drops.new_product import create_product
from api.drops.sample import SAMPLE
from api.settings import Settings
from api.storefront.languages import COOKIE
from tests.server import Server, serving

ADDRESSES = ("/", f"/drop/{SAMPLE.id}", "/architecture", "/operator")


@pytest.fixture(autouse=True)
async def sample(pool: Pool) -> None:
    await create_product(pool, SAMPLE)


async def test_a_page_or_file_that_has_not_changed_is_answered_by_304(server: Server) -> None:
    files = ["/static/storefront.css", "/static/drop.js"]
    of_a_product = ADDRESSES[1]  # each response has a key of its own
    for address in {*ADDRESSES, *files} - {of_a_product}:
        async with server.session.get(f"{server.url}{address}") as response:
            assert response.status == 200
            assert response.headers["cache-control"] == "no-cache"
            assert response.headers["x-content-type-options"] == "nosniff"
            etag = response.headers["etag"]
        async with server.session.get(f"{server.url}{address}", headers={"if-none-match": etag}) as response:
            assert (response.status, await response.read()) == (304, b"")


async def test_the_etag_of_one_language_does_not_match_another(server: Server) -> None:
    async with server.session.get(f"{server.url}/?lang=en") as response:
        etag = response.headers["etag"]
    headers = {"if-none-match": etag, "accept-language": "ko"}
    async with server.session.get(f"{server.url}/", headers=headers) as response:
        assert response.status == 200


async def test_the_policy_lets_only_our_own_files_run(server: Server) -> None:
    async with server.session.get(f"{server.url}/") as response:
        policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
        [script] = re.findall(r"<script>(.*?)</script>", await response.text(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == f"'self' 'sha256-{digest}'"
    assert policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
    assert policy["form-action"] == "'self'"


async def test_search_engines_leave_out_the_operators_page_alone(server: Server) -> None:
    for address in ADDRESSES:
        async with server.session.get(f"{server.url}{address}") as response:
            assert response.headers.get("x-robots-tag") == ("noindex" if address == "/operator" else None)


async def test_other_addresses_are_not_found(server: Server) -> None:
    others = [
        "/nothing",
        "/drop/",
        "/drop/1",
        "/layout.html",
        "/drop.html",
        "/load_again.js",
        "/static/",
        "/static/../pages.py",
        "/static/api.js/",
        "/static//api.js",
        "/static/./api.js",
        "/static/x/../api.js",
        "/static/%2e/api.js",
        "/static/api.js%0a",
        "/static/api.js%00",
        "/static/API.js",
    ]
    for address in others:
        async with server.session.get(URL(f"{server.url}{address}", encoded=True)) as response:
            assert response.status == 404, address


async def test_an_address_without_a_page_gets_one_that_leads_back(server: Server) -> None:
    async with server.session.get(f"{server.url}/drop/none?lang=es") as response:
        assert response.status == 404
        assert "Aquí no hay nada." in await response.text()
        etag = response.headers["etag"]
    async with server.session.get(f"{server.url}/drop/none?lang=es", headers={"if-none-match": etag}) as response:
        assert response.status == 404, "a condition does not turn 404 into 304 (RFC 9110, section 13.2.1)"


@pytest.mark.parametrize("graphiql", [True, False])
async def test_pages_link_to_graphiql_only_where_it_is_on(settings: Settings, graphiql: bool) -> None:
    async with serving(replace(settings, graphiql=graphiql)) as server:
        for address in ADDRESSES:
            async with server.session.get(f"{server.url}{address}") as response:
                assert ('href="/graphql"' in await response.text()) is graphiql


@pytest.mark.parametrize("race", [True, False])
async def test_the_architecture_has_the_race_only_where_it_is_on(settings: Settings, race: bool) -> None:
    async with (
        serving(replace(settings, race=race)) as server,
        server.session.get(f"{server.url}/architecture") as response,
    ):
        document = await response.text()
    assert ('id="race"' in document, "/static/race.js" in document) == (race, race)
    assert "/static/locale.js" in document
    assert ' aria-current="page">How it works' in document


async def test_the_answer_names_its_language_to_caches_and_readers(server: Server) -> None:
    headers = {"accept-language": "fr", "cookie": f"{COOKIE}=ja"}
    async with server.session.get(f"{server.url}/", headers=headers) as response:
        assert response.headers["content-language"] == "ja"
        assert response.headers["vary"] == "accept-encoding, accept-language, cookie"
        assert "なくなり次第" in await response.text()
    async with server.session.get(f"{server.url}/?lang=ar", headers=headers) as response:
        assert 'dir="rtl"' in await response.text()
