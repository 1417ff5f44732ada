"""What transactions have written to the outbox, for the tests of everything that happens to orders."""

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from api.database.pool import Pool


@dataclass(frozen=True, slots=True)
class Happened:
    """An event as a transaction wrote it. `data` is what receivers get."""

    type: str
    order_id: UUID | None
    data: dict[str, Any]


async def read_outbox(pool: Pool, product_id: UUID) -> list[Happened]:
    """The events of a product that are in the outbox, in the order of their transactions."""
    rows = await pool.fetch("SELECT happened FROM outbox WHERE product_id = $1 ORDER BY created_at", product_id)
    return [
        Happened(type_, None if order_id is None else UUID(order_id), data)
        for row in rows
        for type_, order_id, data in json.loads(row["happened"])
    ]


def times(happened: list[Happened]) -> Counter[tuple[str, UUID | None]]:
    """How often each event has happened to each order."""
    return Counter((each.type, each.order_id) for each in happened)
