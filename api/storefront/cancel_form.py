"""The forms by which buyers give an order back without script: one for confirmed orders, and one for held ones."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.database.errors import DatabaseError
from api.drops.cancellation import CancelledOrder
from api.drops.drops import Drops
from api.drops.errors import NotFound
from api.graphql.headers import headers_of
from api.graphql.requests import Refusal, read_body
from api.identity.authenticator import Authenticator
from api.identity.clients import Clients
from api.identity.errors import RateLimited
from api.storefront.guest_cookie import GuestRefused, guest_of
from api.storefront.orders_page import HEADERS
from api.storefront.origin import is_from_another_site
from api.storefront.reader import Reader

MAX_FORM = 2_048
"""Bytes of a form. These forms have no fields."""

_FOREIGN = "Cancel on the shop's own page: this form was sent by a page of another site.\n"

Cancel = Callable[[UUID, str, str], Awaitable[CancelledOrder]]
"""Gives an order back: its id, the buyer, and the client who is charged for it."""


class CancelForm:
    """The endpoints. Only a page of the shop itself can have a browser send them: see is_from_another_site."""

    def __init__(self, drops: Drops, authenticator: Authenticator, clients: Clients) -> None:
        self._drops = drops
        self._authenticator = authenticator
        self._clients = clients

    async def cancel(self, request: Request) -> Response:
        """Cancel an order, confirmed or held."""
        return await self._answer(request, self._drops.cancel_order)

    async def release(self, request: Request) -> Response:
        """Let a held order go. One that has been paid meanwhile stays confirmed."""
        return await self._answer(request, self._drops.release_order)

    async def _answer(self, request: Request, cancel: Cancel) -> Response:
        """Lead to the receipt, which shows what has become of the order, or says that nobody knows. The receipt says as
        well that there is no such order, or that the browser's token is refused."""
        sent = headers_of(request.scope)
        if is_from_another_site(sent):
            return Response(_FOREIGN, 403, media_type="text/plain")
        try:
            await read_body(sent, request.receive, MAX_FORM)
        except ClientDisconnect:
            return Response(status_code=400)
        except Refusal as refusal:
            return Response(f"{refusal}\n", refusal.status, media_type="text/plain")
        order_id: UUID = request.path_params["id"]
        receipt = f"/orders/{order_id}"
        try:
            subject = await guest_of(request.scope, self._authenticator, self._clients)
            if subject is not None:
                await cancel(order_id, subject, self._clients.of(request.scope))
        except (GuestRefused, NotFound):
            pass
        except (DatabaseError, RateLimited):
            receipt += "?outcome=UNANSWERED"
        reader = Reader.of(sent, request.scope["query_string"])
        return Response(status_code=303, headers={**HEADERS, "location": reader.link(receipt)})
