"""The start of a race on the page about the architecture: its product has the units for it."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from api.database.errors import DatabaseError
from api.drops.drops import Drops
from api.drops.race_product import RACE, prepare_race
from api.graphql.headers import headers_of
from api.identity.clients import Clients
from api.storefront.origin import is_from_another_site


class RaceStart:
    """The endpoint, on a laptop alone."""

    def __init__(self, drops: Drops, clients: Clients) -> None:
        self._drops = drops
        self._clients = clients

    async def answer(self, request: Request) -> Response:
        """Answers with `productId`. Other sites cannot have their readers' laptops race."""
        if is_from_another_site(headers_of(request.scope)):
            return JSONResponse({"error": "only a page of this server can start a race"}, 403)
        try:
            await prepare_race(self._drops, self._clients.of(request.scope))
        except (DatabaseError, TimeoutError):
            error = "the database does not answer right now; start the race again in a moment"
            return JSONResponse({"error": error}, 503, {"retry-after": "1"})
        return JSONResponse({"productId": str(RACE.id)})
