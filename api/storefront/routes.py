"""The storefront's routes: each page in the reader's language, and the files that the pages load."""

import base64
import hashlib

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import Message, Receive, Scope, Send

from api.drops.drops import Drops
from api.graphql.headers import headers_of
from api.identity.authenticator import Authenticator
from api.identity.clients import Clients
from api.shop.shop import LegalPage
from api.storefront.cancel_form import CancelForm
from api.storefront.content import Content
from api.storefront.crawling import Crawling
from api.storefront.drop_page import DropPage
from api.storefront.files import read_files
from api.storefront.installing import installing_routes
from api.storefront.list_page import ListPage
from api.storefront.missing_page import MissingPage
from api.storefront.offers import Offers
from api.storefront.orders_page import OrdersPage
from api.storefront.origin import origin_of
from api.storefront.pages import ABOUT, ARCHITECTURE, LOAD_AGAIN, OPERATOR, PAYMENT, RACE, Page
from api.storefront.purchase_form import PurchaseForm
from api.storefront.race_start import RaceStart
from api.storefront.reader import Reader
from api.storefront.rendering import Options, Rendering

_LOAD_AGAIN_HASH = base64.b64encode(hashlib.sha256(LOAD_AGAIN.encode()).digest()).decode()

_HEADERS = {
    # Browsers send each request again, and get 304 where nothing changed: no stale script after an upgrade.
    "cache-control": "no-cache",
    # Nothing from elsewhere runs or loads but pictures, and no text becomes markup. No other site may put the Buy
    # button into a frame. Of inline scripts, only the one with this hash runs.
    "content-security-policy": f"default-src 'none'; script-src 'self' 'sha256-{_LOAD_AGAIN_HASH}'; style-src 'self'; "
    "img-src 'self' data: https:; font-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "referrer-policy": "no-referrer",
}


class Storefront:
    """The ASGI application that answers for all of the storefront's addresses."""

    def __init__(self, drops: Drops, authenticator: Authenticator, clients: Clients, options: Options) -> None:
        rendering = Rendering(options)
        offers = Offers(drops, rendering)
        missing = MissingPage(offers, clients, rendering)
        drop = DropPage(drops, clients, rendering, missing, offers)
        form = PurchaseForm(drops, authenticator, clients, rendering, missing)
        crawling = Crawling(drops, clients, options.shop)
        orders = OrdersPage(drops, authenticator, clients, rendering, missing)
        self._router = Router(
            [
                Route("/drop/{id:uuid}", drop.answer, methods=["GET"]),
                *([Route("/drop/{id:uuid}", form.answer, methods=["POST"])] if options.guests else []),
                Route("/drop/{id:uuid}.ics", drop.answer_calendar),
                Route("/", ListPage(drops, clients, rendering, missing).answer),
                *_architecture_routes(drops, clients, rendering),
                _page_route("/operator", rendering, clients, OPERATOR, {"x-robots-tag": "noindex"}),
                *([_page_route("/demo/pay/{id:uuid}", rendering, clients, PAYMENT)] if options.demo else []),
                *_orders_routes(orders, CancelForm(drops, authenticator, clients), options),
                *_about_routes(rendering, clients),
                Route("/robots.txt", crawling.answer_robots),
                Route("/sitemap.xml", crawling.answer_sitemap),
                *installing_routes(options.shop),
                _static_route(),
                Route("/{path:path}", missing.answer),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._router(scope, receive, send_with_headers)


def _architecture_routes(drops: Drops, clients: Clients, rendering: Rendering) -> list[Route]:
    """The page about the architecture, with the race where there is one."""
    if not rendering.options.race:
        return [_page_route("/architecture", rendering, clients, ARCHITECTURE, regions=())]
    regions = tuple(pool.region for pool in drops.regions)
    page = _page_route("/architecture", rendering, clients, RACE, regions=regions)
    return [page, Route("/race", RaceStart(drops, clients).answer, methods=["POST"])]


def _orders_routes(page: OrdersPage, form: CancelForm, options: Options) -> list[Route]:
    """The pages of a buyer's orders, and their forms."""
    pages = [Route("/orders", page.answer), Route("/orders/{id:uuid}", page.answer_one)]
    if not options.guests:
        return pages
    return [
        *pages,
        Route("/orders/{id:uuid}/cancel", form.cancel, methods=["POST"]),
        Route("/orders/{id:uuid}/release", form.release, methods=["POST"]),
    ]


def _page_route(
    path: str,
    rendering: Rendering,
    clients: Clients,
    page: Page,
    headers: dict[str, str] | None = None,
    **values: object,
) -> Route:
    """The route of a page that is the same for all readers of a language. `values` are for its template."""

    async def answer(request: Request) -> Response:
        sent = headers_of(request.scope)
        reader = Reader.of(sent, request.scope["query_string"])
        place = {"here": path, "origin": origin_of(request.scope, clients)} if page.place else {}
        content = rendering.content(page, reader, **values, **place)
        return content.response(sent, reader.headers | (headers or {}))

    return Route(path, answer)


def _about_routes(rendering: Rendering, clients: Clients) -> list[Route]:
    """The routes of the pages of the shop's own words."""

    def route(legal: LegalPage) -> Route:
        async def answer(request: Request) -> Response:
            sent = headers_of(request.scope)
            reader = Reader.of(sent, request.scope["query_string"])
            place = {"here": f"/about/{legal.name}", "origin": origin_of(request.scope, clients)}
            page = rendering.content(ABOUT, reader, legal=legal.text(reader.language), **place)
            return page.response(sent, reader.headers)

        return Route(f"/about/{legal.name}", answer)

    return [route(legal) for legal in rendering.options.shop.pages.values()]


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
