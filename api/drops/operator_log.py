"""The operator log: who did what to which product or order, and when, with what it was before and after."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID, uuid4

import orjson

from api.database.database import Database
from api.database.pool import Transaction
from api.drops.keyset import Cursor, Page, Paging, keyset_query, window_of


class Action(StrEnum):
    """What operators do. A payment is none of it: the order has its `payment_ref` and its moment."""

    PRODUCT_CREATED = "PRODUCT_CREATED"
    PRODUCT_UPDATED = "PRODUCT_UPDATED"
    PRODUCT_PAUSED = "PRODUCT_PAUSED"
    PRODUCT_RESUMED = "PRODUCT_RESUMED"
    PRODUCT_ARCHIVED = "PRODUCT_ARCHIVED"
    PRODUCT_RESTOCKED = "PRODUCT_RESTOCKED"
    ORDER_CANCELLED = "ORDER_CANCELLED"
    ORDER_RELEASED = "ORDER_RELEASED"
    ORDERS_EXPORTED = "ORDERS_EXPORTED"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """A field, by its name in the API, and its values before and after as texts; None is null."""

    field: str
    before: str | None
    after: str | None

    @classmethod
    def of(cls, field: str, before: object, after: object) -> "FieldChange":
        return cls(field, _text(before), _text(after))


@dataclass(frozen=True, slots=True)
class Step:
    """Something that an operator does. `operator`: the name of the caller. The `id` is known before the step is stored,
    so that it can be found again."""

    operator: str
    action: Action
    changes: tuple[FieldChange, ...]
    product_id: UUID | None = None
    order_id: UUID | None = None
    id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A step as it is stored, and the moment of its transaction by the database's clock."""

    step: Step
    created_at: datetime

    @property
    def cursor(self) -> Cursor:
        return Cursor("operatorLog", self.created_at, self.step.id)


_INSERT_STEPS = """
INSERT INTO operator_log (id, operator, action, product_id, order_id, changes)
SELECT step.id, step.operator, step.action, step.product_id, step.order_id, step.changes
FROM unnest($1::text[]::uuid[], $2::text[], $3::text[], $4::text[]::uuid[], $5::text[]::uuid[], $6::text[])
    AS step (id, operator, action, product_id, order_id, changes)
"""
_SELECT_ENTRIES = "SELECT id, operator, action, product_id, order_id, changes, created_at FROM operator_log"


async def write_steps(transaction: Transaction, steps: Sequence[Step]) -> None:
    """Store what operators do in this transaction."""
    if not steps:
        return
    await transaction.execute(
        _INSERT_STEPS,
        [str(step.id) for step in steps],
        [step.operator for step in steps],
        [step.action for step in steps],
        [None if step.product_id is None else str(step.product_id) for step in steps],
        [None if step.order_id is None else str(step.order_id) for step in steps],
        [_encoded(step.changes) for step in steps],
    )


async def list_log(
    database: Database,
    first: int | None = None,
    after: str | None = None,
    product_id: UUID | None = None,
    *,
    last: int | None = None,
    before: str | None = None,
) -> Page[LogEntry]:
    """One page of the log, newest first; of one product, or of all. Raises InvalidInput, Conflict, Unavailable."""
    window = window_of("operatorLog", Paging(first, after, last, before))
    statement, arguments = keyset_query(_SELECT_ENTRIES, "operator_log", {"product_id": product_id}, window)
    rows = await database.fetch(statement, *arguments)
    entries = [
        LogEntry(
            Step(
                row["operator"],
                Action(row["action"]),
                tuple(FieldChange(*change) for change in orjson.loads(row["changes"])),
                row["product_id"],
                row["order_id"],
                row["id"],
            ),
            row["created_at"],
        )
        for row in rows
    ]
    return window.page(entries, lambda entry: entry.cursor.place, descending=True)


def _encoded(changes: Sequence[FieldChange]) -> str:
    return orjson.dumps([(change.field, change.before, change.after) for change in changes]).decode()


def _text(value: object) -> str | None:
    match value:
        case None:
            return None
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case tuple():
            return orjson.dumps(value).decode() if value else None
        case _:
            return str(value)
