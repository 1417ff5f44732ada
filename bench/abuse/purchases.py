"""Attacks with purchases, orders and cancellations."""

import random
import re
from collections.abc import Callable

from bench.abuse.attack import ATTACKER, Attack, Manner, Messages, Seeds, Target, payload, unique

PURCHASE = "mutation($i: PurchaseInput!){purchase(input: $i){status ... on PurchaseConfirmed {order {id}}}}"
CANCEL = "mutation($i: CancelOrderInput!){cancelOrder(input: $i){status}}"
_ORDER = re.compile(rb'"order":\{"id":"([0-9a-f-]{36})"')

HOLDERS = tuple(f"{ATTACKER}held-{number}" for number in range(10))
"""Buyers with 20,000 cancelled orders each."""


def variables(product_id: str, buyer: str, key: str | None = None) -> dict[str, dict[str, str]]:
    wanted = {"productId": product_id, "userRef": buyer}
    return {"i": wanted if key is None else {**wanted, "idempotencyKey": key}}


def unknown_product() -> str:
    number = f"{random.getrandbits(128):032x}"
    return f"{number[:8]}-{number[8:12]}-4{number[13:16]}-8{number[17:20]}-{number[20:]}"


def sold_out(target: Target) -> Messages:
    while True:
        yield target.post(PURCHASE, variables(target.sold_out_id, f"{ATTACKER}{unique()}"))


def garbage_keys(target: Target) -> Messages:
    """Purchases of a product that is sold out, with keys of 200 characters and one buyer's name."""
    while True:
        key = f"{unique()}".ljust(200, "\u3042")
        yield target.post(PURCHASE, variables(target.sold_out_id, f"{ATTACKER}{unique()}".ljust(200, "x"), key))


def unknown_products(target: Target) -> Messages:
    while True:
        yield target.post(PURCHASE, variables(unknown_product(), f"{ATTACKER}{unique()}"))


def unknown_products_over_websocket(target: Target) -> Messages:
    while True:
        yield payload(PURCHASE, variables(unknown_product(), f"{ATTACKER}{unique()}"))


def on_sale_over_websocket(target: Target) -> Messages:
    """Purchases of the product that the honest buyers want, which succeed."""
    while True:
        yield payload(PURCHASE, variables(target.product_id, f"{ATTACKER}{unique()}"))


def other_products(target: Target) -> Messages:
    """Purchases of 100 other products, each of which has a line and transactions of its own."""
    while True:
        yield target.post(PURCHASE, variables(random.choice(target.other_ids), f"{ATTACKER}{unique()}"))  # noqa: S311


def bought_and_cancelled(target: Target) -> Messages:
    """Buys the product on sale, and cancels the order."""
    while True:
        buyer = f"{ATTACKER}{unique()}"
        answer = yield target.post(PURCHASE, variables(target.product_id, buyer))
        order = _ORDER.search(answer)
        if order is not None:
            yield target.post(CANCEL, {"i": {"orderId": order[1].decode(), "userRef": buyer}})


def cancelled_unknown(target: Target) -> Messages:
    """Cancels orders that do not exist."""
    while True:
        yield target.post(CANCEL, {"i": {"orderId": unknown_product(), "userRef": f"{ATTACKER}{unique()}"}})


def cancelled_again(target: Target) -> Messages:
    """Buys once, and cancels the same order again and again."""
    buyer = f"{ATTACKER}{unique()}"
    order = None
    while order is None:
        answer = yield target.post(PURCHASE, variables(target.product_id, buyer))
        order = _ORDER.search(answer)
    while True:
        yield target.post(CANCEL, {"i": {"orderId": order[1].decode(), "userRef": buyer}})


def replayed(target: Target) -> Messages:
    """The same purchase of the product on sale again and again."""
    key = f"{unique()}"
    while True:
        yield target.post(PURCHASE, variables(target.product_id, f"{ATTACKER}{key}", key))


def bought_after_many(target: Target) -> Messages:
    """A buyer with 20,000 cancelled orders buys, and cancels what it bought."""
    while True:
        buyer = random.choice(HOLDERS)  # noqa: S311
        answer = yield target.post(PURCHASE, variables(target.product_id, buyer))
        order = _ORDER.search(answer)
        if order is not None:
            yield target.post(CANCEL, {"i": {"orderId": order[1].decode(), "userRef": buyer}})


def bought_by_holders(target: Target) -> Messages:
    """Buyers with 20,000 cancelled orders buy, and keep what they bought."""
    while True:
        yield target.post(PURCHASE, variables(target.product_id, random.choice(HOLDERS)))  # noqa: S311


def _over_websocket(
    name: str, sends: str, messages: Callable[[Target], Messages], sockets: int, *, usual: bool = False
) -> Attack:
    return Attack(name, sends, messages, sockets, Manner.OPERATIONS, in_flight=100, usual=usual)


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
