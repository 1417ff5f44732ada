"""The events of a subscription are answered alike both ways."""

from dataclasses import replace
from uuid import UUID

import orjson
import pytest

from api.drops.events import Event, EventType, order_data
from api.drops.orders import Order
from api.drops.stock_changes import StockChange as Change
from api.drops.stock_changes import StockLevel
from api.graphql.order_events import OrderEvent
from api.graphql.stock import StockChange
from tests.graphql.differential.canned import ORDERS, PRODUCTS, in_a_shop
from tests.graphql.differential.canned_rows import NOW
from tests.graphql.differential.script import Plan
from tests.graphql.differential.ways import Request, Ways, without_references

DOCUMENTS = [
    'subscription { stockChanged(productIds: ["a"]) { productId stock soldOut version stale } }',
    "subscription S($ids: [ID!]!, $no: Boolean = false) { change: stockChanged(productIds: $ids) { __typename "
    "stock @include(if: $no) ...F ... @skip(if: $no) { v: version } } } fragment F on StockChange { stale }",
    'subscription { stockChanged(productIds: ["a"]) { stock product { id name stock soldOut version held } } }',
]

ORDERS_CHANGED = (
    "subscription { ordersChanged { id cursor type occurredAt order { id reference status paymentRef heldUntil "
    "confirmedAt product { name held } } } }"
)

CHANGE = Change(StockLevel(PRODUCTS[0].id, 5, 3, 1, 10), stale=False, fields=PRODUCTS[0])

GOOD = {
    "product_id": "a",
    "stock": 5,
    "sold_out": False,
    "version": 3,
    "revision": 1,
    "stale": False,
    "change": CHANGE,
}

CHANGES: list[dict[str, object]] = [
    {},
    {"stock": "text", "version": None},
    {"stock": 2**31},
    {"stale": ValueError("a defect")},
    {"product_id": None, "sold_out": 1},
    {"change": replace(CHANGE, fields=None)},
]


@pytest.mark.parametrize("text", DOCUMENTS)
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("variables", [{"ids": ["a"]}, {"ids": "a", "no": True}, {"ids": [], "no": None}])
def test_events(real: Ways, text: str, change: dict[str, object], variables: dict[str, object]) -> None:
    request = Request(real.prepare(text), None, variables)
    event = StockChange(**{**GOOD, **change})  # type: ignore[arg-type]

    ours = real.run(real.event_by_ours(request, in_a_shop(Plan()), event))
    theirs = real.run(real.event_by_graphql_core(request, in_a_shop(Plan()), event))

    assert without_references(ours) == without_references(theirs)
    assert ours.startswith(b"{")


@pytest.mark.parametrize("order", ORDERS[:4])
@pytest.mark.parametrize("seed", range(20))  # which decides who has subscribed, and whether the product can be read
def test_events_of_orders(real: Ways, order: Order, seed: int) -> None:
    request = Request(real.prepare(ORDERS_CHANGED))
    data = orjson.dumps(order_data(order)).decode()
    event = OrderEvent.of(Event(7, UUID(int=7), EventType.ORDER_HELD, NOW, order.product_id, order.id, data))
    plan = Plan(seed=seed, faults=(0.0, 0.3)[seed % 2])

    ours = real.run(real.event_by_ours(request, in_a_shop(plan), event))
    theirs = real.run(real.event_by_graphql_core(request, in_a_shop(plan), event))

    assert without_references(ours) == without_references(theirs)
    assert b'"cursor"' in ours or b"errors" in ours


def test_an_event_that_is_no_stock(real: Ways) -> None:
    request = Request(real.prepare(DOCUMENTS[0]))
    for event in (None, 5, ValueError("a defect")):
        ours = real.run(real.event_by_ours(request, in_a_shop(Plan()), event))
        theirs = real.run(real.event_by_graphql_core(request, in_a_shop(Plan()), event))

        assert without_references(ours) == without_references(theirs)
        assert b"errors" in ours
