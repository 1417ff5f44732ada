"""What search engines read: which pages not to request, and the addresses of the others."""

import asyncio
from xml.sax.saxutils import escape

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from api.database.errors import DatabaseError
from api.drops.drops import Drops
from api.drops.keyset import MAX_PAGE
from api.drops.list_reads import ListPart
from api.drops.product_search import ProductSearch
from api.drops.race_product import RACE
from api.identity.clients import Clients
from api.shop.shop import Shop
from api.storefront.drop_page import DATABASE_TIMEOUT
from api.storefront.origin import origin_of

_ROBOTS = "User-agent: *\nDisallow: /graphql\nDisallow: /demo/\nDisallow: /orders\nSitemap: {origin}/sitemap.xml\n"

_PART = ListPart(ProductSearch(), MAX_PAGE)


class Crawling:
    """The endpoints."""

    def __init__(self, drops: Drops, clients: Clients, shop: Shop) -> None:
        self._drops = drops
        self._clients = clients
        self._paths = ("/", *(f"/about/{name}" for name in shop.pages), "/architecture")

    async def answer_robots(self, request: Request) -> Response:
        return PlainTextResponse(_ROBOTS.format(origin=origin_of(request.scope, self._clients)))

    async def answer_sitemap(self, request: Request) -> Response:
        """The pages, and the newest MAX_PAGE products. Older ones are found through the list."""
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                listed = await self._drops.read_lists((_PART,), self._clients.of(request.scope))
        except (DatabaseError, TimeoutError):
            return Response(status_code=503, headers={"retry-after": "1"})
        products = [product for product in listed[_PART].products if product.id != RACE.id]
        paths = (*self._paths, *(f"/drop/{product.id}" for product in products))
        origin = escape(origin_of(request.scope, self._clients))
        # Canonical addresses. Each of the pages names those of its other languages.
        urls = "".join(f"<url><loc>{origin}{path}?lang=en</loc></url>\n" for path in paths)
        xml = '<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n'
        return Response(f"{xml}{urls}</urlset>\n", media_type="application/xml")
