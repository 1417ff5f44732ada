"""The demo of a payment: it plays the backend of a shop, so that a hold can be tried from the purchase to its end.

A shop takes the money, and then confirms the order with credentials of its own, by the mutation `confirmOrder`. The
demo takes no money, and the token of the order's buyer is enough. So it exists on a laptop alone.
"""

import math
from uuid import UUID

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from api.database.errors import DatabaseError
from api.drops.decisions import Paid
from api.drops.drops import Drops
from api.drops.errors import AlreadyConfirmed, InvalidInput, NotFound
from api.drops.orders import get_order
from api.graphql.headers import headers_of
from api.graphql.requests import CONTENT_TYPE, Refusal, read_body
from api.identity.authenticator import Authenticator
from api.identity.caller import Caller, client_key
from api.identity.claims import IssuerAway
from api.identity.clients import Clients
from api.identity.errors import RateLimited, Unauthenticated

PATH = "/demo/pay/{id:uuid}"
"""The path of the payment of one order, by the order's id. GET answers with the page, which is the storefront's."""

PREFIX = "demo-"
"""Every `paymentRef` of the demo begins with it, so that nobody takes one for a payment."""

_AWAY = "the database does not answer right now; send the same payment again in a moment"


class DemoPayments:
    """The endpoint."""

    def __init__(self, drops: Drops, authenticator: Authenticator, clients: Clients) -> None:
        self._drops = drops
        self._authenticator = authenticator
        self._clients = clients

    async def answer(self, request: Request) -> Response:
        """Confirm the order in the path for the payment in the body, `{"paymentRef": "demo-..."}`, if the caller is the
        order's buyer. Answers with `outcome`, which is CONFIRMED, GONE or ALREADY_CONFIRMED, or with `error`.

        A page of another origin cannot send such a request: the token is in a header, and in no cookie.
        """
        try:
            payment_ref = _read_payment(request, await read_body(headers_of(request.scope), request.receive))
            client = self._clients.of(request.scope)
            caller = await self._authenticator.identify(request.headers.get("authorization"), client)
            return JSONResponse({"outcome": await self._pay(request.path_params["id"], payment_ref, caller, client)})
        except RateLimited as limit:
            return _error(limit.status, limit, {"retry-after": str(math.ceil(limit.retry_after))})
        except Refusal as refusal:
            return _error(refusal.status, refusal)
        except (Unauthenticated, NotFound, InvalidInput, IssuerAway) as error:
            return _error(_STATUSES[type(error)], error)
        except DatabaseError:
            return _error(503, _AWAY)
        except ClientDisconnect:
            return Response(status_code=400)

    async def _pay(self, order_id: UUID, payment_ref: str, caller: Caller, address: str) -> str:
        """The outcome of the payment. Raises Unauthenticated, NotFound, InvalidInput, IssuerAway and what confirming an
        order raises."""
        caller.require_valid_token()
        order = await get_order(self._drops.regions, order_id)
        if order is None or not caller.subject or caller.subject != order.user_ref:
            raise NotFound(f"the caller has no order {order_id}: send the token of the order's buyer")
        try:
            paid = await self._drops.confirm_order(order_id, payment_ref, client_key(address, caller))
        except AlreadyConfirmed:
            return "ALREADY_CONFIRMED"
        return "CONFIRMED" if isinstance(paid.decision, Paid) else "GONE"


_STATUSES: dict[type[Exception], int] = {Unauthenticated: 401, NotFound: 404, InvalidInput: 400, IssuerAway: 503}


def _read_payment(request: Request, body: bytes) -> str:
    """The payment in the body. Raises Refusal."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != CONTENT_TYPE:
        raise Refusal(415, f"send the payment with content-type: {CONTENT_TYPE}")
    try:
        sent = orjson.loads(body)
    except orjson.JSONDecodeError:
        sent = None
    payment_ref = sent.get("paymentRef") if isinstance(sent, dict) else None
    if not isinstance(payment_ref, str) or not payment_ref.startswith(PREFIX):
        raise Refusal(400, f'the body must be JSON such as {{"paymentRef": "{PREFIX}1"}}')
    return payment_ref


def _error(status: int, message: object, headers: dict[str, str] | None = None) -> Response:
    return JSONResponse({"error": str(message)}, status, headers)
