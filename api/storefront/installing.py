"""What a phone needs to keep the shop among its apps: a manifest in the reader's language, and icons."""

from functools import cache

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from api.graphql.headers import headers_of
from api.storefront.content import Content
from api.storefront.languages import RIGHT_TO_LEFT
from api.storefront.pages import FOLDER, read_messages
from api.storefront.reader import Reader

PAPER, NIGHT = "#f4f0e7", "#0f0d0b"
"""The colours behind everything in base.css, for light and for dark."""

ICONS = {
    "icon.svg": "image/svg+xml",
    "icon-192.png": "image/png",
    "icon-512.png": "image/png",
    "icon-maskable-512.png": "image/png",
    "apple-touch-icon.png": "image/png",
}
"""The media types of the icons. The pictures are icon.svg in other sizes. Systems cut a maskable icon to their own
shape, and Apple's rounds its corners."""


def manifest_of(reader: Reader, name: str) -> bytes:
    """The web app manifest of the shop of this name, for a reader."""
    language = reader.language
    icons = [
        {"src": "/icon-192.png", "sizes": "192x192", "type": "image/png"},
        {"src": "/icon-512.png", "sizes": "512x512", "type": "image/png"},
        {"src": "/icon-maskable-512.png", "sizes": "512x512", "type": "image/png", "purpose": "maskable"},
        {"src": "/icon.svg", "sizes": "any", "type": "image/svg+xml"},
    ]
    return orjson.dumps(
        {
            "id": "/",
            "name": name,
            "short_name": name,
            "description": read_messages(language)["description"],
            "lang": language,
            "dir": "rtl" if language in RIGHT_TO_LEFT else "ltr",
            "start_url": reader.link("/"),
            "scope": "/",
            "display": "standalone",
            "background_color": PAPER,
            "theme_color": PAPER,
            "icons": icons,
        }
    )


def installing_routes(name: str) -> list[Route]:
    """The routes of the manifest and the icons of the shop of this name."""
    icons = {name: Content((FOLDER / "icons" / name).read_bytes(), media_type) for name, media_type in ICONS.items()}
    manifest = cache(lambda reader: Content(manifest_of(reader, name), "application/manifest+json"))

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
