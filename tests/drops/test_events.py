"""What is written of orders and products, and read again."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import orjson
import pytest
from asyncpg.pgproto import pgproto

from api.drops.details import Price
from api.drops.events import EventType, Happening, order_data, order_of_data, outbox_entry, product_data
from api.drops.orders import Order, OrderStatus
from tests.product_rows import new_product_row

ID, OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
NOW = datetime(2026, 12, 1, 10, 0, 0, 250_000, UTC)

READ = Order(
    pgproto.UUID(ID),
    pgproto.UUID(OTHER),
    "ada",
    2,
    OrderStatus.CONFIRMED,
    "home",
    NOW,
    None,
    NOW,
    'pi "1" \u2028 \U0001f3ab',
)
"""An order from the database, whose ids are of asyncpg's own class."""

TEE = new_product_row(id=pgproto.UUID(OTHER), hold_seconds=60, created_at=NOW, stock=7, version=3)


@pytest.mark.parametrize(
    "order",
    [
        READ,
        replace(READ, id=UUID(ID), product_id=UUID(OTHER)),
        replace(READ, status=OrderStatus.HELD, held_until=NOW, confirmed_at=None, payment_ref=None),
        replace(READ, status=OrderStatus.LAPSED, confirmed_at=None),
        replace(READ, price=Price("48.00", "EUR")),
    ],
)
def test_an_order_is_read_as_it_was_written(order: Order) -> None:
    assert order_of_data(orjson.loads(orjson.dumps(order_data(order)))) == order


def test_a_product_is_written() -> None:
    written = orjson.loads(orjson.dumps(product_data(TEE)))
    assert written["product"] == {
        "id": OTHER,
        "name": "Tee",
        "dropName": "First Light",
        "stock": 7,
        "stocked": 10,
        "version": 3,
    }


def test_a_transaction_writes_what_happened_to_rows_that_it_has_read() -> None:
    happenings = [Happening(EventType.ORDER_CANCELLED, READ), Happening(EventType.PRODUCT_RESTOCKED, delta=-3)]

    [cancelled, restocked] = orjson.loads(outbox_entry(happenings, TEE))

    assert cancelled[:2] == ["order.cancelled", ID]
    assert order_of_data(cancelled[2]) == READ
    assert restocked[:2] == ["product.restocked", None]
    assert (restocked[2]["product"]["id"], restocked[2]["delta"]) == (OTHER, -3)
