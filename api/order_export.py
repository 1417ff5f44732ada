"""The export of orders, for the operator and support: `GET /operator/orders.csv` and `GET /operator/orders.jsonl`.

An export is a stream of any length. It has the pace of its client, and no more than a page of it is in memory. Where it
fails midway the connection is closed without the end of the answer, so that nobody takes a part for the whole.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from time import thread_time
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message, Receive, Scope, Send

from api.callers import identify
from api.database.errors import DatabaseError
from api.drops.drops import Drops
from api.drops.errors import InvalidInput, NotFound
from api.drops.export import Export, ExportedOrder, ExportFilter, exporting, record_export
from api.drops.limits import checked_id, checked_moment
from api.drops.operator_log import Action, FieldChange, Step
from api.drops.orders import OrderStatus
from api.export_formats import FORMATS, ExportFormat
from api.graphql.headers import headers_of
from api.graphql.requests import Refusal, read_body
from api.identity.admission import Admission
from api.identity.authenticator import Authenticator
from api.identity.caller import Role, client_key
from api.identity.errors import RateLimited
from api.identity.turns import Turns

logger = logging.getLogger("dropzero.operator")

PATH = "/operator/orders.{format}"
"""The path of an export, by one of FORMATS."""

MOST_EXPORTS = 2
"""Exports of one process at a time. Each has a connection to the database for as long as it takes."""

RETRY_AFTER = 10
"""Seconds after which a client that was refused can come back. A million orders take some ten seconds."""

SLICE = 50
"""Orders that are encoded in one step of the event loop: 0.4 ms (measured on 2 shared cores)."""

READING = 0.000004
"""Seconds of processor time in which the driver reads one order, between the steps of the export (measured on 2 shared
cores). They are paid for together with the encoding."""

PAUSE = 9
"""The pause after each page while purchases are under way, as a multiple of the page's processor time. So an export
takes a tenth of a processor, even of one that this process leaves idle: the database may need it for the purchases."""

PARAMETERS = ("productId", "status", "since", "until")


class OrderExports:
    """The endpoint, an ASGI application."""

    def __init__(self, drops: Drops, authenticator: Authenticator, admission: Admission, most: int) -> None:
        """`most` exports are under way at a time."""
        self._drops = drops
        self._authenticator = authenticator
        self._admission = admission
        self._most = most
        self.under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        caller = await identify(request, self._authenticator, self._admission.clients, Role.SUPPORT)
        if isinstance(caller, Response):
            await caller(scope, receive, send)
            return
        format_ = str(request.path_params["format"])
        try:
            chosen = _filter_of(request.query_params.multi_items())
            if format_ not in FORMATS:
                raise NotFound(f"orders are exported as {' or '.join(FORMATS)}, not as {format_[:50]}")
        except (InvalidInput, NotFound) as error:
            await _refusal(error)(scope, receive, send)
            return
        if self.under_way >= self._most:
            await self._busy()(scope, receive, send)
            return
        client = client_key(self._admission.clients.of(scope), caller)
        transfer = _Transfer(scope, send, FORMATS[format_], self._admission.turns, client, self._is_selling)
        self.under_way += 1
        try:
            await self._admission.gate.metered_apart(client, self._export(chosen, transfer, caller.name, receive))
        except (ClientDisconnect, _Stopping) as end:
            reason = "this server stops" if isinstance(end, _Stopping) else "its client has left"
            logger.info("an export of orders ended early: %s", reason)
        finally:
            self.under_way -= 1

    async def _export(self, chosen: ExportFilter, transfer: "_Transfer", operator: str, receive: Receive) -> None:
        try:
            async with exporting(self._drops.regions, chosen) as export:
                if transfer.scope["method"] == "GET":
                    await record_export(self._drops.regions, _step(chosen, operator))
                    logger.info("%s exports orders as they are at %s", operator, export.at)
                await transfer.send_all(export, receive)
        except Refusal as refusal:
            await PlainTextResponse(f"{refusal}\n", refusal.status)(transfer.scope, receive, transfer.send)
        except NotFound as error:
            await _refusal(error)(transfer.scope, receive, transfer.send)
        except (DatabaseError, RateLimited) as error:
            logger.warning("an export of orders ended early: %s: %s", type(error).__name__, error)
            if not transfer.begun:
                await _later("the database does not answer right now; try again in a moment")(
                    transfer.scope, receive, transfer.send
                )

    def _is_selling(self) -> bool:
        """Whether purchases are under way in this process."""
        return any(commits.unanswered for commits in self._drops.group_commits.values())

    def _busy(self) -> Response:
        if self._most < 1:
            return PlainTextResponse("this server has no connection left for exports; see DROPZERO_CONNECTIONS\n", 503)
        return _later(f"this server has {self._most} exports under way, as many as it may; try again later")


class _Stopping(Exception):
    """The server stops."""


class _Transfer:
    """The answer to one request, as it is sent."""

    def __init__(
        self,
        scope: Scope,
        send: Send,
        format_: ExportFormat,
        turns: Turns,
        client: str,
        is_selling: Callable[[], bool],
    ) -> None:
        self.scope = scope
        self.send = send
        self.begun = False
        self.format = format_
        self._turns = turns
        self._client = client
        self._is_selling = is_selling
        self._used = 0.0
        """Seconds of processor time of the latest page."""

    async def send_all(self, export: Export, receive: Receive) -> None:
        """Send the whole export. Raises ClientDisconnect, _Stopping, DatabaseError, and RateLimited when other long
        work leaves no time for it."""
        await read_body(headers_of(self.scope), receive)
        leaving = asyncio.ensure_future(receive())  # returns when the client leaves or the server stops
        self.begun = True
        try:
            await self.send({"type": "http.response.start", "status": 200, "headers": self._headers(export)})
            if self.scope["method"] == "GET":
                await self._send_body(self.format.head, leaving)
                async for page in export.pages():
                    await self._send_body(await self._encoded(page), leaving)
                    if self._is_selling():
                        await asyncio.wait([leaving], timeout=PAUSE * self._used)
            await self.send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()

    async def _encoded(self, orders: Iterator[ExportedOrder]) -> bytes:
        """The lines of a page, encoded in turns, so that the buyers' requests go on meanwhile."""
        parts, begun, self._used = [], thread_time(), 0.0
        while part := self.format.lines(islice(orders, SLICE)):
            parts.append(part)
            used = thread_time() - begun + SLICE * READING
            self._used += used
            await self._turns.pay(self._client, used)
            begun = thread_time()
        return b"".join(parts)

    async def _send_body(self, body: bytes, leaving: "asyncio.Future[Message]") -> None:
        """Send a part of the body, which waits for the client to read."""
        sending = asyncio.ensure_future(self.send({"type": "http.response.body", "body": body, "more_body": True}))
        ends: set[asyncio.Future[Any]] = {sending, leaving}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done():
                raise ClientDisconnect if leaving.result()["type"] == "http.disconnect" else _Stopping
            await sending
        finally:
            sending.cancel()

    def _headers(self, export: Export) -> list[tuple[bytes, bytes]]:
        name = self.scope["path"].rpartition("/")[2]
        return [
            (b"content-type", self.format.media_type.encode()),
            (b"content-disposition", f'attachment; filename="{name}"'.encode()),
            (b"cache-control", b"no-store"),
            (b"x-dropzero-at", export.at.isoformat().encode()),
            (b"x-dropzero-stocked", b"%d" % export.stocked),
            (b"x-dropzero-stock", b"%d" % export.stock),
        ]


def _filter_of(parameters: list[tuple[str, str]]) -> ExportFilter:
    """Raises InvalidInput."""
    values: dict[str, str] = {}
    for name, value in parameters:
        if name not in PARAMETERS or name in values:
            raise InvalidInput(f"an export has the parameters {', '.join(PARAMETERS)}, each once, not {name[:50]!r}")
        values[name] = value
    since, until = (_moment_of(name, values) for name in ("since", "until"))
    if since is not None and until is not None and since >= until:
        raise InvalidInput("until must be later than since")
    product_id = values.get("productId")
    return ExportFilter(
        None if product_id is None else checked_id("productId", product_id), _status_of(values), since, until
    )


def _moment_of(name: str, values: Mapping[str, str]) -> datetime | None:
    if name not in values:
        return None
    try:
        return checked_moment(name, datetime.fromisoformat(values[name].replace(" ", "+")))  # as an unescaped + arrives
    except ValueError:
        raise InvalidInput(f"{name} must be like 2026-12-01T10:00:00Z, not {values[name][:50]!r}") from None


def _status_of(values: Mapping[str, str]) -> OrderStatus | None:
    try:
        return OrderStatus(values["status"]) if "status" in values else None
    except ValueError:
        names = ", ".join(status.value for status in OrderStatus)
        raise InvalidInput(f"status must be one of {names}, not {values['status'][:50]!r}") from None


def _step(chosen: ExportFilter, operator: str) -> Step:
    """The entry of the operator log."""
    values = {
        "status": None if chosen.status is None else chosen.status.value,
        "since": chosen.since,
        "until": chosen.until,
    }
    changes = tuple(FieldChange.of(name, None, value) for name, value in values.items() if value is not None)
    return Step(operator, Action.ORDERS_EXPORTED, changes, chosen.product_id)


def _refusal(error: InvalidInput | NotFound) -> Response:
    return PlainTextResponse(f"{error}\n", 404 if isinstance(error, NotFound) else 400)


def _later(message: str) -> Response:
    return PlainTextResponse(f"{message}\n", 503, {"retry-after": str(RETRY_AFTER)})
