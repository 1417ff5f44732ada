"""The shop's files over HTTP: its theme's stylesheet, its logo and its fonts."""

import hashlib

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.graphql.headers import headers_of, text_of
from api.shop.shop import Shop
from api.shop.stylesheet import stylesheet
from api.storefront.content import Content

THEME = "/static/theme.css"
"""The path of the theme's stylesheet."""

FILE = "/shop/{name}"
"""The path of a file of the shop's."""

_HEADERS = {
    # Browsers send each request again, and get 304 where nothing changed: an operator can replace a file.
    "cache-control": "no-cache",
    # An SVG file that is opened as a page of its own runs nothing, and has no origin.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}


def shop_routes(shop: Shop) -> list[Route]:
    """The routes of a shop. Everything is in memory. Logos and fonts are sent as they are: to compress the largest one
    would take 10 ms, and all but SVG files are compressed already."""
    theme = Content(stylesheet(shop.theme), "text/css")
    etags = {name: f'"{hashlib.sha256(file.content).hexdigest()[:32]}"' for name, file in shop.files.items()}

    async def answer_theme(request: Request) -> Response:
        return theme.response(headers_of(request.scope), _HEADERS)

    async def answer_file(request: Request) -> Response:
        file, etag = shop.files.get(request.path_params["name"]), etags.get(request.path_params["name"])
        if file is None or etag is None:
            raise HTTPException(404)
        headers = {**_HEADERS, "etag": etag}
        if etag in text_of(headers_of(request.scope), b"if-none-match"):
            return Response(status_code=304, headers=headers)
        return Response(file.content, media_type=file.media_type, headers=headers)

    return [Route(THEME, answer_theme), Route(FILE, answer_file)]
