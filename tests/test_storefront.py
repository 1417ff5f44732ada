"""The storefront's files and what the server makes of them, without a browser."""

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from starlette.types import Message
from yarl import URL

from api.settings import Settings
from api.storefront.pages import (
    ARCHITECTURE,
    COOKIE,
    DROP,
    FOLDER,
    LANGUAGES,
    MAX_ACCEPT_LANGUAGE,
    PAGES,
    RIGHT_TO_LEFT,
    SHOP,
    Page,
    Storefront,
    asked_language,
    choose_language,
    chosen_language,
    read_messages,
    render_page,
    script_texts,
)
from tests.server import Server, serving

# The categories of CLDR's plural rules for whole numbers and decimals.
PLURAL_FORMS = {
    "en": ["one", "other"],
    "ja": ["other"],
    "zh-Hans": ["other"],
    "ko": ["other"],
    "es": ["one", "many", "other"],
    "fr": ["one", "many", "other"],
    "pt-BR": ["one", "many", "other"],
    "ar": ["zero", "one", "two", "few", "many", "other"],
}
MAX_CODE = 60_000
"""Bytes of script and style together."""
MAX_REQUESTS = 8
"""Of one page load, the websocket included."""

SCRIPTS = sorted((FOLDER / "static").glob("*.js"))
TEMPLATES = sorted(FOLDER.glob("*.html"))
ADDRESSES = {SHOP: "/", DROP: "/drop/0d509e70-0000-4000-8000-000000000001", ARCHITECTURE: "/architecture"}

every_language = pytest.mark.parametrize("language", LANGUAGES)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.files[-1])


def placeholders(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def forms(message: Any) -> list[str]:
    return list(message.values()) if isinstance(message, dict) else [message]


class TestLocales:
    @every_language
    def test_has_the_same_keys_in_the_same_order_as_english(self, language: str) -> None:
        assert list(read_messages(language)) == list(read_messages("en"))

    def test_there_is_a_file_for_every_language_and_no_other(self) -> None:
        assert {path.name for path in (FOLDER / "locales").iterdir()} == {f"{tag}.json" for tag in LANGUAGES}

    @every_language
    def test_has_every_plural_form_of_the_language_where_english_has_any(self, language: str) -> None:
        english = read_messages("en")
        for key, message in read_messages(language).items():
            assert isinstance(message, dict) == isinstance(english[key], dict), key
            if isinstance(message, dict):
                assert list(message) == PLURAL_FORMS[language], key

    @every_language
    def test_says_the_same_of_the_same_values(self, language: str) -> None:
        english = read_messages("en")
        for key, message in read_messages(language).items():
            known = set().union(*map(placeholders, forms(english[key])))
            assert all(placeholders(form) <= known for form in forms(message)), key
            # A form for one number, such as Arabic's for two, may leave the number to the word.
            assert known - {"count", "held"} <= placeholders(forms(message)[-1]), key
            assert all(form.strip() == form and form for form in forms(message)), key

    @every_language
    def test_is_translated(self, language: str) -> None:
        if language == "en":
            return
        english = read_messages("en")
        # What is the same word in both, or a unit, or a name.
        alike = {"drop", "drops", "drop_title", "stock", "milliseconds", "race_version"}
        same = {key for key, message in read_messages(language).items() if message == english[key]}
        assert same <= alike

    def test_every_text_that_is_asked_for_exists_and_every_text_is_asked_for(self) -> None:
        templates = "".join(path.read_text() for path in TEMPLATES)
        scripts = "".join(path.read_text() for path in SCRIPTS)
        keys = set(read_messages("en"))
        made_by_the_server = {"lang", "dir", "page_title", "main", "script", "modules", "languages", "graphiql_link"}
        made_by_the_server |= {"again", "texts"}
        made_by_the_server |= {"language_name", "at_drops", "at_architecture"}
        in_templates = set(re.findall(r"\{\{(\w+)\}\}", templates)) - made_by_the_server
        literally = set(re.findall(r"\btext\(\s*\"(\w+)\"", scripts)) | set(re.findall(r"\bsay\(\"(\w+)\"", scripts))
        titles = {page.title for page in PAGES}
        assert in_templates | literally | titles <= keys
        anyhow = in_templates | titles | {word for word in re.findall(r'"(\w+)"', scripts) if word in keys}
        assert anyhow == keys


class TestDocuments:
    @every_language
    @every_page
    def test_is_whole_and_says_its_language_and_direction(self, page: Page, language: str) -> None:
        document = render_page(page, language, graphiql=True)
        direction = "rtl" if language in RIGHT_TO_LEFT else "ltr"
        assert f'<html lang="{language}" dir="{direction}">' in document
        assert "{{" not in document
        assert document.count("<h1") == 1
        assert all(f"<{landmark}" in document for landmark in ("header", "nav", "main", "footer"))

    @every_page
    def test_has_one_inline_script_and_no_inline_style(self, page: Page) -> None:
        document = render_page(page, "en", graphiql=True)
        script, texts = re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>", document)
        assert (script, texts) == ("", ' id="texts" type="application/json"')
        assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", document) == []

    @every_language
    @every_page
    def test_carries_the_texts_that_its_modules_name(self, page: Page, language: str) -> None:
        code = "".join((FOLDER / "static" / module).read_text() for module in page.modules)
        named = set(re.findall(r'"(\w+)"', code))
        document = render_page(page, language, graphiql=True)
        [texts] = re.findall(r'<script id="texts" type="application/json">(.*?)</script>', document)
        assert json.loads(texts) == {
            key: read_messages(language)[key] for key in read_messages(language) if key in named
        }

    def test_a_text_cannot_end_the_element_that_it_is_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        messages = {**read_messages("en"), "buy": "</script><script>alert(1)</script><!--"}
        monkeypatch.setattr("api.storefront.pages.read_messages", lambda language: messages)
        assert script_texts(DROP, "en")["buy"] == messages["buy"]
        assert "alert(1)</script>" not in render_page(DROP, "en", graphiql=True)

    @every_page
    def test_asks_nobody_else_for_anything(self, page: Page) -> None:
        document = render_page(page, "en", graphiql=True).replace("http://www.w3.org/2000/svg", "")
        code = "".join(path.read_text() for path in (*SCRIPTS, FOLDER / "static" / "storefront.css"))
        assert [link for link in re.findall(r'(?:href|src)="([^"]*)"', document) if "//" in link] == []
        assert re.findall(r"https?://|url\(", code) == []

    @every_page
    def test_loads_with_few_requests_and_knows_all_its_modules(self, page: Page) -> None:
        imported, unread = set(), {page.modules[0]}
        while unread:
            imported |= unread
            code = "".join((FOLDER / "static" / module).read_text() for module in unread)
            unread = set(re.findall(r'from "\./([\w.]+)"', code)) - imported
        assert imported == set(page.modules), "a module that is not preloaded waits for the one that imports it"
        document, style, operation, websocket = 1, 1, 1, 1
        assert document + style + len(imported) + operation + websocket <= MAX_REQUESTS

    def test_script_and_style_are_small(self) -> None:
        code = [*SCRIPTS, *(FOLDER / "static").glob("*.css")]
        assert set((FOLDER / "static").iterdir()) == set(code)
        assert sum(path.stat().st_size for path in code) < MAX_CODE


class TestLanguage:
    @pytest.mark.parametrize(
        ("asked", "chosen", "accepted", "language"),
        [
            ("ar", "ko", "fr", "ar"),
            (None, "ko", "fr", "ko"),
            (None, None, "fr", "fr"),
            (None, None, "", "en"),
            ("tlh", None, "ja", "ja"),
            ("<script>", "", "*", "en"),
            ("zh", None, "", "zh-Hans"),
            ("PT-br", None, "", "pt-BR"),
            (None, None, "pt-PT", "pt-BR"),
            (None, None, "zh-TW, en;q=0.5", "zh-Hans"),
            (None, None, "de-CH, de;q=0.9, es;q=0.4, en;q=0.6", "en"),
            (None, None, "en;q=0, ko;q=0.1", "ko"),
            (None, None, "ja;q=many, ;;, es", "es"),
            (None, None, "de, " * 49 + "ko", "ko"),
            (None, None, "de, " * 49 + "korean", "en"),
            (None, None, "ko" + "o" * MAX_ACCEPT_LANGUAGE, "en"),
        ],
    )
    def test_is_what_is_asked_for_then_chosen_then_accepted(
        self, asked: str | None, chosen: str | None, accepted: str, language: str
    ) -> None:
        assert choose_language(asked, chosen, accepted) == language

    @pytest.mark.parametrize(
        ("query_string", "asked"),
        [
            (b"", None),
            (b"lang=ja", "ja"),
            (b"utm_source=mail&lang=pt%2DBR", "pt-BR"),
            (b"language=ja&slang=ja&lang", None),
            (b"lang=", ""),
            (b"lang=ja&lang=ko", "ko"),
            (b"a&" * 19 + b"lang=ja", "ja"),
            (b"a&" * 20 + b"lang=ja", None),
            (b"a=" + b"x" * 60_000 + b"&lang=ja", "ja"),
        ],
    )
    def test_is_asked_for_by_one_of_the_first_parameters(self, query_string: bytes, asked: str | None) -> None:
        assert asked_language(query_string) == asked

    @pytest.mark.parametrize(
        ("cookies", "chosen"),
        [
            ("", None),
            (f"{COOKIE}=ja", "ja"),
            (f"a=b; {COOKIE}=pt-BR; c=d", "pt-BR"),
            (f"a=b,{COOKIE}=ar", "ar"),
            (f'{COOKIE}="ko"', "ko"),
            (f"other_{COOKIE}=ja", None),
            (f"{COOKIE}_other=ja", None),
            (f"{COOKIE}=ar; {COOKIE}=ko", "ko"),
            (f"other_{COOKIE}=ja; {COOKIE}=ko", "ko"),
            (f"{COOKIE}=", None),
            (f"{COOKIE}={'j' * 36}", None),
            (f"a={'b' * 8_000}; {COOKIE}=ja", "ja"),
            (f"a={'b' * 9_000}; {COOKIE}=ja", None),
        ],
    )
    def test_was_chosen_in_one_of_the_first_cookies(self, cookies: str, chosen: str | None) -> None:
        assert chosen_language(cookies) == chosen

    async def test_is_told_to_caches_and_readers(self, server: Server) -> None:
        headers = {"accept-language": "fr", "cookie": f"{COOKIE}=ja"}
        async with server.session.get(f"{server.url}/", headers=headers) as response:
            assert response.headers["content-language"] == "ja"
            assert response.headers["vary"] == "accept-language, cookie"
            assert "なくなり次第" in await response.text()
        async with server.session.get(f"{server.url}/?lang=ar", headers=headers) as response:
            assert 'dir="rtl"' in await response.text()


class TestServing:
    async def test_everything_is_asked_for_again_and_answered_by_304(self, server: Server) -> None:
        files = ["/static/storefront.css", "/static/drop.js"]
        for address in [*ADDRESSES.values(), *files]:
            async with server.session.get(f"{server.url}{address}") as response:
                assert response.status == 200
                assert response.headers["cache-control"] == "no-cache"
                assert response.headers["x-content-type-options"] == "nosniff"
                etag = response.headers["etag"]
            async with server.session.get(f"{server.url}{address}", headers={"if-none-match": etag}) as response:
                assert (response.status, await response.read()) == (304, b"")

    async def test_a_page_in_another_language_is_another_page_to_a_cache(self, server: Server) -> None:
        async with server.session.get(f"{server.url}/?lang=en") as response:
            etag = response.headers["etag"]
        headers = {"if-none-match": etag, "accept-language": "ko"}
        async with server.session.get(f"{server.url}/", headers=headers) as response:
            assert response.status == 200

    async def test_nothing_but_its_own_files_may_run(self, server: Server) -> None:
        async with server.session.get(f"{server.url}/") as response:
            policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
            [script] = re.findall(r"<script>(.*?)</script>", await response.text(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == f"'self' 'sha256-{digest}'"
        assert policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"

    async def test_nothing_else_is_served(self, server: Server) -> None:
        others = [
            "/nothing",
            "/drop/",
            "/drop/1",
            "/layout.html",
            "/drop.html",
            "/again.js",
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

    async def test_an_address_without_a_page_has_one_that_leads_back(self, server: Server) -> None:
        async with server.session.get(f"{server.url}/drop/none?lang=es") as response:
            assert response.status == 404
            assert "Aquí no hay nada." in await response.text()
            etag = response.headers["etag"]
        async with server.session.get(f"{server.url}/drop/none?lang=es", headers={"if-none-match": etag}) as response:
            assert response.status == 404, "no condition makes it a page that is there (RFC 9110, section 13.2.1)"

    @pytest.mark.parametrize("graphiql", [True, False])
    async def test_graphiql_is_linked_to_where_it_is_on(self, settings: Settings, graphiql: bool) -> None:
        async with serving(replace(settings, graphiql=graphiql)) as server:
            for address in ADDRESSES.values():
                async with server.session.get(f"{server.url}{address}") as response:
                    assert ('href="/graphql"' in await response.text()) is graphiql

    @pytest.mark.parametrize("race", [True, False])
    async def test_a_race_buys_of_the_drops_only_where_it_is_on(self, settings: Settings, race: bool) -> None:
        async with (
            serving(replace(settings, race=race)) as server,
            server.session.get(f"{server.url}/architecture") as response,
        ):
            document = await response.text()
        assert ('id="race"' in document, "/static/race.js" in document) == (race, race)
        assert "/static/locale.js" in document
        assert ' aria-current="page">How it works' in document


MUCH = 60_000
"""Bytes of a request's head that are full of one thing."""

HOSTILE = {
    "accept-language": {"headers": [(b"accept-language", b"a," * (MUCH // 2))]},
    "weighted": {"headers": [(b"accept-language", b"a;q=0.5," * (MUCH // 8))]},
    "blanks": {"headers": [(b"accept-language", b" " * MUCH + b"a")]},
    "cookies": {"headers": [(b"cookie", b"a=b;" * (MUCH // 4))]},
    "cookies of a language": {"headers": [(b"cookie", b"dropzero_language=!;" * (MUCH // 20))]},
    "cookies without end": {"headers": [(b"cookie", b"dropzero_language=ja" + b" " * MUCH)]},
    "blank cookies": {"headers": [(b"cookie", b"; " * (MUCH // 2))]},
    "parameters": {"query_string": b"a&" * (MUCH // 2)},
    "languages": {"query_string": b"lang=xx&" * (MUCH // 8)},
    "one language": {"query_string": b"lang=" + b"%41" * (MUCH // 3)},
    "etags": {"headers": [(b"if-none-match", b'"a",' * (MUCH // 4))]},
    "folders": {"path": "/" + "a/" * (MUCH // 2)},
    "folders of files": {"path": "/static/" + "a/" * (MUCH // 2)},
    "dots": {"path": "/static/" + "a/../" * (MUCH // 5) + "api.js"},
}


class TestCost:
    async def cost(self, storefront: Storefront, **head: Any) -> float:
        """Seconds of processor time for the answer to a GET, the least of several."""
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []} | head

        async def receive() -> Message:
            return await asyncio.Future()

        async def send(message: Message) -> None:
            pass

        costs = []
        for _ in range(10):
            begun = time.process_time()
            with contextlib.suppress(HTTPException):
                await storefront(dict(scope), receive, send)
            costs.append(time.process_time() - begun)
        return min(costs)

    @pytest.mark.parametrize("head", HOSTILE.values(), ids=HOSTILE)
    async def test_a_page_costs_about_the_same_whatever_its_head_is_full_of(self, head: dict[str, Any]) -> None:
        storefront = Storefront(graphiql=False, race=False)
        usual = await self.cost(storefront)
        assert await self.cost(storefront, **head) < 20 * usual
