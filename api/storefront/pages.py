"""The storefront: its pages in the reader's language, and the files that they load."""

import base64
import hashlib
import html
import mimetypes
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus

import orjson
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from api.graphql.headers import read_headers

FOLDER = Path(__file__).parent

LANGUAGES = {
    "en": "English",
    "ja": "日本語",
    "zh-Hans": "简体中文",
    "ko": "한국어",
    "es": "Español",
    "fr": "Français",
    "pt-BR": "Português",
    "ar": "العربية",
}
"""What the page speaks, by BCP 47 tag, each under the name that its speakers give it. English where nothing fits."""

RIGHT_TO_LEFT = {"ar"}

COOKIE = "dropzero_language"
"""Where the page keeps the language that its reader chose."""

MAX_ACCEPT_LANGUAGE = 200
"""Characters of Accept-Language that are looked at, up to the last whole entry. A browser with ten languages sends
fewer. The header is advice, which a server may disregard (RFC 9110, section 12.5.4)."""

MAX_PARAMETERS = 20
"""Parameters of a page's query string that are looked at, from its start. Links out of mails carry some ten."""

MAX_COOKIES = 8_192
"""Characters of the Cookie header that are looked at: nginx, by default, accepts no longer a line."""

MAX_TAG = 35
"""Characters of a language's tag (RFC 5646, section 4.4.1)."""

_AGAIN = "\n" + (FOLDER / "again.js").read_text(encoding="utf-8")
"""The one script that is in the pages themselves. It loads again what did not come."""

_AGAIN_HASH = base64.b64encode(hashlib.sha256(_AGAIN.encode()).digest()).decode()

_HEADERS = {
    # Asked for again each time, and answered by 304 where nothing changed: no stale script after an upgrade.
    "cache-control": "no-cache",
    # Nothing from elsewhere runs or loads, no text becomes markup, and no other site may put the Buy button into a
    # frame of its own. Of what is in a page only the one script runs that has this hash.
    "content-security-policy": f"default-src 'none'; script-src 'self' 'sha256-{_AGAIN_HASH}'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "referrer-policy": "no-referrer",
}

_CURRENT = ' aria-current="page"'
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_ACCEPTED = re.compile(r"[ \t]*([A-Za-z0-9-]+|\*)[ \t]*(?:;[ \t]*q=(0(?:\.[0-9]*)?|1(?:\.0*)?)[ \t]*)?")
_CHOSEN = re.compile(rf'{COOKIE}=(?<![^;, \t]{COOKIE}=)"?([A-Za-z0-9-]{{1,{MAX_TAG}}})"?[ \t]*(?:$|[;,])')
_READ = frozenset({b"accept-language", b"cookie", b"if-none-match"})
_DOCUMENT = re.compile(r"= `((?:query|mutation|subscription)\b[^`]*)`")


@dataclass(frozen=True, slots=True)
class Page:
    """What is particular to a page: the files of its main part, and the modules it runs, its own first."""

    files: tuple[str, ...]
    title: str
    modules: tuple[str, ...]
    status: int = 200


SHOP = Page(("index.html",), "shop_title", ("shop.js", "api.js", "locale.js"))
DROP = Page(("drop.html",), "drop_title", ("drop.js", "api.js", "locale.js", "purchase.js"))
ARCHITECTURE = Page(("architecture.html",), "architecture_title", ("locale.js",))
ARCHITECTURE_WITH_RACE = Page(
    ("architecture.html", "race.html"), "architecture_title", ("race.js", "api.js", "locale.js", "purchase.js")
)
MISSING = Page(("missing.html",), "missing_title", ("locale.js",), status=404)
PAGES = (SHOP, DROP, ARCHITECTURE, ARCHITECTURE_WITH_RACE, MISSING)


class Storefront:
    """The ASGI application that answers for all of the storefront's addresses."""

    def __init__(self, *, graphiql: bool, race: bool) -> None:
        """`graphiql` says whether there is an IDE at /graphql to link to, `race` whether readers may buy made-up
        customers' units of the drops that are on sale, and give them back."""
        architecture = ARCHITECTURE_WITH_RACE if race else ARCHITECTURE
        self._router = Router(
            [
                _page_route("/", SHOP, graphiql=graphiql),
                _page_route("/drop/{id:uuid}", DROP, graphiql=graphiql),
                _page_route("/architecture", architecture, graphiql=graphiql),
                _static_route(FOLDER / "static"),
                _page_route("/{path:path}", MISSING, graphiql=graphiql),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._router(scope, receive, send_with_headers)


def choose_language(asked: str | None, chosen: str | None, accepted: str) -> str:
    """The tag of the language to answer in: what the address asks for, else what the reader chose before, else what
    the browser accepts (RFC 9110, section 12.5.4), of which MAX_ACCEPT_LANGUAGE characters count, else English."""
    if len(accepted) > MAX_ACCEPT_LANGUAGE:
        accepted = accepted[:MAX_ACCEPT_LANGUAGE].rpartition(",")[0]
    wishes: list[tuple[float, str]] = []
    for entry in accepted.split(","):
        if (match := _ACCEPTED.fullmatch(entry)) is not None:
            wishes.append((float(match[2] or 1), match[1]))
    preferred = [tag for quality, tag in sorted(wishes, key=lambda wish: -wish[0]) if quality > 0]
    for tag in (asked, chosen, *preferred):
        # Any Portuguese is read better than English by who asks for Portuguese of another country.
        wanted = (tag or "").lower()
        for language in LANGUAGES:
            if wanted.partition("-")[0] == language.partition("-")[0]:
                return language
    return "en"


def asked_language(query_string: bytes) -> str | None:
    """The value of the last `lang` in a query string, of which MAX_PARAMETERS parameters count."""
    asked = None
    for parameter in query_string.split(b"&", MAX_PARAMETERS)[:MAX_PARAMETERS]:
        if parameter.startswith(b"lang="):
            asked = unquote_plus(parameter[len(b"lang=") :][: 3 * MAX_TAG].decode("latin-1"))
    return asked


def chosen_language(cookies: str) -> str | None:
    """The language that the reader chose last, from a Cookie header, of which MAX_COOKIES characters count."""
    chosen = _CHOSEN.findall(cookies[:MAX_COOKIES])
    return chosen[-1] if chosen else None


def documents() -> list[str]:
    """The GraphQL documents that the pages' modules send."""
    modules = sorted((FOLDER / "static").glob("*.js"))
    return [text for module in modules for text in _DOCUMENT.findall(module.read_text(encoding="utf-8"))]


def read_messages(language: str) -> dict[str, Any]:
    """The texts of a language by key; a text that depends on a number is an object of its plural forms."""
    messages: dict[str, Any] = orjson.loads((FOLDER / "locales" / f"{language}.json").read_bytes())
    return messages


def script_texts(page: Page, language: str) -> dict[str, Any]:
    """Those texts of a language whose keys the page's modules name."""
    code = "".join((FOLDER / "static" / module).read_text(encoding="utf-8") for module in page.modules)
    return {key: message for key, message in read_messages(language).items() if f'"{key}"' in code}


def render_page(page: Page, language: str, *, graphiql: bool) -> str:
    """A whole document, so that language, direction and texts are right before any script runs."""
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
        "again": _AGAIN,
        "script": page.modules[0],
        "modules": "\n    ".join(
            f'<link rel="modulepreload" href="/static/{module}" />' for module in page.modules[1:]
        ),
        "languages": "\n              ".join(_language_link(tag, language) for tag in LANGUAGES),
        # No text can end the element that it is in.
        "texts": orjson.dumps(script_texts(page, language)).decode().replace("<", "\\u003c"),
        "graphiql_link": '<a href="/graphql">GraphiQL</a>' if graphiql else "",
    }
    document = _PLACEHOLDER.sub(lambda found: markup.get(found[1], found[0]), layout)
    return _PLACEHOLDER.sub(lambda found: html.escape(messages[found[1]]), document)


def _language_link(tag: str, current: str) -> str:
    mark = ' aria-current="true"' if tag == current else ""
    return f'<li><a href="?lang={tag}" hreflang="{tag}" lang="{tag}"{mark}>{LANGUAGES[tag]}</a></li>'


def _page_route(path: str, page: Page, *, graphiql: bool) -> Route:
    """The page in all languages, rendered once."""
    rendered = {language: render_page(page, language, graphiql=graphiql).encode() for language in LANGUAGES}
    answers = {language: (body, _etag(body)) for language, body in rendered.items()}

    async def answer(request: Request) -> Response:
        sent = read_headers(request.scope, _READ)
        language = choose_language(
            asked_language(request.scope["query_string"]),
            chosen_language(sent.get("cookie", "")),
            sent.get("accept-language", ""),
        )
        body, etag = answers[language]
        headers = {"etag": etag, "content-language": language, "vary": "accept-language, cookie"}
        if page.status == 200 and etag in sent.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, status_code=page.status, media_type="text/html", headers=headers)

    return Route(path, answer)


def _static_route(folder: Path) -> Route:
    """The files of a folder, each under its exact name and read once. Starlette's StaticFiles looks at the disk for
    each request, in a thread, which took up to 16 ms of the event loop and cost more than a purchase."""
    files = {path.name: (path.read_bytes(), mimetypes.guess_type(path.name)[0]) for path in folder.iterdir()}
    etags = {name: _etag(body) for name, (body, _) in files.items()}

    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            raise HTTPException(404)
        body, media_type = files[name]
        headers = {"etag": etags[name]}
        if etags[name] in read_headers(request.scope, _READ).get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(body, media_type=media_type, headers=headers)

    return Route("/static/{name}", answer)


def _etag(body: bytes) -> str:
    return f'"{hashlib.sha256(body).hexdigest()[:32]}"'
