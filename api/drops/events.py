"""Events: what happened to orders and products, for other systems."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from api.drops.details import Price
from api.drops.orders import Order, OrderStatus
from api.drops.products import Product


class EventType(StrEnum):
    """The types, by the names that receivers of webhooks know."""

    ORDER_HELD = "order.held"
    ORDER_CONFIRMED = "order.confirmed"
    ORDER_CANCELLED = "order.cancelled"
    ORDER_LAPSED = "order.lapsed"
    PRODUCT_SOLD_OUT = "product.sold_out"
    PRODUCT_RESTOCKED = "product.restocked"


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that a transaction does: to an order, as it is after that; or a restock of `delta` units."""

    type: EventType
    order: Order | None = None
    delta: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """An event in the table `events`. `data` is the JSON that receivers get."""

    position: int
    id: UUID
    type: EventType
    occurred_at: datetime
    product_id: UUID
    order_id: UUID | None
    data: str

    @property
    def order(self) -> Order:
        """The order as the event left it. Only for an event that has an `order_id`."""
        return order_of_data(orjson.loads(self.data))


def outbox_entry(happenings: Sequence[Happening], product: Product) -> str:
    """What a transaction did, as JSON: [[type, order's id or null, data], ...], with the data that receivers get.
    `product` is as the transaction leaves it."""
    return orjson.dumps([_entry(happening, product) for happening in happenings]).decode()


def _entry(happening: Happening, product: Product) -> tuple[EventType, str | None, dict[str, Any]]:
    if happening.order is None:
        return happening.type, None, product_data(product) | {"delta": happening.delta}
    return happening.type, str(happening.order.id), order_data(happening.order)


def order_data(order: Order) -> dict[str, Any]:
    """What receivers get of an order, for orjson, which writes times in ISO 8601. It does not write the UUIDs of
    asyncpg, which are of a class of their own."""
    return {
        "order": {
            "id": str(order.id),
            "reference": order.reference,
            "productId": str(order.product_id),
            "userRef": order.user_ref,
            "quantity": order.quantity,
            "status": order.status,
            "region": order.region,
            "createdAt": order.created_at,
            "heldUntil": order.held_until,
            "confirmedAt": order.confirmed_at,
            "paymentRef": order.payment_ref,
            "price": order.price,
        }
    }


def order_of_data(data: dict[str, Any]) -> Order:
    """The order of `order_data`, once it has been written and read."""
    order = data["order"]
    return Order(
        UUID(order["id"]),
        UUID(order["productId"]),
        order["userRef"],
        order["quantity"],
        OrderStatus(order["status"]),
        order["region"],
        datetime.fromisoformat(order["createdAt"]),
        _moment(order["heldUntil"]),
        _moment(order["confirmedAt"]),
        order["paymentRef"],
        None if order.get("price") is None else Price(**order["price"]),  # of earlier versions there is none
    )


def product_data(product: Product) -> dict[str, Any]:
    """What receivers get of a product, for orjson."""
    return {
        "product": {
            "id": str(product.id),
            "name": product.name,
            "dropName": product.drop_name,
            "stock": product.stock,
            "stocked": product.stocked,
            "version": product.version,
        }
    }


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
