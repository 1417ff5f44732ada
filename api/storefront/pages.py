"""The storefront's pages, rendered in each language, and the GraphQL documents that they send."""

import html
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from api.storefront.languages import LANGUAGES, RIGHT_TO_LEFT

FOLDER = Path(__file__).parent
SCRIPTS = FOLDER / "static"

LOAD_AGAIN = "\n" + (FOLDER / "load_again.js").read_text(encoding="utf-8")
"""The one inline script of a page. It retries files that failed to load."""

_CURRENT = ' aria-current="page"'
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_QUOTED = re.compile(r'"(?=(\w+)")')
_DOCUMENT = re.compile(r"= `((?:query|mutation|subscription)\b[^`]*)`")


@dataclass(frozen=True, slots=True)
class Page:
    """The files of a page's main part, the key of its title, its modules (the first one runs), the stylesheet that it
    loads beside that of all pages, and its HTTP status."""

    files: tuple[str, ...]
    title: str
    modules: tuple[str, ...]
    style: str | None = None
    status: int = 200

    @property
    def styles(self) -> tuple[str, ...]:
        """The page's stylesheets, the general before the particular."""
        return ("storefront.css",) if self.style is None else ("storefront.css", self.style)


SHOP = Page(("index.html",), "shop_title", ("shop.js", "api.js", "locale.js"))
DROP = Page(("drop.html",), "drop_title", ("drop.js", "api.js", "hold.js", "locale.js", "purchase.js"))
PAYMENT = Page(("payment.html",), "payment_title", ("payment.js", "api.js", "hold.js", "locale.js", "purchase.js"))
ARCHITECTURE = Page(("architecture.html",), "architecture_title", ("locale.js",), "architecture.css")
ARCHITECTURE_WITH_RACE = Page(
    ("architecture.html", "race.html"),
    "architecture_title",
    ("race.js", "api.js", "locale.js", "purchase.js"),
    "architecture.css",
)
OPERATOR = Page(
    ("operator.html",),
    "operator_title",
    (
        "operator.js",
        "api.js",
        "chart.js",
        "locale.js",
        "operator_activity.js",
        "operator_list.js",
        "operator_log.js",
        "operator_orders.js",
        "operator_parts.js",
        "operator_product.js",
        "operator_session.js",
        "purchase.js",
    ),
    "operator.css",
)
MISSING = Page(("missing.html",), "missing_title", ("locale.js",), status=404)
PAGES = (SHOP, DROP, PAYMENT, ARCHITECTURE, ARCHITECTURE_WITH_RACE, OPERATOR, MISSING)


def documents() -> list[str]:
    """Return the GraphQL documents that the pages' modules send."""
    modules = sorted(SCRIPTS.glob("*.js"))
    return [text for module in modules for text in _DOCUMENT.findall(module.read_text(encoding="utf-8"))]


def read_messages(language: str) -> dict[str, Any]:
    """Return the texts of a language by key. A text that depends on a number is an object of its plural forms."""
    messages: dict[str, Any] = orjson.loads((FOLDER / "locales" / f"{language}.json").read_bytes())
    return messages


def script_texts(page: Page, language: str) -> dict[str, Any]:
    """Return those texts of a language whose keys the page's modules name."""
    code = "".join((SCRIPTS / module).read_text(encoding="utf-8") for module in page.modules)
    named = set(_QUOTED.findall(code))
    return {key: message for key, message in read_messages(language).items() if key in named}


def render_page(page: Page, language: str, *, graphiql: bool, demo: bool, guests: bool) -> str:
    """Return the page's whole HTML document. Its language, direction and texts are right before any script runs.
    `graphiql`: it links to GraphiQL. `demo`: held orders are paid in the demo. `guests`: readers can buy as guests."""
    messages = read_messages(language)
    layout, *parts = ((FOLDER / file).read_text(encoding="utf-8") for file in ("layout.html", *page.files))
    markup = {
        "lang": language,
        "dir": "rtl" if language in RIGHT_TO_LEFT else "ltr",
        "page_title": html.escape(messages[page.title]),
        "language_name": LANGUAGES[language],
        "at_drops": _CURRENT if page is SHOP else "",
        "at_architecture": _CURRENT if page.title == ARCHITECTURE.title else "",
        "main": "".join(parts).rstrip(),
        "again": LOAD_AGAIN,
        "styles": "\n    ".join(f'<link rel="stylesheet" href="/static/{style}" />' for style in page.styles),
        "script": page.modules[0],
        "modules": "\n    ".join(
            f'<link rel="modulepreload" href="/static/{module}" />' for module in page.modules[1:]
        ),
        "languages": "\n              ".join(_language_link(tag, language) for tag in LANGUAGES),
        # Without "<", no text can end its script element.
        "texts": orjson.dumps(script_texts(page, language)).decode().replace("<", "\\u003c"),
        "demo": "true" if demo else "false",
        "guests": "true" if guests else "false",
        "graphiql_link": '<a href="/graphql">GraphiQL</a>' if graphiql else "",
    }
    document = _PLACEHOLDER.sub(lambda found: markup.get(found[1], found[0]), layout)
    return _PLACEHOLDER.sub(lambda found: html.escape(messages[found[1]]), document)


def _language_link(tag: str, current: str) -> str:
    mark = ' aria-current="true"' if tag == current else ""
    return f'<li><a href="?lang={tag}" hreflang="{tag}" lang="{tag}"{mark}>{LANGUAGES[tag]}</a></li>'
