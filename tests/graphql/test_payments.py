"""Payments of holds: in time, sent again, too late, and beside a release."""

import asyncio
from datetime import datetime, timedelta

import pytest

from tests.graphql.callers import ADA, BOB, CALLERS, OLGA, OPERATOR, PIA, SUE
from tests.graphql.holds import HOLD, ORDER, OpenTill, Till
from tests.graphql.operations import RESTOCK, UNKNOWN_ID, stock_of
from tests.server import ADMIN_TOKEN


async def test_a_purchase_is_held_and_then_paid(till: Till) -> None:
    held = await till.buy(quantity=3)

    assert (held["__typename"], held["status"]) == ("PurchaseHeld", "HELD")
    assert (held["remaining"], held["replayed"], held["order"]["status"]) == (7, False, "HELD")
    assert held["heldUntil"] == held["order"]["heldUntil"]
    order = await till.order(held["order"]["id"])
    bought, until_ = datetime.fromisoformat(order["createdAt"]), datetime.fromisoformat(order["heldUntil"])
    assert until_ - bought == timedelta(seconds=HOLD)
    assert order["confirmedAt"] is None
    await till.assert_balanced(stock=7, held=3, sold=0)

    paid = await till.confirm(held["order"]["id"], "pi_1")

    assert (paid["__typename"], paid["replayed"]) == ("OrderConfirmed", False)
    assert (paid["order"]["status"], paid["order"]["heldUntil"]) == ("CONFIRMED", None)
    assert (paid["order"]["paymentRef"], paid["order"]["product"]) == ("pi_1", {"stock": 7})
    assert datetime.fromisoformat(paid["order"]["confirmedAt"]) > bought
    await till.assert_balanced(stock=7, held=0, sold=3)


async def test_a_payment_that_is_sent_again_gets_the_same_answer(till: Till) -> None:
    order_id = await till.hold()
    first, *others = await asyncio.gather(*(till.confirm(order_id, "pi_1") for _ in range(10)))
    again = await till.confirm(order_id, " pi_1 ")

    assert sum(not each["replayed"] for each in (first, *others, again)) == 1
    assert {each["order"]["confirmedAt"] for each in (first, *others, again)} == {first["order"]["confirmedAt"]}
    await till.assert_balanced(stock=9, held=0, sold=1)


async def test_another_payment_of_a_paid_order_is_refused(till: Till) -> None:
    order_id = await till.hold()
    await till.confirm(order_id, "pi_1")

    code, message = await till.refused_payment(order_id, "pi_2")

    assert code == "ALREADY_CONFIRMED"
    assert "refund" in message
    assert (await till.order(order_id, OLGA))["paymentRef"] == "pi_1"


async def test_an_order_that_needs_no_payment_takes_none(open_till: OpenTill) -> None:
    till = await open_till(holdSeconds=None)
    outcome = await till.buy()
    assert (outcome["status"], outcome["order"]["heldUntil"]) == ("CONFIRMED", None)
    order = await till.order(outcome["order"]["id"])
    assert order["confirmedAt"] == order["createdAt"]

    assert (await till.refused_payment(order["id"], "pi_1"))[0] == "ALREADY_CONFIRMED"
    assert (await till.order(order["id"], OLGA))["paymentRef"] is None


@pytest.mark.parametrize("reference", ["", " ", "x" * 201, "pi\u0000"])
async def test_a_payment_must_have_a_name(till: Till, reference: str) -> None:
    order_id = await till.hold()
    code, message = await till.refused_payment(order_id, reference)
    assert code == "BAD_USER_INPUT"
    assert "paymentRef" in message
    assert (await till.order(order_id))["status"] == "HELD"


async def test_a_payment_of_no_order_is_refused(till: Till) -> None:
    assert (await till.refused_payment(UNKNOWN_ID, "pi_1"))[0] == "NOT_FOUND"
    assert (await till.refused_payment("x", "pi_1"))[0] == "BAD_USER_INPUT"


async def test_a_late_payment_takes_the_units_again(till: Till) -> None:
    order_id = await till.hold(quantity=2)
    await till.lapse(order_id)
    assert await stock_of(till.shop.server, till.product_id) == 10

    paid = await till.confirm(order_id)

    assert (paid["__typename"], paid["replayed"], paid["order"]["status"]) == ("OrderConfirmed", False, "CONFIRMED")
    assert (await till.confirm(order_id))["replayed"]
    await till.assert_balanced(stock=8, held=0, sold=2)


async def test_a_payment_that_comes_too_late_for_the_units_is_gone_for_ever(open_till: OpenTill) -> None:
    till = await open_till(stock=2)
    order_id = await till.hold(quantity=2)
    await till.lapse(order_id)
    await till.hold(BOB)

    gone = await till.confirm(order_id, "pi_1")

    assert (gone["__typename"], gone["order"]["status"], gone["order"]["paymentRef"]) == ("OrderGone", "LAPSED", "pi_1")
    assert "refund" in gone["message"].lower()
    await till.shop.server.data(RESTOCK, {"input": {"productId": till.product_id, "delta": 5}}, token=ADMIN_TOKEN)
    for payment in ("pi_1", "pi_2"):
        again = await till.confirm(order_id, payment)
        assert (again["__typename"], again["order"]["paymentRef"]) == ("OrderGone", "pi_1")
    await till.assert_balanced(stock=6, held=1, sold=0)


async def test_a_late_payment_is_gone_where_the_buyer_has_the_limit_again(open_till: OpenTill) -> None:
    till = await open_till(limitPerBuyer=2)
    late = await till.hold(quantity=2)
    await till.lapse(late)
    await till.hold(quantity=1)

    assert (await till.confirm(late))["__typename"] == "OrderGone"
    await till.assert_balanced(stock=9, held=1, sold=0)


async def test_a_payment_and_a_release_at_once_leave_one_of_the_two(open_till: OpenTill) -> None:
    till = await open_till(stock=20)
    orders = [await till.hold() for _ in range(20)]

    results = await asyncio.gather(
        *(asyncio.gather(till.confirm(each, f"pi_{each}"), till.release(each)) for each in orders)
    )

    sold = 0
    for order_id, (payment, release) in zip(orders, results, strict=True):
        status = (await till.order(order_id))["status"]
        assert (payment["__typename"], status) in {("OrderConfirmed", "CONFIRMED"), ("OrderGone", "CANCELLED")}
        assert release["status"] == status
        sold += status == "CONFIRMED"
    await till.assert_balanced(stock=20 - sold, held=0, sold=sold)


async def test_the_payment_is_shown_to_the_shop_alone(till: Till) -> None:
    order_id = await till.hold()
    await till.confirm(order_id, "pi_secret_1")

    seen = {
        caller: (await till.shop.server.data(ORDER, {"id": order_id}, token=till.shop.token(caller)))["order"]
        for caller in CALLERS
    }

    assert {caller for caller, order in seen.items() if order is not None} == {ADA, SUE, OLGA, OPERATOR}
    assert (seen[ADA]["paymentRef"], seen[ADA]["status"]) == (None, "CONFIRMED")
    assert {seen[caller]["paymentRef"] for caller in (SUE, OLGA, OPERATOR)} == {"pi_secret_1"}
    assert (await till.release(order_id, PIA))["paymentRef"] == "pi_secret_1"
    assert (await till.refused_payment(order_id, "pi_2", SUE))[0] == "FORBIDDEN"
    assert "pi_secret_1" not in (await till.refused_payment(order_id, "pi_2"))[1]


async def test_what_the_shop_does_is_logged(till: Till, caplog: pytest.LogCaptureFixture) -> None:
    paid, late, released = [await till.hold() for _ in range(3)]
    await till.cancel(late)
    with caplog.at_level("INFO", "dropzero.operator"):
        await till.confirm(paid, "pi\u00e9_1" + "x" * 100)
        await till.confirm(paid, "pi\u00e9_1" + "x" * 100)
        await till.confirm(late, "pi_2")
        await till.release(released, PIA)
        await till.release(released, PIA)

    payment = "(payment 'pi\\xe9_1" + "x" * 41
    lines = [record.message for record in caplog.records if record.name == "dropzero.operator"]
    assert lines == [
        f"{PIA} confirmed the order {paid} of {ADA} {payment})",
        f"{PIA} reported a payment too late for the order {late} of {ADA} (payment 'pi_2')",
        f"{PIA} released the order {released} of {ADA}",
    ]
