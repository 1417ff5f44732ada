"""What pages show of an order: the order and its product, at one moment."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from api.drops.details import Image, Price
from api.drops.orders import Order, OrderStatus
from api.drops.products import Product

STATES = {
    OrderStatus.HELD: "held",
    OrderStatus.CONFIRMED: "confirmed",
    OrderStatus.CANCELLED: "cancelled",
    OrderStatus.LAPSED: "lapsed",
}
"""The keys of the texts that name what has become of an order."""

VERDICTS = {
    OrderStatus.HELD: "answer_held",
    OrderStatus.CONFIRMED: "answer_confirmed",
    OrderStatus.CANCELLED: "answer_cancelled",
    OrderStatus.LAPSED: "answer_lapsed",
}
"""The keys of the texts in which the receipt says it to the buyer."""


@dataclass(frozen=True, slots=True)
class OrderView:
    """`now`: the moment for which the view is, by this machine's clock. The database's clock decides when a hold runs
    out, and the page's module reads it."""

    order: Order
    product: Product
    now: datetime

    @property
    def status(self) -> str:
        return self.order.status.value

    @property
    def state(self) -> str:
        return STATES[self.order.status]

    @property
    def verdict(self) -> str:
        return VERDICTS[self.order.status]

    @property
    def is_held(self) -> bool:
        return self.order.status is OrderStatus.HELD

    @property
    def can_be_paid(self) -> bool:
        """Whether the order is held, and its time is not up."""
        return self.order.held_until is not None and self.is_held and self.order.held_until > self.now

    @property
    def can_be_cancelled(self) -> bool:
        return self.can_be_paid or self.order.status is OrderStatus.CONFIRMED

    @property
    def image(self) -> Image | None:
        """The foremost picture; None if there is none."""
        return self.product.images[0] if self.product.images else None

    @property
    def total(self) -> Price | None:
        """The price of all units, exact to the last digit; None if the product had no price."""
        price = self.order.price
        return None if price is None else Price(str(Decimal(price.amount) * self.order.quantity), price.currency)


def module_data(views: Iterable[OrderView]) -> str:
    """The orders for the pages' module, named as in GraphQL: JSON."""
    return orjson.dumps([_module_data(view) for view in views]).decode()


def _module_data(view: OrderView) -> dict[str, Any]:
    order, product = view.order, view.product
    return {
        "id": str(order.id),
        "reference": order.reference,
        "status": view.status,
        "quantity": order.quantity,
        "createdAt": order.created_at,
        "heldUntil": order.held_until,
        "price": order.price,
        "product": {
            "id": str(product.id),
            "name": product.name,
            "dropName": product.drop_name,
            "option": product.option,
            "images": product.images[:1],
        },
    }
