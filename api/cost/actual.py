"""What the orders in a database have cost, by the formulas and by the sizes of their rows.

An order is placed at the moment of its transaction's BEGIN, so the orders of one group have the same `created_at`, and
those that were paid or lapsed together the same moment too. So the transactions can be counted afterwards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from api.cost.bill import Bill, Line
from api.cost.forecast import HEARTBEAT_BYTES
from api.cost.formulas import DPU_PER_BYTE_WRITTEN, LEAST_BYTES, LEAST_BYTES_WRITTEN
from api.database.database import Database
from api.database.pool import Record

TIMEOUT = 600.0
"""Seconds. Every order is read."""

_PLACED_ROW = f"""
greatest({LEAST_BYTES}, 52 + pg_column_size(user_ref) + pg_column_size(status) + pg_column_size(region))
"""
"""The row of an order as it is placed: two UUIDs, a number and two moments beside its texts."""

_CHANGED_ROW = f"""
greatest({LEAST_BYTES}, 52 + pg_column_size(user_ref) + pg_column_size(status) + pg_column_size(region)
    + coalesce(pg_column_size(payment_ref), 0) + coalesce(pg_column_size(lapsed_at), 0))
"""
_ENTRIES = f"greatest({LEAST_BYTES}, pg_column_size(user_ref) + 24) + {LEAST_BYTES}"
"""An entry of orders_by_buyer, and one of orders_by_product."""

_HOLDING = f"greatest({LEAST_BYTES}, pg_column_size(user_ref) + 20)"
_WAS_HELD = """
(held_until IS NOT NULL OR lapsed_at IS NOT NULL OR payment_ref IS NOT NULL
    OR status = 'CANCELLED' AND confirmed_at IS NULL)
"""
_LIMITED = "products.limit_per_buyer IS NOT NULL OR products.limit_changed_at IS NOT NULL"

_LOGGED = f"greatest({LEAST_BYTES}, 56 + pg_column_size(operator) + pg_column_size(action) + pg_column_size(changes))"
"""A step in the operator log: three UUIDs and a moment beside its texts."""

_ACTIVE = f"greatest({LEAST_BYTES}, 64 + octet_length(data)) + {LEAST_BYTES} + {HEARTBEAT_BYTES}"
"""A row of activity, its index entry, and the row of the process, which is written with it."""

_READ = f"""
SELECT what, sum(orders)::bigint AS orders, count(*) AS transactions, sum(shards)::bigint AS shards,
    sum(greatest({LEAST_BYTES_WRITTEN}, bytes + shards * {LEAST_BYTES}))::float8 AS bytes
FROM (
    SELECT 'placed' AS what, count(*) AS orders, 1 AS shards,
        sum({_PLACED_ROW} + {_ENTRIES} + CASE WHEN {_WAS_HELD} THEN {LEAST_BYTES} ELSE 0 END)
        + CASE WHEN bool_or({_LIMITED}) THEN count(DISTINCT user_ref) * avg({_HOLDING}) ELSE 0 END AS bytes
    FROM orders JOIN products ON products.id = orders.product_id
    WHERE $1::uuid IS NULL OR product_id = $1 GROUP BY product_id, orders.created_at
    UNION ALL
    SELECT 'paid', count(*), 0, sum({_CHANGED_ROW} + {LEAST_BYTES})
    FROM orders WHERE ($1::uuid IS NULL OR product_id = $1) AND payment_ref IS NOT NULL AND confirmed_at IS NOT NULL
    GROUP BY product_id, confirmed_at
    UNION ALL
    SELECT 'lapsed', count(*), 1, sum({_CHANGED_ROW} + {LEAST_BYTES})
        + CASE WHEN bool_or({_LIMITED}) THEN count(DISTINCT user_ref) * avg({_HOLDING}) ELSE 0 END
    FROM orders JOIN products ON products.id = orders.product_id
    WHERE ($1::uuid IS NULL OR product_id = $1) AND lapsed_at IS NOT NULL GROUP BY product_id, lapsed_at
    UNION ALL
    SELECT 'cancelled', 1, 1, {_CHANGED_ROW} + 2 * {LEAST_BYTES}
    FROM orders
    WHERE ($1::uuid IS NULL OR product_id = $1) AND status = 'CANCELLED' AND lapsed_at IS NULL
    UNION ALL
    SELECT 'restocked', count(*), 1, count(*) * 3 * {LEAST_BYTES}
    FROM restocks WHERE $1::uuid IS NULL OR product_id = $1 GROUP BY product_id, created_at
    UNION ALL
    SELECT 'changed', 1, (SELECT count(*) FROM stock_shards WHERE stock_shards.product_id = operator_log.product_id),
        4 * {LEAST_BYTES} + {_LOGGED}
    FROM operator_log
    WHERE ($1::uuid IS NULL OR product_id = $1)
        AND action IN ('PRODUCT_UPDATED', 'PRODUCT_PAUSED', 'PRODUCT_RESUMED', 'PRODUCT_ARCHIVED')
    UNION ALL
    SELECT 'active', 1, 0, {_ACTIVE}
    FROM activity WHERE $1::uuid IS NULL OR product_id = $1
    UNION ALL
    SELECT 'created', 1, 0, (9 + count(*)) * {LEAST_BYTES}
    FROM stock_shards WHERE $1::uuid IS NULL OR product_id = $1 GROUP BY product_id
) AS written
GROUP BY what
"""
_READ_SHARDS = """
SELECT coalesce(sum(version), 0)::bigint - count(DISTINCT product_id) AS written FROM stock_shards
WHERE $1::uuid IS NULL OR product_id = $1
"""
_READ_EVENTS = f"""
SELECT count(*) AS events, coalesce(sum(greatest({LEAST_BYTES}, octet_length(data) + 80)), 0)::float8 AS bytes
FROM events WHERE $1::uuid IS NULL OR product_id = $1
"""
_READ_STORED = f"""
SELECT coalesce(sum({_CHANGED_ROW} + {_ENTRIES}), 0)::float8 AS bytes FROM orders
WHERE $1::uuid IS NULL OR product_id = $1
"""

_NAMES = {
    "created": "products created",
    "changed": "changes of products",
    "restocked": "restocks",
    "placed": "orders placed",
    "paid": "holds paid",
    "lapsed": "holds lapsed",
    "cancelled": "orders cancelled or released",
    "active": "activity of the last seven days",
}


@dataclass(frozen=True, slots=True)
class Actual:
    """`group`: orders in one transaction, on average; 0 without orders."""

    bill: Bill
    group: float


async def read_actual(
    database: Database, product_id: UUID | None, regions: int, price: float = 8.0, storage_price: float = 0.33
) -> Actual:
    """The bill of one product's writes, or of all. Raises Conflict, Unavailable."""
    rows = {row["what"]: row for row in await database.fetch(_READ, product_id, timeout=TIMEOUT)}
    [shards] = await database.fetch(_READ_SHARDS, product_id, timeout=TIMEOUT)
    [events] = await database.fetch(_READ_EVENTS, product_id, timeout=TIMEOUT)
    [stored] = await database.fetch(_READ_STORED, product_id, timeout=TIMEOUT)
    lines = list(_lines(rows, shards["written"], events, regions))
    placed = rows.get("placed")
    group = placed["orders"] / placed["transactions"] if placed else 0.0
    bill = Bill(
        lines, price, stored["bytes"] + events["bytes"], storage_price, list(_assumptions(rows, events, regions))
    )
    return Actual(bill, group)


def _lines(rows: dict[str, Record], shards: int, events: Record, regions: int) -> Iterator[Line]:
    for what, name in _NAMES.items():
        if what in rows:
            row = rows[what]
            yield _line(name, row["orders"], row["transactions"], row["bytes"], regions)
    further = shards - sum(row["shards"] for row in rows.values())
    if further > 0:
        yield _line("further shards of these transactions", further, 0, further * LEAST_BYTES, regions)
    if events["events"]:
        yield _line("events in the outbox, with their groups", events["events"], 0, events["bytes"], regions)
        yield _line("events numbered", events["events"], 0, events["bytes"], regions)


def _line(what: str, times: int, transactions: int, size: float, regions: int) -> Line:
    return Line(what, times, transactions, size * DPU_PER_BYTE_WRITTEN * regions)


def _assumptions(rows: dict[str, Record], events: Record, regions: int) -> Iterator[str]:
    yield f"these are the writes, in {regions} Regions; reads and compute are in AWS's metrics ReadDPU and ComputeDPU"
    yield "a value has the bytes that PostgreSQL stores"
    if "cancelled" in rows:
        yield "every cancellation was alone in its transaction"
    yield "what the processes write while nothing sells is left out: dropzero cost --orders 0 has a month of it"
    if events["events"]:
        yield "the events are those that are still kept, for seven days, and none was alone in its transaction"
