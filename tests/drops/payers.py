"""Customers of a fleet who hold units, and pay for them in time, too late, twice or never."""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from api.database.errors import DatabaseError
from api.database.pool import Pool
from api.drops.lapsing import LONGEST_PAUSE
from api.drops.requests import Purchase
from tests.drops.customers import Book, Customers, Reply, input_of, note_refusal, span_of
from tests.drops.ledger import NEVER
from tests.patience import PATIENCE, short, until
from tests.regions import HOME, PEER

HOLD = """
mutation ($input: PurchaseInput!) {
  purchase(input: $input) {
    status
    ... on PurchaseHeld { order { id userRef quantity status } remaining replayed }
    ... on PurchaseConfirmed { order { id userRef quantity status } remaining replayed }
    ... on PurchaseCancelled { order { id userRef quantity status } }
    ... on PurchaseSoldOut { remaining }
    ... on PurchaseLimitReached { limit held }
  }
}
"""
PAY = """
mutation ($orderId: ID!, $paymentRef: String!) {
  confirmOrder(orderId: $orderId, paymentRef: $paymentRef) {
    status: __typename
    ... on OrderConfirmed { order { id status paymentRef } replayed }
    ... on OrderGone { order { id status paymentRef } }
  }
}
"""
RELEASE = """
mutation ($orderId: ID!, $userRef: String) { releaseOrder(orderId: $orderId, userRef: $userRef) { id status } }
"""
CANCEL = """
mutation ($orderId: ID!, $userRef: String) {
  cancelOrder(input: { orderId: $orderId, userRef: $userRef }) { id status }
}
"""
ORDER = "query ($orderId: ID!) { order(id: $orderId) { id status } }"


ORDERS = """
query ($product: ID!, $after: String) {
  orders(productId: $product, first: 100, after: $after) {
    edges { node { id userRef quantity status heldUntil confirmedAt paymentRef } }
    pageInfo { hasNextPage endCursor }
  }
}
"""

WAYS = {
    "pay": 25,
    "pay as the hold runs out": 15,
    "pay late": 12,
    "pay twice": 10,
    "pay and release": 10,
    "pay and cancel": 8,
    "release": 10,
    "leave": 10,
}
"""What customers do with a hold, and how often."""


@dataclass
class Hold:
    """What is known of one order that was held. Times are by time.monotonic."""

    book: Book
    purchase: Purchase
    key: str
    payments: list[tuple[str, Reply]] = field(default_factory=list)
    """The payments of the order, with the final reply to each request."""
    releases: list[Reply] = field(default_factory=list)
    cancellations: list[Reply] = field(default_factory=list)
    ran_out: float | None = None
    """When its time to pay ended, at the earliest."""
    lapsed: float | None = None
    """When it had lapsed, at the latest."""

    @property
    def order(self) -> dict[str, str]:
        return {"orderId": str(self.purchase.order_id)}

    def confirmed_by(self) -> list[tuple[str, Reply]]:
        """The payments that were answered as kept."""
        return [(ref, reply) for ref, reply in self.payments if reply.value.get("status") == "OrderConfirmed"]


class Payers:
    """They send each request to a server by chance, and again to another one until an answer says what was done."""

    def __init__(self, customers: Customers, chance: random.Random) -> None:
        self.customers = customers
        self.chance = chance
        self.holds: dict[UUID, Hold] = {}
        self.doomed: list[Hold] = []
        """Holds whose time to pay must end soon."""

    async def hold(
        self, book: Book, purchase: Purchase, key: str, *, clicks: int = 1, once: bool = False
    ) -> Hold | None:
        """Buy with so many requests at once under one key. Returns the hold, if there is an order. With `once` a
        request that gets no answer is not sent again."""
        wanted = input_of(book, purchase, key) | {"region": self.chance.choice([None, None, None, HOME, PEER])}
        replies = await self.customers.clicks(clicks, HOLD, {"input": wanted}, once=once)
        held = []
        for reply in replies:
            if reply.lost:
                book.uncertain[purchase.order_id] = (purchase, reply.begun)
            elif not note_refusal(book, purchase, reply) and not reply.wait:
                assert_order_is_of(reply, purchase)
                held.append(reply)
                book.new[purchase.order_id] += not reply.value.get("replayed", True)
        if not held:
            return None
        book.confirmed[purchase.order_id] = purchase
        book.changed(purchase.user_ref, -purchase.quantity, *span_of(replies, held))
        hold = self.holds[purchase.order_id] = Hold(book, purchase, key)
        return hold

    async def go(self, hold: Hold, clicks: int) -> None:
        """Pay, release, cancel or leave a hold, by chance."""
        one, other = f"pi-{hold.key}-1", f"pi-{hold.key}-2"
        match self.chance.choices(list(WAYS), list(WAYS.values()))[0]:
            case "pay":
                await self.pay(hold, one, clicks=clicks)
                await self.release(hold)
            case "pay as the hold runs out":
                self.doomed.append(hold)
                await asyncio.sleep(self.chance.uniform(0, short(LONGEST_PAUSE)))  # when a server may look, and end it
                await self.pay(hold, one, clicks=clicks)
            case "pay late":
                await self.wait_until_lapsed(hold)
                await self.pay(hold, one, clicks=clicks)
                await self.pay(hold, other)
                await self.pay(hold, one)
            case "pay twice":
                await asyncio.gather(self.pay(hold, one, clicks=clicks), self.pay(hold, other))
            case "pay and release":
                await asyncio.gather(self.pay(hold, one), self.release(hold, clicks=clicks))
            case "pay and cancel":
                await self.pay(hold, one)
                await self.cancel(hold, clicks=clicks)
                await self.pay(hold, one)
            case "release":
                await self.release(hold, clicks=clicks)

    async def pay(self, hold: Hold, payment_ref: str, *, clicks: int = 1) -> None:
        """Report a payment with so many requests at once."""
        replies = await self.customers.clicks(clicks, PAY, {**hold.order, "paymentRef": payment_ref})
        for reply in replies:
            assert reply.value or reply.code == "ALREADY_CONFIRMED", reply
            hold.payments.append((payment_ref, reply))

    async def release(self, hold: Hold, *, clicks: int = 1) -> None:
        hold.releases += await self._end(RELEASE, hold, clicks)

    async def cancel(self, hold: Hold, *, clicks: int = 1) -> None:
        hold.cancellations += await self._end(CANCEL, hold, clicks)

    async def _end(self, document: str, hold: Hold, clicks: int) -> list[Reply]:
        """End an order with so many requests at once, as its buyer or as the operator."""
        user_ref = None if self.chance.random() < 0.3 else hold.purchase.user_ref
        replies = await self.customers.clicks(clicks, document, {**hold.order, "userRef": user_ref})
        assert all(reply.value for reply in replies), replies
        return replies

    async def wait_until_lapsed(self, hold: Hold) -> None:
        """Pay nothing until the hold has run out and a server has ended it. Nobody else may change the order."""
        self.doomed.append(hold)
        async with asyncio.timeout(2 * PATIENCE):  # the servers that look may be killed, and the database away
            while hold.lapsed is None:
                await asyncio.sleep(short(0.2))
                reply = await self.customers.until_answered(ORDER, hold.order)
                assert reply.value["status"] in ("HELD", "LAPSED"), reply
                if reply.value["status"] == "LAPSED":
                    hold.lapsed = reply.answered

    async def replay(self, hold: Hold) -> None:
        """Buy once more under the key of the hold. Nothing must be bought, and the answer says what became of it."""
        wanted = {"input": input_of(hold.book, hold.purchase, hold.key)}
        reply = await self.customers.until_answered(HOLD, wanted)
        assert_order_is_of(reply, hold.purchase)
        assert reply.value.get("replayed", True)
        hold.book.new[hold.purchase.order_id] += not reply.value.get("replayed", True)
        if hold.confirmed_by() and not hold.cancellations:
            assert reply.value["status"] == "CONFIRMED", reply
        ends = {each.value["status"] for each in hold.releases + hold.cancellations}
        assert "CANCELLED" not in ends or reply.value["order"]["status"] == "CANCELLED", reply


async def let_holds_run_out(database: Pool, payers: Payers, timeout: float) -> None:
    """End the time to pay of some holds, after every few replies, and of those that are doomed; until cancelled.
    `timeout`: seconds until the next reply comes at the latest."""
    while True:
        enough = payers.customers.replies.total() + 20
        await until(lambda: payers.customers.replies.total() >= enough or payers.doomed != [], timeout=timeout)  # noqa: B023
        chosen = [hold for hold in payers.holds.values() if hold.ran_out is None and payers.chance.random() < 0.03]
        chosen += payers.doomed
        payers.doomed.clear()
        for hold in chosen:
            hold.ran_out = hold.ran_out or time.monotonic()
        while not await end_time_to_pay(database, chosen):
            await asyncio.sleep(0.02)


async def end_time_to_pay(database: Pool, holds: list[Hold]) -> bool:
    """Returns whether it is done. It is not if the database fails, or others change the same orders."""
    query = "UPDATE orders SET held_until = now() WHERE id = ANY($1::text[]::uuid[]) AND held_until IS NOT NULL"
    try:
        await database.execute(query, [str(hold.purchase.order_id) for hold in holds])
    except DatabaseError:
        return False
    return True


async def read_orders(customers: Customers, product_id: str) -> dict[UUID, dict[str, Any]]:
    """Read all orders of a product as the operator."""
    orders: dict[UUID, dict[str, Any]] = {}
    after: str | None = None
    while True:
        reply = await customers.until_answered(ORDERS, {"product": product_id, "after": after})
        orders |= {UUID(edge["node"]["id"]): edge["node"] for edge in reply.value["edges"]}
        if not reply.value["pageInfo"]["hasNextPage"]:
            return orders
        after = reply.value["pageInfo"]["endCursor"]


def assert_order_is_of(reply: Reply, purchase: Purchase) -> None:
    """The reply has the purchase's order, in a type that says what has become of it."""
    order = reply.value["order"]
    assert (UUID(order["id"]), order["userRef"]) == (purchase.order_id, purchase.user_ref)
    assert order["quantity"] == purchase.quantity
    shown = {"HELD": "HELD", "CONFIRMED": "CONFIRMED", "CANCELLED": "CANCELLED", "LAPSED": "CANCELLED"}
    assert reply.value["status"] == shown[order["status"]], reply
    assert reply.value.get("remaining", 0) >= 0


def assert_answers_are_true(hold: Hold, order: Mapping[str, Any]) -> None:
    """Hold every answer about an order against the order as it is at the end."""
    status, kept = order["status"], order["paymentRef"]
    confirmed = hold.confirmed_by()
    gone = [reply for _, reply in hold.payments if reply.value.get("status") == "OrderGone"]
    refused = {ref for ref, reply in hold.payments if reply.code == "ALREADY_CONFIRMED"}
    ended = {reply.value["status"] for reply in hold.releases + hold.cancellations}
    assert {ref for ref, _ in confirmed} <= {kept}, "a payment that was kept is not the order's"
    assert sum(not reply.value["replayed"] for _, reply in confirmed) <= 1, "two payments were the first"
    assert not confirmed or status == "CONFIRMED" or (status == "CANCELLED" and hold.cancellations), "a payment is lost"
    assert not gone or status in ("CANCELLED", "LAPSED"), "a payment was refused and kept"
    assert kept not in refused, "a payment was refused and kept"
    assert status != "CONFIRMED" or kept in {ref for ref, _ in hold.payments}, "confirmed without a payment"
    assert "CANCELLED" not in ended or status == "CANCELLED", "a cancellation was undone"
    assert status != "CANCELLED" or "CANCELLED" in ended, "nobody cancelled it"
    assert ended <= {"CANCELLED", "LAPSED", "CONFIRMED"}, ended
    assert "CONFIRMED" not in ended or order["confirmedAt"] is not None
    assert "CONFIRMED" not in {reply.value["status"] for reply in hold.cancellations}
    assert status != "HELD" or not (hold.payments or ended), "what was sent has no effect"
    assert status != "LAPSED" or hold.ran_out is not None, "it lapsed before its time"
    assert (order["heldUntil"] is not None) == (status == "HELD")


def enter_changes(hold: Hold, order: Mapping[str, Any]) -> None:
    """Enter what became of a hold after it was placed into the ledgers, as far as it is known."""
    changed, quantity, buyer = hold.book.changed, hold.purchase.quantity, hold.purchase.user_ref
    paid = order["confirmedAt"] is not None
    if hold.ran_out is not None and order["status"] != "HELD":
        # Without an answer that it had lapsed, an order that was paid or cancelled may never have lapsed.
        changed(buyer, quantity, hold.ran_out, hold.lapsed or NEVER)
        if paid:
            payments = [reply for ref, reply in hold.payments if ref == order["paymentRef"]]
            begun, answered = span_of(payments, payments)
            changed(buyer, -quantity, begun, NEVER if hold.lapsed is None else answered)
    if order["status"] == "CANCELLED":
        ends = hold.releases + hold.cancellations
        changed(buyer, quantity, *span_of(ends, [reply for reply in ends if reply.value["status"] == "CANCELLED"]))
