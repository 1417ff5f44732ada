"""Events: what happened to orders and products, for other systems."""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

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


def outbox_entry(happenings: list[Happening], product: Product, now: datetime) -> str:
    """A transaction's row in the outbox, as JSON. `product` is as the transaction leaves it, but for its shards.

    {"product_id": ..., "occurred_at": ..., "events": [[id, type, order's id or null, data], ...]}, with the data that
    receivers get.
    """
    events = [
        [
            str(uuid.uuid4()),
            happening.type,
            None if happening.order is None else str(happening.order.id),
            order_data(happening.order)
            if happening.order is not None
            else {**product_data(product), "delta": happening.delta},
        ]
        for happening in happenings
    ]
    return json.dumps({"product_id": str(product.id), "occurred_at": now.isoformat(), "events": events})


def order_data(order: Order) -> dict[str, Any]:
    """What receivers get of an order. Times are in ISO 8601, in UTC."""
    return {
        "order": {
            "id": str(order.id),
            "reference": order.reference,
            "productId": str(order.product_id),
            "userRef": order.user_ref,
            "quantity": order.quantity,
            "status": order.status.value,
            "region": order.region,
            "createdAt": order.created_at.isoformat(),
            "heldUntil": _text(order.held_until),
            "confirmedAt": _text(order.confirmed_at),
            "paymentRef": order.payment_ref,
        }
    }


def order_of_data(data: dict[str, Any]) -> Order:
    """The order of `order_data`."""
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
    )


def product_data(product: Product) -> dict[str, Any]:
    """What receivers get of a product."""
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


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
