"""The page of a product: rendered with what the database says of it, or 404 if there is no such product."""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from api.database.errors import DatabaseError
from api.drops.drops import Drops
from api.graphql.headers import headers_of
from api.identity.clients import Clients
from api.storefront.missing_page import MissingPage
from api.storefront.pages import DROP
from api.storefront.reader import Reader
from api.storefront.rendering import Rendering

DATABASE_TIMEOUT = 2.0
"""Seconds that a page waits for the database. Then it is sent without the product, which its module reads when it
can."""


class DropPage:
    """The endpoint."""

    def __init__(self, drops: Drops, clients: Clients, rendering: Rendering, missing: MissingPage) -> None:
        self._drops = drops
        self._clients = clients
        self._rendering = rendering
        self._missing = missing

    async def answer(self, request: Request) -> Response:
        sent = headers_of(request.scope)
        reader = Reader.of(sent, request.scope["query_string"])
        try:
            async with asyncio.timeout(DATABASE_TIMEOUT):
                client = self._clients.of(request.scope)
                product = await self._drops.read_product(request.path_params["id"], None, client)
        except (DatabaseError, TimeoutError):
            headers = {**reader.headers, "retry-after": "1"}
            return self._rendering.content(DROP, reader, product=None).response(sent, headers, 503)
        if product is None:
            return await self._missing.answer(request)
        return self._rendering.content(DROP, reader, product=product).response(sent, reader.headers)
