"""The storefront's pages: their templates, modules and stylesheets, their texts, and the GraphQL documents that they
send."""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from rjsmin import jsmin

FOLDER = Path(__file__).parent
SCRIPTS = FOLDER / "static"

LOAD_AGAIN = "\n" + (FOLDER / "load_again.js").read_text(encoding="utf-8")
"""The one inline script of a page. It retries files that failed to load."""

_QUOTED = re.compile(r'"(?=(\w+)")')
_DOCUMENT = re.compile(r"=`((?:query|mutation|subscription)\b[^`]*)`")


@dataclass(frozen=True, slots=True)
class Page:
    """A page's template, the key of its title, its modules (the first one runs), the stylesheet that it loads beside
    that of all pages, the address of the link in the frame that leads to it, and the key of its description for search
    engines."""

    template: str
    title: str
    modules: tuple[str, ...]
    style: str | None = None
    place: str | None = None
    description: str = "description"

    @property
    def styles(self) -> tuple[str, ...]:
        """The page's stylesheets, the general before the particular."""
        return ("storefront.css",) if self.style is None else ("storefront.css", self.style)


SHOP = Page("index.html", "shop_title", ("shop.js", "api.js", "locale.js"), "list.css", place="/")
DROP = Page("drop.html", "drop_title", ("drop.js", "api.js", "hold.js", "locale.js", "purchase.js"))
UNANSWERED = Page("unanswered.html", "drop_title", ("locale.js",))
PAYMENT = Page(
    "payment.html", "payment_title", ("payment.js", "api.js", "hold.js", "locale.js", "purchase.js"), "orders.css"
)
ARCHITECTURE = Page(
    "architecture.html",
    "architecture_title",
    ("locale.js",),
    "architecture.css",
    place="/architecture",
    description="architecture_intro",
)
RACE = Page(
    "race.html",
    "architecture_title",
    ("race.js", "api.js", "locale.js", "purchase.js"),
    "architecture.css",
    place="/architecture",
    description="architecture_intro",
)
OPERATOR = Page(
    "operator.html",
    "operator_title",
    (
        "operator.js",
        "api.js",
        "chart.js",
        "locale.js",
        "operator_activity.js",
        "operator_list.js",
        "operator_log.js",
        "operator_look.js",
        "operator_orders.js",
        "operator_parts.js",
        "operator_product.js",
        "operator_session.js",
        "purchase.js",
    ),
    "operator.css",
)
ORDERS = Page(
    "orders.html",
    "orders_title",
    ("orders.js", "api.js", "hold.js", "locale.js", "purchase.js"),
    "orders.css",
    "/orders",
)
ORDER = Page("order.html", "orders_title", ORDERS.modules, "orders.css")
ABOUT = Page("about.html", "about_shop", ("locale.js",), place="/about")
MISSING = Page("missing.html", "missing_title", ("locale.js",), "list.css")
PAGES = (SHOP, DROP, UNANSWERED, PAYMENT, ARCHITECTURE, RACE, OPERATOR, ORDERS, ORDER, ABOUT, MISSING)


@cache
def read_script(name: str) -> str:
    """Return a file of the scripts' folder as it is sent: modules without comments and white space."""
    source = (SCRIPTS / name).read_text(encoding="utf-8")
    return str(jsmin(source)) if name.endswith(".js") else source


def documents() -> list[str]:
    """Return the GraphQL documents that the pages' modules send."""
    modules = sorted(path.name for path in SCRIPTS.glob("*.js"))
    return [text for module in modules for text in _DOCUMENT.findall(read_script(module))]


@cache
def read_messages(language: str) -> dict[str, Any]:
    """Return the texts of a language by key. A text that depends on a number is an object of its plural forms."""
    messages: dict[str, Any] = orjson.loads((FOLDER / "locales" / f"{language}.json").read_bytes())
    return messages


@cache
def script_texts(page: Page, language: str) -> dict[str, Any]:
    """Return those texts of a language whose keys the page's modules name."""
    code = "".join((SCRIPTS / module).read_text(encoding="utf-8") for module in page.modules)
    named = set(_QUOTED.findall(code))
    return {key: message for key, message in read_messages(language).items() if key in named}
