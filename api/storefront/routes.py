"""The storefront's routes: each page in the reader's language, and the files that the pages load.

All of them are read and rendered once, when the application is made.
"""

import base64
import hashlib
from functools import cache, partial

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from api.graphql.headers import headers_of, text_of
from api.storefront.content import Content
from api.storefront.files import read_files
from api.storefront.languages import LANGUAGES, choose_language, language_in_cookies, language_in_query
from api.storefront.pages import (
    ARCHITECTURE,
    ARCHITECTURE_WITH_RACE,
    DROP,
    LOAD_AGAIN,
    MISSING,
    OPERATOR,
    PAYMENT,
    SHOP,
    Page,
    render_page,
)

_LOAD_AGAIN_HASH = base64.b64encode(hashlib.sha256(LOAD_AGAIN.encode()).digest()).decode()

_HEADERS = {
    # Browsers send each request again, and get 304 where nothing changed: no stale script after an upgrade.
    "cache-control": "no-cache",
    # Nothing from elsewhere runs or loads, and no text becomes markup. No other site may put the Buy button into a
    # frame. Of inline scripts, only the one with this hash runs.
    "content-security-policy": f"default-src 'none'; script-src 'self' 'sha256-{_LOAD_AGAIN_HASH}'; style-src 'self'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "referrer-policy": "no-referrer",
}


class Storefront:
    """The ASGI application that answers for all of the storefront's addresses."""

    def __init__(self, *, graphiql: bool, race: bool, demo: bool, guests: bool) -> None:
        """`graphiql`: the pages link to GraphiQL at /graphql. `race`: the page about the architecture has the race, in
        which readers buy units for made-up buyers and give them back. `demo`: held orders link to a page that plays
        their payment; without it, the pages say that the shop takes the payment. `guests`: readers can buy as guests;
        without them, the pages say that buyers must sign in."""
        route = partial(_page_route, graphiql=graphiql, demo=demo, guests=guests)
        self._router = Router(
            [
                route("/", SHOP),
                route("/drop/{id:uuid}", DROP),
                route("/architecture", ARCHITECTURE_WITH_RACE if race else ARCHITECTURE),
                route("/operator", OPERATOR),
                *([route("/demo/pay/{id:uuid}", PAYMENT)] if demo else []),
                _static_route(),
                route("/{path:path}", MISSING),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._router(scope, receive, send_with_headers)


def _page_route(path: str, page: Page, *, graphiql: bool, demo: bool, guests: bool) -> Route:
    """The route of a page in all languages."""
    kept_out = {"x-robots-tag": "noindex"} if page is OPERATOR else {}
    rendered = {tag: _rendered(page, tag, graphiql, demo, guests) for tag in LANGUAGES}

    async def answer(request: Request) -> Response:
        sent = headers_of(request.scope)
        language = choose_language(
            language_in_query(request.scope["query_string"]),
            language_in_cookies(text_of(sent, b"cookie")),
            text_of(sent, b"accept-language"),
        )
        headers = {"content-language": language, "vary": "accept-language, cookie", **kept_out}
        return rendered[language].response(sent, headers, page.status)

    return Route(path, answer)


@cache
def _rendered(page: Page, language: str, graphiql: bool, demo: bool, guests: bool) -> Content:
    """The page as it is sent: rendered once for all applications of a process, of which the tests make a thousand."""
    return Content(render_page(page, language, graphiql=graphiql, demo=demo, guests=guests).encode(), "text/html")


def _static_route() -> Route:
    """The route of the files. Starlette's StaticFiles reads the disk for each request, in a thread, which took up to
    16 ms of the event loop and cost more than a purchase."""
    files = {name: Content(content, media_type) for name, (content, media_type) in read_files().items()}

    async def answer(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in files:
            raise HTTPException(404)
        return files[name].response(headers_of(request.scope), {})

    return Route("/static/{name}", answer)
