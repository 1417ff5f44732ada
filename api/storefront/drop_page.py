"""The page of a product: rendered with what the database says of it, or 404 if there is no such product."""

import asyncio
import secrets
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from api.database.errors import DatabaseError
from api.drops.drops import Drops
from api.graphql.headers import headers_of
from api.identity.clients import Clients
from api.storefront.calendar import MEDIA_TYPE, calendar_of
from api.storefront.drop_view import DropView
from api.storefront.languages import value_in_query
from api.storefront.missing_page import MissingPage
from api.storefront.offers import Offers
from api.storefront.origin import origin_of
from api.storefront.pages import DROP
from api.storefront.reader import Reader
from api.storefront.rendering import Rendering

DATABASE_TIMEOUT = 2.0
"""Seconds that a page waits for the database. Then it is sent without the product, which its module reads when it
can."""

OUTCOMES = {
    "SOLD_OUT": ("answer_sold_out", "answer_sold_out_detail"),
    "TOO_FEW": ("answer_few", "answer_few_detail"),
    "NOT_OPEN": ("answer_not_open", "answer_not_open_detail"),
    "PAUSED": ("answer_paused", "answer_paused_detail"),
    "CLOSED": ("answer_closed", None),
    "LIMIT_REACHED": ("limit_reached", "answer_limit_detail"),
    "CANCELLED": ("answer_cancelled", "answer_cancelled_detail"),
    "KEY_REUSED": ("answer_refused", "answer_refused_idempotency_key_reused"),
    "REFUSED": ("answer_refused", "answer_refused_bad_user_input"),
}
"""What became of a purchase from the form, as the address of the page names it, and the keys of the texts that say
so."""

_HEADERS = {
    # Each response has another key. A browser may keep the page for its Back button: then Buy is the same purchase.
    "cache-control": "private, no-cache",
    # With "no-referrer", browsers send the page's own form with "Origin: null".
    "referrer-policy": "same-origin",
}


class DropPage:
    """The endpoints of a product's page, and of the calendar entry of its opening."""

    def __init__(
        self, drops: Drops, clients: Clients, rendering: Rendering, missing: MissingPage, offers: Offers
    ) -> None:
        self._drops = drops
        self._clients = clients
        self._rendering = rendering
        self._missing = missing
        self._offers = offers

    async def answer(self, request: Request) -> Response:
        """The page in the reader's language."""
        sent = headers_of(request.scope)
        reader = Reader.of(sent, request.scope["query_string"])
        try:
            view = await self._read(request)
        except (DatabaseError, TimeoutError):
            headers = {**reader.headers, "retry-after": "1"}
            page = self._rendering.content(DROP, reader, view=None, outcome=None, offers=())
            return page.response(sent, headers, 503)
        if view is None:
            return await self._missing.answer(request)
        outcome = value_in_query(request.scope["query_string"], b"outcome")
        shown = OUTCOMES.get(outcome or "")
        is_gone, client = view.sale in ("sold_out", "closed"), self._clients.of(request.scope)
        offers = await self._offers.get(reader, client, without=view.product.id) if is_gone else ()
        values = {"view": view, "outcome": None if shown is None else (outcome, *shown), "offers": offers}
        headers = {**reader.headers, **_HEADERS}
        if not self._rendering.options.guests:
            return self._rendering.content(DROP, reader, **values).response(sent, headers)
        return self._rendering.keyed(DROP, reader, **values).response(sent, secrets.token_hex(16), headers)

    async def answer_calendar(self, request: Request) -> Response:
        """The entry of the opening for the reader's calendar; 404 for a drop that has opened."""
        sent = headers_of(request.scope)
        reader = Reader.of(sent, request.scope["query_string"])
        try:
            view = await self._read(request)
        except (DatabaseError, TimeoutError):
            return Response(status_code=503, headers={"retry-after": "1"})
        if view is None or view.sale != "not_open_yet":
            return await self._missing.answer(request)
        entry = calendar_of(view.product, view.address + reader.link(""))
        disposition = {"content-disposition": f'attachment; filename="{view.product.id}.ics"'}
        return Response(entry, media_type=MEDIA_TYPE, headers=disposition)

    async def _read(self, request: Request) -> DropView | None:
        """The product and its family as they are now. Raises DatabaseError, TimeoutError."""
        product_id: UUID = request.path_params["id"]
        client = self._clients.of(request.scope)
        async with asyncio.timeout(DATABASE_TIMEOUT):
            product = await self._drops.read_product(product_id, None, client)
            if product is None:
                return None
            family = product.family
            variants = await self._drops.read_family(product.drop_name, family, client) if family else ()
        return DropView.of(product, variants, origin_of(request.scope, self._clients))
