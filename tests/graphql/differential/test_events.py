"""The events of a subscription are answered alike both ways."""

import pytest

from api.graphql.stock import StockChange
from tests.graphql.differential.canned import in_a_shop
from tests.graphql.differential.script import Plan
from tests.graphql.differential.ways import Request, Ways, without_references

DOCUMENTS = [
    'subscription { stockChanged(productIds: ["a"]) { productId stock soldOut version stale } }',
    "subscription S($ids: [ID!]!, $no: Boolean = false) { change: stockChanged(productIds: $ids) { __typename "
    "stock @include(if: $no) ...F ... @skip(if: $no) { v: version } } } fragment F on StockChange { stale }",
]

GOOD = {"product_id": "a", "stock": 5, "sold_out": False, "version": 3, "stale": False}

CHANGES: list[dict[str, object]] = [
    {},
    {"stock": "text", "version": None},
    {"stock": 2**31},
    {"stale": ValueError("a defect")},
    {"product_id": None, "sold_out": 1},
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


def test_an_event_that_is_no_stock(real: Ways) -> None:
    request = Request(real.prepare(DOCUMENTS[0]))
    for event in (None, 5, ValueError("a defect")):
        ours = real.run(real.event_by_ours(request, in_a_shop(Plan()), event))
        theirs = real.run(real.event_by_graphql_core(request, in_a_shop(Plan()), event))

        assert without_references(ours) == without_references(theirs)
        assert b"errors" in ours
