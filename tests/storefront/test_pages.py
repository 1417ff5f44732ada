"""The pages as they are rendered, and the files that they load, without a browser."""

import json
import re

import pytest

from api.storefront.files import STYLESHEETS, read_files, stylesheet
from api.storefront.languages import LANGUAGES, RIGHT_TO_LEFT
from api.storefront.pages import (
    DROP,
    FOLDER,
    OPERATOR,
    PAGES,
    PAYMENT,
    SCRIPTS,
    Page,
    read_messages,
    script_texts,
)
from api.storefront.rendering import TEMPLATES, Options, Rendering
from tests.storefront.rendered import rendered

MAX_CODE = 94_000
"""Bytes of all scripts and stylesheets together."""

MAX_OPERATOR_CODE = 75_000
"""Bytes of the scripts and the stylesheet that only the operator's page loads."""

MAX_PICTURE = 5_000
"""Bytes of a picture that is ours."""

MAX_REQUESTS = 9
"""Requests of one page load, the websocket included. After the document a browser loads six files at once from one
server: such as one stylesheet and five modules."""

MAX_OPERATOR_REQUESTS = 18
"""The operator's page is a program of many parts, for few readers."""

every_language = pytest.mark.parametrize("language", LANGUAGES)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.template)


@every_language
@every_page
def test_a_page_is_complete_and_names_its_language_and_direction(page: Page, language: str) -> None:
    document = rendered(page, language)
    direction = "rtl" if language in RIGHT_TO_LEFT else "ltr"
    assert f'<html lang="{language}" dir="{direction}">' in document
    assert "{{" not in document
    assert document.count("<h1") == 1
    assert all(f"<{landmark}" in document for landmark in ("header", "nav", "main", "footer"))


@pytest.mark.parametrize("page", [DROP, PAYMENT], ids=["drop", "payment"])
def test_the_name_of_a_drop_has_a_direction_of_its_own(page: Page) -> None:
    """Otherwise Aurora Tee! is read as !Aurora Tee in a page from right to left."""
    assert '<bdi id="name">' in rendered(page, "ar")


@every_page
def test_a_page_has_one_inline_script_and_no_inline_style(page: Page) -> None:
    document = rendered(page)
    script, texts = re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>", document)
    assert (script, texts) == ("", ' id="texts" type="application/json"')
    assert re.findall(r"<style|\sstyle=|\son\w+=|javascript:", document) == []


@every_language
@every_page
def test_a_page_carries_the_texts_that_its_modules_name(page: Page, language: str) -> None:
    code = "".join((SCRIPTS / module).read_text() for module in page.modules)
    named = set(re.findall(r'"(\w+)"', code))
    document = rendered(page, language)
    [texts] = re.findall(r'<script id="texts" type="application/json">(.*?)</script>', document)
    assert json.loads(texts) == {key: read_messages(language)[key] for key in read_messages(language) if key in named}


def test_a_text_cannot_end_the_element_that_it_is_in(monkeypatch: pytest.MonkeyPatch) -> None:
    messages = {**read_messages("en"), "buy": "</script><script>alert(1)</script><!--"}
    monkeypatch.setattr("api.storefront.pages.read_messages", lambda language: messages)
    monkeypatch.setattr("api.storefront.rendering.script_texts", script_texts.__wrapped__)
    assert script_texts.__wrapped__(DROP, "en")["buy"] == messages["buy"]
    assert "alert(1)</script>" not in rendered(DROP)


def test_no_request_has_to_read_a_template() -> None:
    """The first page of a process took 17 ms in one step, for the templates that its own includes."""
    cache = TEMPLATES.cache
    assert cache is not None
    cache.clear()
    Rendering(Options(graphiql=False, race=False, demo=False, guests=False))
    assert {name for _, name in cache} == set(TEMPLATES.list_templates())


@every_page
def test_a_page_requests_nothing_from_other_hosts(page: Page) -> None:
    document = rendered(page).replace("http://www.w3.org/2000/svg", "")
    code = "".join(content.decode() for name, (content, _) in read_files().items() if name.endswith((".js", ".css")))
    assert [link for link in re.findall(r'(?:href|src)="([^"]*)"', document) if "//" in link] == []
    assert re.findall(r"https?://|url\((?!#)", code) == []


@every_page
def test_a_page_preloads_all_its_modules_with_few_requests(page: Page) -> None:
    imported, unread = set(), {page.modules[0]}
    while unread:
        imported |= unread
        code = "".join((SCRIPTS / module).read_text() for module in unread)
        unread = set(re.findall(r'from "\./([\w.]+)"', code)) - imported
    assert imported == set(page.modules), "a module that is not preloaded waits until another module imports it"
    document, operation = 1, 1
    websocket = "StockWatch(" in (SCRIPTS / page.modules[0]).read_text()
    most = MAX_OPERATOR_REQUESTS if page is OPERATOR else MAX_REQUESTS
    assert document + len(page.styles) + len(imported) + operation + websocket <= most


def test_scripts_and_styles_are_small() -> None:
    scripts = {path.name for path in SCRIPTS.glob("*.js")}
    files = read_files()
    pictures = {path.name for path in SCRIPTS.glob("*.svg")}
    assert files.keys() == scripts | pictures | STYLESHEETS.keys()
    assert {path.name for path in SCRIPTS.iterdir()} == scripts | pictures
    assert max(len(files[name][0]) for name in pictures) < MAX_PICTURE
    others = {name for page in PAGES if page is not OPERATOR for name in (*page.styles, *page.modules)}
    sizes = {name: len(content) for name, (content, _) in files.items() if name not in pictures}
    assert sum(size for name, size in sizes.items() if name in others) < MAX_CODE
    assert sum(size for name, size in sizes.items() if name not in others) < MAX_OPERATOR_CODE


def test_files_are_sent_without_the_comments_of_their_source() -> None:
    files = read_files()
    module, sheet = files["api.js"][0].decode(), files["storefront.css"][0].decode()
    assert "// " in (SCRIPTS / "api.js").read_text()
    assert "// " not in module
    assert "/*" not in sheet


def test_the_stylesheets_have_every_style_once() -> None:
    styles = {path.stem: path.read_bytes() for path in (FOLDER / "styles").iterdir()}
    named = [style for names in STYLESHEETS.values() for style in names]
    assert sorted(named) == sorted(styles)
    assert all(stylesheet(named).count(style) == 1 for style in styles.values())
    assert {style for page in PAGES for style in page.styles} == STYLESHEETS.keys()
