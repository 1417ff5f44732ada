"""Attacks with purchases, orders and cancellations."""

import random
import re
from collections.abc import Callable

from bench.abuse.attack import ATTACKER, Attack, Manner, Messages, Seeds, Target, payload, unique

PURCHASE = "mutation($i: PurchaseInput!){purchase(input: $i){status ... on PurchaseConfirmed {order {id}}}}"
CANCEL = "mutation($i: CancelOrderInput!){cancelOrder(input: $i){status}}"
RELEASE = "mutation($id: ID!){releaseOrder(orderId: $id){status}}"
_ORDER = re.compile(rb'"order":\{"id":"([0-9a-f-]{36})"')

HOLDERS = tuple(f"{ATTACKER}held-{number}" for number in range(10))
"""Buyers with 20,000 cancelled orders each."""


SOCKETS_BUYER = f"{ATTACKER}socket"
"""The buyer of every operation over a websocket."""

BUYERS = 1_000
"""Other buyers who attack. Their tokens are made once."""


def some_buyer() -> str:
    return f"{ATTACKER}{random.randrange(BUYERS)}"  # noqa: S311


def buy(target: Target, product_id: str, buyer: str, key: str | None = None) -> bytes:
    """The buyer's request for a unit."""
    return target.post(PURCHASE, variables(product_id, buyer, key), target.authorization(buyer))


def cancel(target: Target, order_id: str, buyer: str) -> bytes:
    return target.post(CANCEL, {"i": {"orderId": order_id, "userRef": buyer}}, target.authorization(buyer))


def variables(product_id: str, buyer: str, key: str | None = None) -> dict[str, dict[str, str]]:
    wanted = {"productId": product_id, "userRef": buyer}
    return {"i": wanted if key is None else {**wanted, "idempotencyKey": key}}


def unknown_product() -> str:
    number = f"{random.getrandbits(128):032x}"
    return f"{number[:8]}-{number[8:12]}-4{number[13:16]}-8{number[17:20]}-{number[20:]}"


def sold_out(target: Target) -> Messages:
    while True:
        yield buy(target, target.sold_out_id, some_buyer())


def garbage_keys(target: Target) -> Messages:
    """Purchases of a product that is sold out, with keys of 200 characters and one buyer's name."""
    while True:
        key = f"{unique()}".ljust(200, "\u3042")
        yield buy(target, target.sold_out_id, some_buyer().ljust(200, "x"), key)


def unknown_products(target: Target) -> Messages:
    while True:
        yield buy(target, unknown_product(), some_buyer())


def unknown_products_over_websocket(target: Target) -> Messages:
    while True:
        yield payload(PURCHASE, variables(unknown_product(), SOCKETS_BUYER))


def on_sale_over_websocket(target: Target) -> Messages:
    """Purchases of the product that the honest buyers want, which succeed."""
    while True:
        yield payload(PURCHASE, variables(target.product_id, SOCKETS_BUYER))


def other_products(target: Target) -> Messages:
    """Purchases of 100 other products, each of which has a line and transactions of its own."""
    while True:
        yield buy(target, random.choice(target.other_ids), some_buyer())  # noqa: S311


def bought_and_cancelled(target: Target) -> Messages:
    """Buys the product on sale, and cancels the order."""
    while True:
        buyer = some_buyer()
        answer = yield buy(target, target.product_id, buyer)
        order = _ORDER.search(answer)
        if order is not None:
            yield cancel(target, order[1].decode(), buyer)


def cancelled_unknown(target: Target) -> Messages:
    """Cancels orders that do not exist."""
    while True:
        yield cancel(target, unknown_product(), some_buyer())


def released_unknown(target: Target) -> Messages:
    """Releases orders that do not exist."""
    while True:
        buyer = some_buyer()
        yield target.post(RELEASE, {"id": unknown_product()}, target.authorization(buyer))


def cancelled_again(target: Target) -> Messages:
    """Buys once, and cancels the same order again and again."""
    buyer = some_buyer()
    order = None
    while order is None:
        answer = yield buy(target, target.product_id, buyer)
        order = _ORDER.search(answer)
    while True:
        yield cancel(target, order[1].decode(), buyer)


def replayed(target: Target) -> Messages:
    """The same purchase of the product on sale again and again."""
    buyer, key = some_buyer(), f"{unique()}"
    while True:
        yield buy(target, target.product_id, buyer, key)


def bought_after_many(target: Target) -> Messages:
    """A buyer with 20,000 cancelled orders buys, and cancels what it bought."""
    while True:
        buyer = random.choice(HOLDERS)  # noqa: S311
        answer = yield buy(target, target.product_id, buyer)
        order = _ORDER.search(answer)
        if order is not None:
            yield cancel(target, order[1].decode(), buyer)


def bought_by_holders(target: Target) -> Messages:
    """Buyers with 20,000 cancelled orders buy, and keep what they bought."""
    while True:
        yield buy(target, target.product_id, random.choice(HOLDERS))  # noqa: S311


def _over_websocket(
    name: str, sends: str, messages: Callable[[Target], Messages], sockets: int, *, usual: bool = False
) -> Attack:
    return Attack(name, sends, messages, sockets, Manner.OPERATIONS, in_flight=100, buyer=SOCKETS_BUYER, usual=usual)


PURCHASE_ATTACKS = (
    Attack("sold-out", "purchases of a sold-out product", sold_out, 100, usual=True),
    Attack("garbage-keys", "garbage keys on it", garbage_keys, 100, usual=True),
    Attack("unknown-products", "purchases of unknown products", unknown_products, 100, usual=True),
    _over_websocket("unknown-socket", "the same, 100 at a time", unknown_products_over_websocket, 1, usual=True),
    _over_websocket("unknown-sockets", "the same, 100 at a time each", unknown_products_over_websocket, 20, usual=True),
    _over_websocket("buying-sockets", "purchases of the product on sale", on_sale_over_websocket, 20),
    Attack("other-products", "purchases of 100 other products", other_products, 100),
    Attack("buy-cancel-20", "buy and cancel of the product on sale", bought_and_cancelled, 20, usual=True),
    Attack("buy-cancel", "buy and cancel of the product on sale", bought_and_cancelled, 100, usual=True),
    Attack("cancel-unknown", "cancels of unknown orders", cancelled_unknown, 100),
    Attack("release-unknown", "releases of unknown orders", released_unknown, 100),
    Attack("cancel-again", "the same order cancelled again", cancelled_again, 100),
    Attack("replays", "the same purchase again", replayed, 100),
    Attack(
        "cancelled-1", "purchases after 20,000 cancelled orders", bought_by_holders, seeds=Seeds.CANCELLED, usual=True
    ),
    Attack(
        "cancelled", "purchases after 20,000 cancelled orders", bought_by_holders, 10, seeds=Seeds.CANCELLED, usual=True
    ),
    Attack("cancelled-cancel", "the same, cancelled each time", bought_after_many, 10, seeds=Seeds.CANCELLED),
)
