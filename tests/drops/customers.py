"""Customers of a fleet: buyers and an operator, who speak GraphQL to servers that are killed, and send again.

They keep what they know in a `Book` for each product: the ledgers of its stock and of its buyers' limits, and the
orders and restocks that were confirmed to them.
"""

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp

from api.drops.requests import Purchase
from tests.command import Serving
from tests.drops.fleet import Fleet
from tests.drops.ledger import Change, Ledger, Refusal
from tests.patience import PATIENCE, short
from tests.regions import HOME, PEER
from tests.server import ADMIN_TOKEN

BUY = """
mutation ($input: PurchaseInput!) {
  purchase(input: $input) {
    status
    ... on PurchaseConfirmed { order { id userRef quantity } remaining replayed }
    ... on PurchaseCancelled { order { id } }
    ... on PurchaseSoldOut { remaining }
    ... on PurchaseLimitReached { limit held }
  }
}
"""
CANCEL = "mutation ($input: CancelOrderInput!) { cancelOrder(input: $input) { id status } }"
RESTOCK = "mutation ($input: RestockInput!) { restock(input: $input) { stock stocked } }"

MAX_REQUESTS = 2_000
"""Requests of one customer for the same thing at most. While both Regions are away, each gets an answer at once."""


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request: the value of its field, or the code and the message of its error.

    `begun`: when the first of the requests for the same thing was sent. `sent`: when the last one was, which got this
    answer. `answered`: when the answer came. `lost`: whether no answer came that says what was done.
    """

    begun: float
    sent: float
    answered: float
    value: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    message: str = ""
    lost: bool = False

    @property
    def wait(self) -> bool:
        """Whether nothing was done, and the request can be sent again."""
        nothing = self.code == "SERVICE_UNAVAILABLE" and not self.lost
        return nothing or self.value.get("status") == "BUSY"


@dataclass
class Book:
    """What the customers know of one product."""

    product_id: str
    opening: int
    limit: int | None
    stock: Ledger = field(init=False)
    limits: dict[str, Ledger] = field(default_factory=dict)
    """By buyer: the units that the buyer may still buy. Empty for a product without a limit."""
    confirmed: dict[UUID, Purchase] = field(default_factory=dict)
    new: Counter[UUID] = field(default_factory=Counter)
    """How often an order was answered as new, and not as replayed."""
    cancelled: set[UUID] = field(default_factory=set)
    uncertain: dict[UUID, tuple[Purchase, float]] = field(default_factory=dict)
    """Purchases whose buyers sent one request and got no answer, and when they sent it."""
    restocked: int = 0
    """Units that were added by the restocks that were answered as done."""

    def __post_init__(self) -> None:
        self.stock = Ledger(self.opening)

    def ledgers(self, buyer: str) -> list[Ledger]:
        """The ledgers that a purchase of the buyer changes."""
        if self.limit is None:
            return [self.stock]
        return [self.stock, self.limits.setdefault(buyer, Ledger(self.limit))]

    def changed(self, buyer: str, units: int, begun: float, ended: float) -> None:
        for ledger in self.ledgers(buyer):
            ledger.changes.append(Change(units, begun, ended))


class Customers:
    """They send each request to a server by chance, and send it again to another one until an answer says what was
    done."""

    def __init__(self, fleet: Fleet, session: aiohttp.ClientSession, chance: random.Random) -> None:
        self._fleet = fleet
        self._session = session
        self._chance = chance
        self.replies: Counter[str] = Counter()
        """Replies by their status or code; `LOST` when none came."""

    async def buy(self, book: Book, purchase: Purchase, key: str, *, clicks: int = 1, once: bool = False) -> bool:
        """Buy with so many requests at once under one key. Returns whether there is an order. With `once` a request
        that gets no answer is not sent again."""
        wanted = input_of(book, purchase, key) | {"region": self._chance.choice([None, None, None, HOME, PEER])}
        replies = await self.clicks(clicks, BUY, {"input": wanted}, once=once)
        confirmed = [reply for reply in replies if reply.value.get("status") == "CONFIRMED"]
        for reply in replies:
            assert note_refusal(book, purchase, reply) or reply.value.get("status") in ("CONFIRMED", "BUSY", None), (
                reply
            )
            if reply.lost:
                book.uncertain[purchase.order_id] = (purchase, reply.begun)
        for reply in confirmed:
            order = reply.value["order"]
            assert (UUID(order["id"]), order["userRef"]) == (purchase.order_id, purchase.user_ref)
            assert order["quantity"] == purchase.quantity
            assert reply.value["remaining"] >= 0
            book.new[purchase.order_id] += not reply.value["replayed"]
        if confirmed:
            book.confirmed[purchase.order_id] = purchase
            book.changed(purchase.user_ref, -purchase.quantity, *span_of(replies, confirmed))
        return bool(confirmed)

    async def cancel(self, book: Book, purchase: Purchase, *, clicks: int = 1) -> None:
        """Cancel the order of a confirmed purchase with so many requests at once, as its buyer or as the operator."""
        operator = self._chance.random() < 0.3
        user_ref = {} if operator else {"userRef": purchase.user_ref}
        cancelled = {"orderId": str(purchase.order_id), **user_ref}
        replies = await self.clicks(clicks, CANCEL, {"input": cancelled})
        assert {reply.value.get("status") for reply in replies} == {"CANCELLED"}, replies
        book.cancelled.add(purchase.order_id)
        book.changed(purchase.user_ref, purchase.quantity, *span_of(replies, replies))

    async def find_cancelled(self, book: Book, purchase: Purchase, key: str) -> None:
        """Buy once more under the key of a cancelled order. Nothing must be bought."""
        [reply] = await self.clicks(1, BUY, {"input": input_of(book, purchase, key)})
        assert reply.value == {"status": "CANCELLED", "order": {"id": str(purchase.order_id)}}, reply

    async def restock(self, book: Book, delta: int, key: str, *, clicks: int = 1) -> None:
        """Restock with so many requests at once under one key."""
        wanted = {"productId": book.product_id, "delta": delta, "idempotencyKey": key}
        replies = await self.clicks(clicks, RESTOCK, {"input": wanted})
        done = [reply for reply in replies if reply.value]
        if done:
            book.restocked += delta
            book.stock.changes.append(Change(delta, *span_of(replies, done)))
        for reply in replies:
            if not reply.value:
                assert reply.code == "BAD_USER_INPUT", reply
                assert "cannot be taken back" in reply.message, reply
                book.stock.refusals.append(Refusal(-delta, reply.sent, reply.answered))

    async def clicks(self, clicks: int, document: str, variables: dict[str, Any], *, once: bool = False) -> list[Reply]:
        """Send so many equal requests at once. Returns the replies to all."""
        send = self.once if once else self.until_answered
        return await asyncio.gather(*(send(document, variables) for _ in range(clicks)))

    async def until_answered(self, document: str, variables: dict[str, Any]) -> Reply:
        """Send a request again, each time to another server, until an answer says what was done."""
        server: Serving | None = None
        begun = time.monotonic()
        for _ in range(MAX_REQUESTS):
            server = self._fleet.another(server)
            reply = await self._send(server, document, variables, begun)
            if not reply.lost and not reply.wait:
                return reply
            await asyncio.sleep(short(0.02))
        raise AssertionError(f"never answered: {variables}")

    async def once(self, document: str, variables: dict[str, Any]) -> Reply:
        """Send a request to a server, once."""
        return await self._send(self._fleet.another(), document, variables, time.monotonic())

    async def _send(self, server: Serving, document: str, variables: dict[str, Any], begun: float) -> Reply:
        # As the operator, who may name any buyer: the servers have endpoints of their own.
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        body = {"query": document, "variables": variables}
        sent = time.monotonic()
        answer: dict[str, Any] | None = None
        try:
            async with self._session.post(f"{server.url}/graphql", json=body, headers=headers) as response:
                answer = await response.json()
        except aiohttp.ClientError:  # the server was killed
            pass
        reply = _reply(answer, begun, sent)
        self.replies["LOST" if reply.lost else reply.code or reply.value.get("status") or "DONE"] += 1
        return reply


def new_session() -> aiohttp.ClientSession:
    """A session for all customers. It does not belong to a server, which can be killed."""
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(PATIENCE))


def note_refusal(book: Book, purchase: Purchase, reply: Reply) -> bool:
    """Enter a refusal into the ledger of the units that it says are missing. Returns whether it is a refusal."""
    assert reply.value or reply.lost or reply.wait, reply
    refusal = Refusal(purchase.quantity, reply.sent, reply.answered)
    match reply.value.get("status"):
        case "SOLD_OUT":
            assert 0 <= reply.value["remaining"] < purchase.quantity
            book.stock.refusals.append(refusal)
        case "LIMIT_REACHED":
            assert reply.value["limit"] == book.limit
            assert reply.value["held"] + purchase.quantity > reply.value["limit"]
            book.limits.setdefault(purchase.user_ref, Ledger(reply.value["limit"])).refusals.append(refusal)
        case _:
            return False
    return True


def input_of(book: Book, purchase: Purchase, key: str) -> dict[str, Any]:
    return {
        "productId": book.product_id,
        "userRef": purchase.user_ref,
        "quantity": purchase.quantity,
        "idempotencyKey": key,
    }


def _reply(answer: dict[str, Any] | None, begun: float, sent: float) -> Reply:
    span = (begun, sent, time.monotonic())
    if answer is None:
        return Reply(*span, lost=True)
    if "errors" not in answer:
        [value] = answer["data"].values()
        return Reply(*span, value=value)
    [error] = answer["errors"]
    code, message = error["extensions"]["code"], error["message"]
    lost = code == "SERVICE_UNAVAILABLE" and "nothing was changed" not in message
    return Reply(*span, code=code, message=message, lost=lost)


def span_of(replies: list[Reply], done: list[Reply]) -> tuple[float, float]:
    """When a change was begun, and when it had ended: the replies `done` say that it was made."""
    return min(reply.begun for reply in replies), min(reply.answered for reply in done)
