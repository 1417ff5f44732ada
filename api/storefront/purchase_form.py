"""The form of a product's page: a purchase without script, which ends with the order's page or with the reason."""

import asyncio
import math
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import parse_qs
from uuid import UUID

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from api.database.errors import DatabaseError
from api.drops.decisions import (
    Cancelled,
    Closed,
    Confirmed,
    Held,
    LimitReached,
    NotOpen,
    Paused,
    Replayed,
    SoldOut,
)
from api.drops.drops import Drops
from api.drops.errors import IdempotencyKeyReused, InvalidInput, NotFound
from api.drops.requests import Purchase
from api.drops.ticket import Busy, Outcome
from api.graphql.departure import EXTENSION, Departure
from api.graphql.headers import headers_of, text_of
from api.graphql.requests import Refusal, read_body
from api.identity.authenticator import Authenticator
from api.identity.clients import Clients
from api.identity.errors import RateLimited
from api.storefront.guest_cookie import GuestRefused, guest_cookie, guest_of
from api.storefront.missing_page import MissingPage
from api.storefront.origin import is_from_another_site, is_secure
from api.storefront.pages import UNANSWERED
from api.storefront.reader import Reader
from api.storefront.rendering import Rendering

MAX_FORM = 2_048
"""Bytes of a form. Two fields take 60."""

MAX_FIELDS = 10

FORM = "application/x-www-form-urlencoded"

_KEY = re.compile(r"[0-9a-f]{32}")
_QUANTITY = re.compile(r"[0-9]{1,9}")

_FOREIGN = "Buy on the shop's own page: this form was sent by a page of another site.\n"

_HEADERS = {"cache-control": "no-store"}


@dataclass(frozen=True, slots=True)
class Form:
    """What the form has sent: `key` makes it one purchase, however often it is sent."""

    quantity: int
    key: str


@dataclass(frozen=True, slots=True)
class Guest:
    """Who buys: the `subject` of a guest. `made`: the token of a guest who is new, for the browser to keep."""

    subject: str
    made: str | None = None


class PurchaseForm:
    """The endpoint. Only a page of the shop itself can have a browser buy: see is_from_another_site."""

    def __init__(
        self, drops: Drops, authenticator: Authenticator, clients: Clients, rendering: Rendering, missing: MissingPage
    ) -> None:
        self._drops = drops
        self._authenticator = authenticator
        self._clients = clients
        self._rendering = rendering
        self._missing = missing

    async def answer(self, request: Request) -> Response:
        """Buy, and lead to the page of the order, or back to the product's with the reason. Without an outcome, answer
        with a page that sends the same purchase again."""
        sent = headers_of(request.scope)
        if is_from_another_site(sent):
            return Response(_FOREIGN, 403, media_type="text/plain")
        reader = Reader.of(sent, request.scope["query_string"])
        product_id: UUID = request.path_params["id"]
        page = reader.link(f"/drop/{product_id}")
        try:
            form = _read_form(text_of(sent, b"content-type"), await read_body(sent, request.receive, MAX_FORM))
        except ClientDisconnect:
            return Response(status_code=400)
        except Refusal as refusal:
            return Response(f"{refusal}\n", refusal.status, media_type="text/plain")
        guest: Guest | None = None
        try:
            guest = await self._guest(request, form)
            outcome = await self._buy(request, product_id, guest.subject, form)
        except ClientDisconnect:
            return Response(status_code=400)
        except RateLimited as limit:
            answer = self._unanswered(request, reader, page, form, "answer_crowded", 429)
            answer.headers["retry-after"] = str(math.ceil(limit.retry_after))
        except NotFound:
            answer = await self._missing.answer(request)
        except (InvalidInput, IdempotencyKeyReused) as error:
            code = "REFUSED" if isinstance(error, InvalidInput) else "KEY_REUSED"
            answer = _redirect(_with_outcome(page, code))
        except DatabaseError:
            answer = self._unanswered(request, reader, page, form, "answer_unanswered", 503)
        else:
            answer = self._answer_to(outcome, request, reader, page, form)
        if guest is not None and guest.made is not None:
            secure = is_secure(request.scope, self._clients)
            answer.headers["set-cookie"] = guest_cookie(guest.made, secure=secure)
        return answer

    async def _guest(self, request: Request, form: Form) -> Guest:
        """The guest of the browser's cookie, or a new one. A form that is sent twice without a cookie, by a double
        click or after an answer that was lost, is of one new guest: it is one purchase. Raises RateLimited."""
        with suppress(GuestRefused):
            subject = await guest_of(request.scope, self._authenticator, self._clients)
            if subject is not None:
                return Guest(subject)
        made = self._authenticator.new_guest(self._clients.of(request.scope), form.key)
        return Guest(made.subject, made.token)

    async def _buy(self, request: Request, product_id: UUID, subject: str, form: Form) -> Outcome:
        """Raises what Drops.purchase raises, and ClientDisconnect: a second click cancels the first request."""
        purchase = Purchase.checked(
            product_id=product_id, user_ref=subject, quantity=form.quantity, idempotency_key=form.key
        )
        departure = request.scope.get("extensions", {}).get(EXTENSION) or Departure()
        try:
            with departure.cancels():
                return await self._drops.purchase(purchase, None, self._clients.of(request.scope))
        except asyncio.CancelledError:
            if departure.left:
                raise ClientDisconnect from None
            raise

    def _answer_to(self, outcome: Outcome, request: Request, reader: Reader, page: str, form: Form) -> Response:
        match outcome.decision:
            case Confirmed(order) | Held(order) | Replayed(order):
                return _redirect(reader.link(f"/orders/{order.id}"))
            case Busy(retry_after_ms):
                answer = self._unanswered(request, reader, page, form, "answer_busy", 503)
                answer.headers["retry-after"] = str(math.ceil(retry_after_ms / 1000))
                return answer
            case decision:
                return _redirect(_with_outcome(page, _code_of(decision)))

    def _unanswered(
        self, request: Request, reader: Reader, page: str, form: Form, verdict: str, status: int
    ) -> Response:
        """The page that says why there is no outcome. Its button sends the same purchase again, under the same key."""
        sent = headers_of(request.scope)
        rendered = self._rendering.keyed(UNANSWERED, reader, verdict=verdict, page_link=page, quantity=form.quantity)
        return rendered.response(sent, form.key, {**reader.headers, **_HEADERS}, status)


def _read_form(content_type: str, body: bytes) -> Form:
    """Raises Refusal. A form without a valid key gets a new one: then it is a purchase of its own."""
    if content_type.partition(";")[0].strip().lower() != FORM:
        raise Refusal(415, f"send the form with content-type: {FORM}")
    try:
        fields = parse_qs(body.decode("ascii"), errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Refusal(400, f"send at most {MAX_FIELDS} fields, percent-encoded as UTF-8") from None
    key, quantity = (fields.get(name, [""])[-1] for name in ("key", "quantity"))
    return Form(
        quantity=int(quantity) if _QUANTITY.fullmatch(quantity) else int(not quantity),
        key=key if _KEY.fullmatch(key) else secrets.token_hex(16),
    )


def _code_of(decision: object) -> str:
    """The outcome in the address of the product's page; see OUTCOMES of drop_page."""
    match decision:
        case SoldOut(remaining):
            return "SOLD_OUT" if remaining == 0 else "TOO_FEW"
        case NotOpen():
            return "NOT_OPEN"
        case Paused():
            return "PAUSED"
        case Closed():
            return "CLOSED"
        case LimitReached():
            return "LIMIT_REACHED"
        case Cancelled():
            return "CANCELLED"
        case _:
            raise TypeError("a purchase was decided as another request")


def _with_outcome(page: str, code: str) -> str:
    return f"{page}{'&' if '?' in page else '?'}outcome={code}#answer"


def _redirect(address: str) -> Response:
    """The answer that has the browser get another page, which can be loaded again without sending the form again."""
    return Response(status_code=303, headers={"location": address, **_HEADERS})
