"""Holds as their buyers see them: bought, released, cancelled, lapsed, and found again by their key."""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.graphql.callers import ADA, ANONYMOUS, BOB, GUEST, OLGA, OPERATOR, PIA, SUE, Shop
from tests.graphql.holds import CANCEL, RELEASE, OpenTill, Till
from tests.graphql.operations import CREATE
from tests.patience import until
from tests.plans import Statement
from tests.server import ADMIN_TOKEN


async def test_a_hold_that_runs_out_is_ended_by_the_server(till: Till) -> None:
    order_id = await till.hold(quantity=4)
    await till.run_out(order_id)

    async def lapsed() -> bool:
        return bool((await till.order(order_id))["status"] == "LAPSED")

    await until(lapsed)
    order = await till.order(order_id)
    assert (order["heldUntil"], order["confirmedAt"], order["product"]) == (None, None, {"stock": 10})
    await till.assert_balanced(stock=10, held=0, sold=0)


@pytest.mark.parametrize("end", [Till.release, Till.cancel])
async def test_a_hold_that_its_buyer_ends_is_gone(
    till: Till, end: Callable[[Till, str], Awaitable[dict[str, Any]]]
) -> None:
    order_id = await till.hold(quantity=3)

    for _ in range(2):
        order = await end(till, order_id)
        assert (order["status"], order["heldUntil"], order["product"]) == ("CANCELLED", None, {"stock": 10})
    await till.assert_balanced(stock=10, held=0, sold=0)

    gone = await till.confirm(order_id, "pi_1")
    assert (gone["__typename"], gone["order"]["status"]) == ("OrderGone", "CANCELLED")
    await till.assert_balanced(stock=10, held=0, sold=0)


@pytest.mark.parametrize("caller", [SUE, PIA, OLGA, OPERATOR])
async def test_the_shop_releases_the_hold_of_any_buyer(till: Till, caller: str) -> None:
    order_id = await till.hold()
    released = await till.release(order_id, caller)
    assert (released["status"], released["userRef"]) == ("CANCELLED", ADA)
    assert (await till.order(order_id))["status"] == "CANCELLED"


async def test_a_buyer_releases_no_hold_of_another_buyer(till: Till) -> None:
    order_id = await till.hold()

    assert (await till.refusal(RELEASE, {"orderId": order_id}, BOB))[0] == "NOT_FOUND"
    assert (await till.refusal(RELEASE, {"orderId": order_id, "userRef": ADA}, BOB))[0] == "FORBIDDEN"
    assert (await till.refusal(RELEASE, {"orderId": order_id, "userRef": BOB}, PIA))[0] == "NOT_FOUND"
    assert (await till.refusal(CANCEL, {"input": {"orderId": order_id, "userRef": ADA}}, PIA))[0] == "FORBIDDEN"
    assert (await till.order(order_id))["status"] == "HELD"


async def test_a_release_leaves_a_paid_order_and_a_lapsed_one(till: Till) -> None:
    paid, lapsed = await till.hold(quantity=2), await till.hold()
    await till.confirm(paid)
    await till.lapse(lapsed)

    assert (await till.release(paid))["status"] == "CONFIRMED"
    assert (await till.release(lapsed))["status"] == "LAPSED"
    assert (await till.cancel(lapsed))["status"] == "LAPSED"
    await till.assert_balanced(stock=8, held=0, sold=2)

    cancelled = await till.cancel(paid)
    assert (cancelled["status"], cancelled["product"]) == ("CANCELLED", {"stock": 10})
    assert cancelled["confirmedAt"] is not None, "it was confirmed once"
    assert (await till.confirm(paid))["__typename"] == "OrderGone"
    await till.assert_balanced(stock=10, held=0, sold=0)


async def test_held_units_count_for_the_limit_until_the_hold_has_ended(open_till: OpenTill) -> None:
    till = await open_till(limitPerBuyer=2)
    first, second = await till.hold(), await till.hold()
    reached = await till.buy()
    assert (reached["status"], reached["limit"], reached["held"]) == ("LIMIT_REACHED", 2, 2)

    await till.release(first)
    third = await till.hold()
    await till.lapse(second)
    await till.hold()
    await till.confirm(third)
    assert (await till.buy())["status"] == "LIMIT_REACHED", "a paid unit is still the buyer's"
    assert (await till.buy(BOB))["status"] == "HELD"


async def test_held_units_are_sold_to_nobody_else(open_till: OpenTill) -> None:
    till = await open_till(stock=1)
    order_id = await till.hold()
    sold_out = await till.buy(BOB)
    assert (sold_out["status"], sold_out["remaining"]) == ("SOLD_OUT", 0)

    await till.release(order_id)

    held = await till.buy(BOB)
    assert (held["status"], held["remaining"]) == ("HELD", 0)


async def test_held_units_are_counted_for_the_shop_alone(till: Till) -> None:
    query = "query ($id: ID!) { product(id: $id) { stock held stocked } }"
    paid, released, lapsed, _ = [await till.hold(quantity=quantity) for quantity in (1, 2, 1, 3)]
    for caller, held in ((SUE, 7), (PIA, 7), (OLGA, 7), (OPERATOR, 7)):
        assert (await till.data(query, {"id": till.product_id}, caller))["product"]["held"] == held
    await till.confirm(paid)
    await till.release(released)
    await till.lapse(lapsed)

    shown = await till.data(query, {"id": till.product_id}, OPERATOR)

    assert shown["product"] == {"stock": 6, "held": 3, "stocked": 10}
    for caller in (ADA, GUEST, ANONYMOUS):
        shown = await till.data(query, {"id": till.product_id}, caller)
        assert shown["product"] == {"stock": 6, "held": None, "stocked": 10}


async def test_the_held_units_of_a_page_are_one_statement(open_till: OpenTill, statements: list[Statement]) -> None:
    tills = [await open_till() for _ in range(30)]
    await tills[3].hold(quantity=2)
    statements.clear()

    page = await tills[0].data("{ products(first: 30) { edges { node { id held } } } }", {}, OPERATOR)

    held = {edge["node"]["id"]: edge["node"]["held"] for edge in page["products"]["edges"]}
    assert held == {till.product_id: 2 if till is tills[3] else 0 for till in tills}
    assert sum("AS units FROM orders" in statement.text for statement in statements) == 1


async def test_the_same_key_answers_what_became_of_the_hold(till: Till) -> None:
    first = await till.buy(quantity=2, key="click")
    order_id = first["order"]["id"]
    await till.hold(BOB)
    same = await till.buy(quantity=2, key="click")
    assert (same["__typename"], same["replayed"], same["remaining"]) == ("PurchaseHeld", True, 7)
    assert (same["order"]["id"], same["heldUntil"]) == (order_id, first["heldUntil"])

    await till.confirm(order_id)
    paid = await till.buy(quantity=2, key="click")
    assert (paid["__typename"], paid["replayed"], paid["order"]["status"]) == ("PurchaseConfirmed", True, "CONFIRMED")

    await till.cancel(order_id)
    assert (await till.buy(quantity=2, key="click"))["__typename"] == "PurchaseCancelled"


async def test_the_same_key_answers_how_the_hold_has_ended(till: Till) -> None:
    released, lapsed, late = [(await till.buy(key=key))["order"]["id"] for key in ("released", "lapsed", "late")]
    await till.release(released)
    await till.lapse(lapsed)
    await till.lapse(late)
    await till.confirm(late)

    answers = [await till.buy(key=key) for key in ("released", "lapsed", "late")]

    assert [(each["__typename"], each["order"]["status"]) for each in answers] == [
        ("PurchaseCancelled", "CANCELLED"),
        ("PurchaseCancelled", "LAPSED"),
        ("PurchaseConfirmed", "CONFIRMED"),
    ]
    assert "run out" in answers[1]["message"]
    assert "cancelled" in answers[0]["message"]
    await till.assert_balanced(stock=9, held=0, sold=1)


async def test_a_reference_is_short_unique_and_easy_to_read(open_till: OpenTill) -> None:
    till = await open_till(stock=100)
    orders = [(await till.buy())["order"] for _ in range(50)]

    references = [order["reference"] for order in orders]
    assert len(set(references)) == 50
    assert all(re.fullmatch("[2-9A-Z]{4}(-[2-9A-Z]{4}){2}", reference) for reference in references)
    for alike in ("0O", "1IL", "5S", "2Z", "8B", "UV"):
        assert len(set(alike) & set("".join(references))) <= 1
    assert (await till.order(orders[0]["id"]))["reference"] == references[0]


@pytest.mark.parametrize("seconds", [29, 0, -1, 86_401])
async def test_a_hold_that_is_too_short_or_too_long_is_refused(closed_shop: Shop, seconds: int) -> None:
    product = {"name": "Tee", "dropName": "First Light", "stock": 1, "holdSeconds": seconds}
    code, message = await closed_shop.server.refusal(CREATE, {"input": product}, token=ADMIN_TOKEN)
    assert code == "BAD_USER_INPUT"
    assert "holdSeconds must be between 30 and 86400" in message


@pytest.mark.parametrize("seconds", [30, 86_400, None])
async def test_a_product_shows_its_hold(closed_shop: Shop, seconds: int | None) -> None:
    product_id = await closed_shop.server.create_product(holdSeconds=seconds)
    shown = await closed_shop.server.data("query ($id: ID!) { product(id: $id) { holdSeconds } }", {"id": product_id})
    assert shown == {"product": {"holdSeconds": seconds}}


async def test_a_guest_holds_and_releases(closed_shop: Shop, till: Till) -> None:
    token = (await closed_shop.server.data("mutation { guest { token } }"))["guest"]["token"]
    bought = await closed_shop.server.data(
        "mutation ($id: ID!) { purchase(input: { productId: $id }) { ... on PurchaseHeld { order { id } } } }",
        {"id": till.product_id},
        token=token,
    )
    order_id = bought["purchase"]["order"]["id"]
    assert (await till.refusal(RELEASE, {"orderId": order_id}, GUEST))[0] == "NOT_FOUND", "another guest"
    released = await closed_shop.server.data(RELEASE, {"orderId": order_id}, token=token)
    assert released["releaseOrder"]["status"] == "CANCELLED"
