"""Holds as clients see them: bought, paid, paid too late, released, cancelled and lapsed."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, TypeAlias

import pytest

from api.database.pool import Pool
from api.drops.audit import audit
from tests.graphql.callers import ADA, BOB, CALLERS, GUEST, OLGA, OPERATOR, PIA, SUE, Shop, open_shop
from tests.graphql.holds import CANCEL, ORDER, RELEASE, Till
from tests.graphql.operations import CREATE, RESTOCK, UNKNOWN_ID, stock_of
from tests.patience import until
from tests.server import ADMIN_TOKEN

HOLD = 600
"""Seconds of the holds: longer than any test."""

OpenTill: TypeAlias = Callable[..., Awaitable[Till]]


@pytest.fixture(scope="module")
async def shop(shared_database_url: str) -> AsyncIterator[Shop]:
    async with open_shop(shared_database_url, closed=True) as shop:
        yield shop


@pytest.fixture
def open_till(shop: Shop, shared_pool: Pool) -> OpenTill:
    async def open_till(stock: int = 10, **more: Any) -> Till:
        return Till(shop, shared_pool, await shop.server.create_product(stock, **{"holdSeconds": HOLD, **more}))

    return open_till


@pytest.fixture
async def till(open_till: OpenTill) -> Till:
    return await open_till()


async def assert_balanced(till: Till, *, stock: int, held: int, sold: int) -> None:
    [books] = [entry for entry in await audit(till.pool) if str(entry.product_id) == till.product_id]
    assert books.balanced
    assert (books.stock, books.held, books.sold) == (stock, held, sold)


async def test_a_purchase_is_held_and_then_paid(till: Till) -> None:
    held = await till.buy(quantity=3)

    assert (held["__typename"], held["status"]) == ("PurchaseHeld", "HELD")
    assert (held["remaining"], held["replayed"], held["order"]["status"]) == (7, False, "HELD")
    assert held["heldUntil"] == held["order"]["heldUntil"]
    order = await till.order(held["order"]["id"])
    bought, until_ = datetime.fromisoformat(order["createdAt"]), datetime.fromisoformat(order["heldUntil"])
    assert until_ - bought == timedelta(seconds=HOLD)
    assert order["confirmedAt"] is None
    await assert_balanced(till, stock=7, held=3, sold=0)

    paid = await till.confirm(held["order"]["id"], "pi_1")

    assert (paid["__typename"], paid["replayed"]) == ("OrderConfirmed", False)
    assert (paid["order"]["status"], paid["order"]["heldUntil"]) == ("CONFIRMED", None)
    assert (paid["order"]["paymentRef"], paid["order"]["product"]) == ("pi_1", {"stock": 7})
    assert datetime.fromisoformat(paid["order"]["confirmedAt"]) > bought
    await assert_balanced(till, stock=7, held=0, sold=3)


async def test_a_payment_that_is_sent_again_gets_the_same_answer(till: Till) -> None:
    order_id = await till.hold()
    first, *others = await asyncio.gather(*(till.confirm(order_id, "pi_1") for _ in range(10)))
    again = await till.confirm(order_id, " pi_1 ")

    assert sum(not each["replayed"] for each in (first, *others, again)) == 1
    assert {each["order"]["confirmedAt"] for each in (first, *others, again)} == {first["order"]["confirmedAt"]}
    await assert_balanced(till, stock=9, held=0, sold=1)


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


async def test_a_hold_that_runs_out_is_ended_by_the_server(till: Till) -> None:
    order_id = await till.hold(quantity=4)
    await till.run_out(order_id)

    async def lapsed() -> bool:
        return bool((await till.order(order_id))["status"] == "LAPSED")

    await until(lapsed)
    order = await till.order(order_id)
    assert (order["heldUntil"], order["confirmedAt"], order["product"]) == (None, None, {"stock": 10})
    await assert_balanced(till, stock=10, held=0, sold=0)


async def test_a_late_payment_takes_the_units_again(till: Till) -> None:
    order_id = await till.hold(quantity=2)
    await till.lapse(order_id)
    assert await stock_of(till.shop.server, till.product_id) == 10

    paid = await till.confirm(order_id)

    assert (paid["__typename"], paid["replayed"], paid["order"]["status"]) == ("OrderConfirmed", False, "CONFIRMED")
    assert (await till.confirm(order_id))["replayed"]
    await assert_balanced(till, stock=8, held=0, sold=2)


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
    await assert_balanced(till, stock=6, held=1, sold=0)


async def test_a_late_payment_is_gone_where_the_buyer_has_the_limit_again(open_till: OpenTill) -> None:
    till = await open_till(limitPerBuyer=2)
    late = await till.hold(quantity=2)
    await till.lapse(late)
    await till.hold(quantity=1)

    assert (await till.confirm(late))["__typename"] == "OrderGone"
    await assert_balanced(till, stock=9, held=1, sold=0)


@pytest.mark.parametrize("end", [Till.release, Till.cancel])
async def test_a_hold_that_its_buyer_ends_is_gone(
    till: Till, end: Callable[[Till, str], Awaitable[dict[str, Any]]]
) -> None:
    order_id = await till.hold(quantity=3)

    for _ in range(2):
        order = await end(till, order_id)
        assert (order["status"], order["heldUntil"], order["product"]) == ("CANCELLED", None, {"stock": 10})
    await assert_balanced(till, stock=10, held=0, sold=0)

    gone = await till.confirm(order_id, "pi_1")
    assert (gone["__typename"], gone["order"]["status"]) == ("OrderGone", "CANCELLED")
    await assert_balanced(till, stock=10, held=0, sold=0)


@pytest.mark.parametrize("caller", [SUE, PIA, OLGA, OPERATOR])
async def test_the_shop_releases_the_hold_of_any_buyer(till: Till, caller: str) -> None:
    order_id = await till.hold()
    released = await till.release(order_id, caller)
    assert (released["status"], released["userRef"]) == ("CANCELLED", ADA)
    assert (await till.order(order_id))["status"] == "CANCELLED"


async def test_a_buyer_releases_no_hold_of_another_buyer(till: Till) -> None:
    order_id = await till.hold()

    assert (await till.refusal(RELEASE, {"input": {"orderId": order_id}}, BOB))[0] == "NOT_FOUND"
    assert (await till.refusal(RELEASE, {"input": {"orderId": order_id, "userRef": ADA}}, BOB))[0] == "FORBIDDEN"
    assert (await till.refusal(RELEASE, {"input": {"orderId": order_id, "userRef": BOB}}, PIA))[0] == "NOT_FOUND"
    assert (await till.refusal(CANCEL, {"input": {"orderId": order_id, "userRef": ADA}}, PIA))[0] == "FORBIDDEN"
    assert (await till.order(order_id))["status"] == "HELD"


async def test_a_release_leaves_a_paid_order_and_a_lapsed_one(till: Till) -> None:
    paid, lapsed = await till.hold(quantity=2), await till.hold()
    await till.confirm(paid)
    await till.lapse(lapsed)

    assert (await till.release(paid))["status"] == "CONFIRMED"
    assert (await till.release(lapsed))["status"] == "LAPSED"
    assert (await till.cancel(lapsed))["status"] == "LAPSED"
    await assert_balanced(till, stock=8, held=0, sold=2)

    cancelled = await till.cancel(paid)
    assert (cancelled["status"], cancelled["product"]) == ("CANCELLED", {"stock": 10})
    assert cancelled["confirmedAt"] is not None, "it was confirmed once"
    assert (await till.confirm(paid))["__typename"] == "OrderGone"
    await assert_balanced(till, stock=10, held=0, sold=0)


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
    await assert_balanced(till, stock=20 - sold, held=0, sold=sold)


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
    await assert_balanced(till, stock=9, held=0, sold=1)


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
async def test_a_hold_that_is_too_short_or_too_long_is_refused(shop: Shop, seconds: int) -> None:
    product = {"name": "Tee", "dropName": "First Light", "stock": 1, "holdSeconds": seconds}
    code, message = await shop.server.refusal(CREATE, {"input": product}, token=ADMIN_TOKEN)
    assert code == "BAD_USER_INPUT"
    assert "holdSeconds must be between 30 and 86400" in message


@pytest.mark.parametrize("seconds", [30, 86_400, None])
async def test_a_product_shows_its_hold(shop: Shop, seconds: int | None) -> None:
    product_id = await shop.server.create_product(holdSeconds=seconds)
    shown = await shop.server.data("query ($id: ID!) { product(id: $id) { holdSeconds } }", {"id": product_id})
    assert shown == {"product": {"holdSeconds": seconds}}


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


async def test_a_guest_holds_and_releases(shop: Shop, till: Till) -> None:
    token = (await shop.server.data("mutation { guest { token } }"))["guest"]["token"]
    bought = await shop.server.data(
        "mutation ($id: ID!) { purchase(input: { productId: $id }) { ... on PurchaseHeld { order { id } } } }",
        {"id": till.product_id},
        token=token,
    )
    order_id = bought["purchase"]["order"]["id"]
    assert (await till.refusal(RELEASE, {"input": {"orderId": order_id}}, GUEST))[0] == "NOT_FOUND", "another guest"
    released = await shop.server.data(RELEASE, {"input": {"orderId": order_id}}, token=token)
    assert released["releaseOrder"]["status"] == "CANCELLED"


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
