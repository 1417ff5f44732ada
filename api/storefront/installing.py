"""What a phone needs to keep the shop among its apps: a manifest in the reader's language, and icons."""

from functools import cache

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.graphql.headers import headers_of
from api.shop.colours import paper_of
from api.shop.shop import Shop
from api.storefront.content import Content
from api.storefront.languages import RIGHT_TO_LEFT
from api.storefront.pages import FOLDER, read_messages
from api.storefront.reader import Reader

ICONS = {
    "icon.svg": "image/svg+xml",
    "icon-192.png": "image/png",
    "icon-512.png": "image/png",
    "icon-maskable-512.png": "image/png",
    "apple-touch-icon.png": "image/png",
}
"""The media types of the icons. The pictures are icon.svg in other sizes. Systems cut a maskable icon to their own
shape, and Apple's rounds its corners."""


def manifest_of(reader: Reader, shop: Shop) -> bytes:
    """The web app manifest of a shop, for a reader."""
    language = reader.language
    paper, _ = paper_of(shop.theme)
    icons = [
        {"src": "/icon-192.png", "sizes": "192x192", "type": "image/png"},
        {"src": "/icon-512.png", "sizes": "512x512", "type": "image/png"},
        {"src": "/icon-maskable-512.png", "sizes": "512x512", "type": "image/png", "purpose": "maskable"},
        {"src": "/icon.svg", "sizes": "any", "type": "image/svg+xml"},
    ]
    return orjson.dumps(
        {
            "id": "/",
            "name": shop.name,
            "short_name": shop.name,
            "description": read_messages(language)["description"],
            "lang": language,
            "dir": "rtl" if language in RIGHT_TO_LEFT else "ltr",
            "start_url": reader.link("/"),
            "scope": "/",
            "display": "standalone",
            "background_color": paper,
            "theme_color": paper,
            "icons": icons,
        }
    )


def installing_routes(shop: Shop) -> list[Route]:
    """The routes of a shop's manifest and of the icons."""
    icons = {name: Content((FOLDER / "icons" / name).read_bytes(), media_type) for name, media_type in ICONS.items()}
    manifest = cache(lambda reader: Content(manifest_of(reader, shop), "application/manifest+json"))

    async def answer_manifest(request: Request) -> Response:
        sent = headers_of(request.scope)
        reader = Reader.of(sent, request.scope["query_string"])
        return manifest(reader).response(sent, reader.headers)

    async def answer_icon(request: Request) -> Response:
        icon = icons.get(request.scope["path"].removeprefix("/"))
        if icon is None:
            raise HTTPException(404)
        return icon.response(headers_of(request.scope), {})

    return [Route("/manifest.webmanifest", answer_manifest), *(Route(f"/{name}", answer_icon) for name in icons)]
