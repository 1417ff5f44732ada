"""The page for an address that has none: it leads back, and shows what is on sale."""

from starlette.requests import Request
from starlette.responses import Response

from api.graphql.headers import headers_of
from api.identity.clients import Clients
from api.storefront.offers import Offers
from api.storefront.pages import MISSING
from api.storefront.reader import Reader
from api.storefront.rendering import Rendering


class MissingPage:
    """The endpoint."""

    def __init__(self, offers: Offers, clients: Clients, rendering: Rendering) -> None:
        self._offers = offers
        self._clients = clients
        self._rendering = rendering

    async def answer(self, request: Request) -> Response:
        """The page in the reader's language, with status 404."""
        sent = headers_of(request.scope)
        reader = Reader.of(sent, request.scope["query_string"])
        offers = await self._offers.get(reader, self._clients.of(request.scope))
        return self._rendering.content(MISSING, reader, offers=offers).response(sent, reader.headers, 404)
