"""The formats of exported orders: CSV for spreadsheets, and JSON lines for programs."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import orjson

from api.drops.export import ExportedOrder

COLUMNS = (
    *("id", "reference", "productId", "productName", "userRef", "quantity", "status", "region"),
    *("createdAt", "heldUntil", "confirmedAt", "paymentRef", "price", "currency"),
)
"""The fields of an order, by their names in the API."""

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A spreadsheet executes a cell that begins with one of these characters. Buyers choose their userRef, so such a cell
gets an apostrophe before it, as OWASP recommends ("CSV injection")."""


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """`head` comes before the first order. `lines` encodes orders, one line for each (texts have no line ends)."""

    media_type: str
    head: bytes
    lines: Callable[[Iterable[ExportedOrder]], bytes]


def csv_lines(exported: Iterable[ExportedOrder]) -> bytes:
    """The orders as CSV (RFC 4180) in UTF-8. A value that is null is an empty cell."""
    text = io.StringIO()
    csv.writer(text).writerows(_csv_row(each) for each in exported)
    return text.getvalue().encode()


def _csv_row(exported: ExportedOrder) -> tuple[object, ...]:
    order = exported.order
    return (
        order.id,
        order.reference,
        order.product_id,
        _harmless(exported.product_name),
        _harmless(order.user_ref),
        order.quantity,
        order.status.value,
        _harmless(order.region),
        order.created_at.isoformat(),
        _moment(order.held_until),
        _moment(order.confirmed_at),
        _harmless(order.payment_ref),
        *((None, None) if order.price is None else (order.price.amount, order.price.currency)),
    )


def json_lines(exported: Iterable[ExportedOrder]) -> bytes:
    """The orders as JSON lines: an object for each, with every value as it is stored."""
    return b"".join(orjson.dumps(_json_object(each), option=orjson.OPT_APPEND_NEWLINE) for each in exported)


def _json_object(exported: ExportedOrder) -> dict[str, object]:
    order = exported.order
    return {
        "id": str(order.id),
        "reference": order.reference,
        "productId": str(order.product_id),
        "productName": exported.product_name,
        "userRef": order.user_ref,
        "quantity": order.quantity,
        "status": order.status.value,
        "region": order.region,
        "createdAt": order.created_at,
        "heldUntil": order.held_until,
        "confirmedAt": order.confirmed_at,
        "paymentRef": order.payment_ref,
        "price": None if order.price is None else order.price.amount,
        "currency": None if order.price is None else order.price.currency,
    }


def _harmless(text: str | None) -> str | None:
    return f"'{text}" if text is not None and text.startswith(_FORMULA) else text


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


FORMATS: Mapping[str, ExportFormat] = {
    "csv": ExportFormat("text/csv; charset=utf-8", ",".join(COLUMNS).encode() + b"\r\n", csv_lines),
    "jsonl": ExportFormat("application/jsonl", b"", json_lines),
}
"""By the ending of the path and of a file."""
