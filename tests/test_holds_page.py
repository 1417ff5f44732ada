"""docs/holds.md: its table of answers and its numbers are those of the code."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import pytest

from api.drops.decisions import Cancellation, Cancelled, Decision, Gone, Paid, Replayed
from api.drops.errors import AlreadyConfirmed, DropError
from api.drops.lapsing import LONGEST_PAUSE, SHORTEST_PAUSE
from api.drops.orders import Order, OrderStatus
from api.drops.products import MAX_HOLD, MIN_HOLD
from api.drops.requests import CancelRequest, ConfirmRequest, Purchase, ReleaseRequest, Request
from api.drops.sale import Sale, Snapshot
from api.drops.shards import Shard
from tests.product_rows import new_product_row

PAGE = (Path(__file__).parent.parent / "docs" / "holds.md").read_text(encoding="utf-8")
PROSE = " ".join(PAGE.split())
TABLE = PAGE.partition("| the order is |")[2].partition("\n\n")[0]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines()[2:]]

ID, PRODUCT_ID = UUID(int=1), UUID(int=2)
BUYER = "ada"
PAYMENT, OTHER_PAYMENT = "payment-1", "payment-2"
NOW = datetime(2027, 1, 1, tzinfo=UTC)

REQUESTS: tuple[Request, ...] = (
    ConfirmRequest(ID, PRODUCT_ID, BUYER, PAYMENT),
    ReleaseRequest(ID, PRODUCT_ID, BUYER, BUYER),
    CancelRequest(ID, PRODUCT_ID, BUYER, BUYER),
    Purchase(ID, PRODUCT_ID, BUYER, 1),
)
"""In the order of the table's columns."""

Answer: TypeAlias = tuple[str, bool]
"""The type, status or error code that a client gets, and whether it is `replayed`."""


def sale(stock: int, **order: object) -> Sale:
    """One order of a product with so many units left. `order`: what it has, beside what every order has."""
    product = new_product_row(id=PRODUCT_ID, hold_seconds=600, created_at=NOW, stock=stock, stocked=stock + 1, shards=1)
    given = {"status": OrderStatus.HELD, "held_until": None, "confirmed_at": None, "payment_ref": None} | order
    stored = Order(id=ID, product_id=PRODUCT_ID, user_ref=BUYER, quantity=1, region="here", created_at=NOW, **given)  # type: ignore[arg-type]
    return Sale(Snapshot(NOW, product, [Shard(stock, stock + 1, 1)], {ID: stored}, {}, {}), "here")


def sales(state: str) -> list[Sale]:
    """The sales with an order in the state of a row's first cell."""
    confirmed = {"status": OrderStatus.CONFIRMED, "confirmed_at": NOW}
    cancelled, lapsed = {"status": OrderStatus.CANCELLED}, {"status": OrderStatus.LAPSED}
    return {
        "`HELD`": [sale(1, held_until=NOW + timedelta(seconds=1)), sale(0, held_until=NOW)],
        "`CONFIRMED`, for this `paymentRef`": [sale(1, **confirmed, payment_ref=PAYMENT)],
        "`CONFIRMED`, for another one or final at once": [
            sale(1, **confirmed, payment_ref=OTHER_PAYMENT),
            sale(1, **confirmed),
        ],
        "`CANCELLED`": [sale(1, **cancelled), sale(1, **cancelled, payment_ref=PAYMENT)],
        "`LAPSED`, and the units are there": [sale(1, **lapsed)],
        "`LAPSED`, and they are not": [sale(0, **lapsed), sale(1, **lapsed, payment_ref=PAYMENT)],
    }[state]


def answer_of(decision: Decision | DropError) -> Answer:
    match decision:
        case Paid():
            return "OrderConfirmed", not decision.first
        case Gone():
            return "OrderGone", False
        case AlreadyConfirmed():
            return "ALREADY_CONFIRMED", False
        case Cancellation():
            return decision.order.status.value, False
        case Replayed():
            return "PurchaseHeld" if decision.order.held_until else "PurchaseConfirmed", True
        case Cancelled():
            return "PurchaseCancelled", False
    raise AssertionError(decision)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].replace("`", ""))
def test_each_row_of_the_table_has_the_answers_of_the_code(row: list[str]) -> None:
    state, *cells = row
    names = [re.findall(r"`(\w+)`", cell) for cell in cells]
    expected = [(name[0], "replayed" in name) for name in names]
    for number in range(len(sales(state))):
        decisions = []
        for request in REQUESTS:
            fresh = sales(state)[number]
            fresh.decide(request)
            decisions += fresh.decisions
        assert [answer_of(decision) for decision in decisions] == expected


def test_every_status_has_a_row() -> None:
    assert {re.findall(r"`(\w+)`", row[0])[0] for row in ROWS} == {status.value for status in OrderStatus}


def test_the_numbers_are_those_of_the_code() -> None:
    assert f"`holdSeconds`,** {MIN_HOLD} to {MAX_HOLD:,}." in PROSE
    assert LONGEST_PAUSE < 5, "a hold is ended within 5 s"
    assert f"every {SHORTEST_PAUSE:g} to {LONGEST_PAUSE:g} s" in PROSE
