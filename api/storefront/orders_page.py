"""The orders of a browser's guest, and the receipt of one of them. Nobody else sees them, and no cache keeps them."""

import math
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from api.database.errors import DatabaseError
from api.drops.drops import Drops
from api.drops.errors import InvalidInput
from api.drops.order_search import OrderSearch, list_orders
from api.drops.orders import Order, get_order
from api.graphql.headers import headers_of
from api.identity.authenticator import Authenticator
from api.identity.clients import Clients
from api.identity.errors import RateLimited
from api.identity.guests import LIFETIME
from api.storefront.content import Content
from api.storefront.guest_cookie import GuestRefused, guest_of
from api.storefront.languages import value_in_query
from api.storefront.missing_page import MissingPage
from api.storefront.order_view import OrderView, module_data
from api.storefront.pages import ORDER, ORDERS, Page
from api.storefront.reader import Reader
from api.storefront.rendering import Rendering

FIRST = 10
"""Orders of a page. They are 2 ms of the processor's time when they are rendered, in one step of the event loop."""

HEADERS = {
    "cache-control": "no-store",
    "x-robots-tag": "noindex",
    # With "no-referrer", browsers send the page's own forms with "Origin: null".
    "referrer-policy": "same-origin",
}
"""Of every page that shows orders."""

DAYS = LIFETIME // (24 * 3600)
"""Days for which a browser keeps the key to its orders."""


class OrdersPage:
    """The endpoints."""

    def __init__(
        self, drops: Drops, authenticator: Authenticator, clients: Clients, rendering: Rendering, missing: MissingPage
    ) -> None:
        self._drops = drops
        self._authenticator = authenticator
        self._clients = clients
        self._rendering = rendering
        self._missing = missing

    async def answer(self, request: Request) -> Response:
        """The orders of the browser's guest, newest first, from the place on that the query string names."""
        if not self._rendering.options.guests:
            return self._send(request, ORDERS, notice=None, **_list())
        after = value_in_query(request.scope["query_string"], b"after")
        try:
            subject = await guest_of(request.scope, self._authenticator, self._clients)
            if subject is None:
                return self._send(request, ORDERS, notice="no_orders", **_list(after))
            page = await list_orders(self._drops.regions, FIRST, after, OrderSearch(subject))
            views = await self._views(request, page.items)
        except GuestRefused:
            return self._send(request, ORDERS, notice="orders_refused", **_list(after))
        except InvalidInput:  # the cursor is none of this list
            return await self._missing.answer(request)
        except (DatabaseError, RateLimited) as error:
            return self._unanswered(request, ORDERS, error, **_list(after))
        more = page.items[-1].cursor.encode() if page.has_next else None
        return self._send(
            request, ORDERS, notice=None if views or after else "orders_empty", **_list(after, views, more)
        )

    async def answer_one(self, request: Request) -> Response:
        """The receipt. An order of another buyer is answered as one that does not exist: by 404."""
        order_id: UUID = request.path_params["id"]
        if not self._rendering.options.guests:
            return self._send(request, ORDER, status=404, notice=None, view=None)
        try:
            subject = await guest_of(request.scope, self._authenticator, self._clients)
            order = None if subject is None else await get_order(self._drops.regions, order_id)
            if order is None or order.user_ref != subject:
                return self._send(request, ORDER, status=404, notice="payment_missing", view=None)
            [view] = await self._views(request, [order])
        except GuestRefused:
            return self._send(request, ORDER, status=404, notice="orders_refused", view=None)
        except (DatabaseError, RateLimited) as error:
            return self._unanswered(request, ORDER, error, view=None)
        outcome = value_in_query(request.scope["query_string"], b"outcome")
        notice = "cancel_unanswered" if outcome == "UNANSWERED" and view.can_be_cancelled else None
        return self._send(request, ORDER, notice=notice, view=view, shown=module_data([view]))

    async def _views(self, request: Request, orders: list[Order]) -> tuple[OrderView, ...]:
        """Raises DatabaseError."""
        client = self._clients.of(request.scope)
        products = await self._drops.read_products({order.product_id for order in orders}, client)
        now = datetime.now(UTC)
        return tuple(OrderView(order, products[order.product_id], now) for order in orders)

    def _unanswered(self, request: Request, page: Page, error: Exception, **values: Any) -> Response:
        """The page without orders: nobody knows them now. Its module goes on trying."""
        if isinstance(error, RateLimited):  # only a browser whose token is refused has to wait
            answer = self._send(request, page, status=429, notice="orders_refused", **values)
            answer.headers["retry-after"] = str(math.ceil(error.retry_after))
            return answer
        answer = self._send(request, page, status=503, notice="unreachable", **values)
        answer.headers["retry-after"] = "1"
        return answer

    def _send(self, request: Request, page: Page, *, status: int = 200, **values: Any) -> Response:
        """A page as it is for this reader. It is not kept among the pages that many readers get."""
        sent = headers_of(request.scope)
        reader = Reader.of(sent, request.scope["query_string"])
        content = Content(self._rendering.render(page, reader, **values).encode(), "text/html")
        return content.response(sent, reader.headers | HEADERS, status)


def _list(after: str | None = None, views: tuple[OrderView, ...] = (), more: str | None = None) -> dict[str, Any]:
    """What the template of the list needs. `after`: the cursor before the first order; `more`: that of the last one."""
    return {
        "views": views,
        "shown": module_data(views) if views else None,
        "is_first": after is None,
        "more": None if more is None else "/orders?" + urlencode({"after": more}),
        "here": "" if after is None else "/orders?" + urlencode({"after": after}),
        "days": DAYS,
    }
