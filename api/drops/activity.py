"""Activity: what each process has answered about a product in an interval of some seconds, as a row of the table."""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

import orjson

from api.database.database import Database
from api.database.pool import Transaction
from api.drops.histogram import SECONDS
from api.drops.tally import ProductTally, Tally

MAX_ROWS = 500
"""Rows that one transaction writes at most: as many products in one interval. Aurora DSQL allows 3,000 changed rows,
and a row has an index entry."""

KEPT_FOR = timedelta(days=7)
"""Activity is kept for so long."""

STEP = 1000
"""Rows that one transaction deletes, and a few more that have the same moment as the last of them. Aurora DSQL allows
3,000 changed rows, and a row has an index entry."""

# A row whose COMMIT got no answer is written again under the same key, and found where it was written the first time.
# The stock of its moment can no longer be read.
_INSERT = """
INSERT INTO activity (product_id, at, process, seconds, stock, version, data)
SELECT batch.product_id, coalesce(batch.at, now()), $1, batch.seconds,
    CASE WHEN batch.at IS NULL THEN levels.stock END, CASE WHEN batch.at IS NULL THEN levels.version END, batch.data
FROM unnest($2::text[]::uuid[], $3::text[]::timestamptz[], $4::text[]::double precision[], $5::text[])
    AS batch (product_id, at, seconds, data)
LEFT JOIN (
    SELECT product_id, sum(stock)::bigint AS stock, sum(version)::bigint AS version
    FROM stock_shards WHERE product_id = ANY($2::text[]::uuid[]) GROUP BY product_id
) AS levels ON levels.product_id = batch.product_id
ON CONFLICT (product_id, at, process) DO NOTHING
RETURNING product_id, at
"""
_DELETE_OLD = f"""
DELETE FROM activity WHERE at <= (
    SELECT max(old.at) FROM (
        SELECT at FROM activity WHERE at < now() - $1::interval ORDER BY at LIMIT {STEP}
    ) AS old
)
"""


@dataclass(slots=True)
class NewRow:
    """A row that this process writes. `seconds`: the length of its interval. `at`: the interval's end, by the
    database's clock; None until the database has been sent the row."""

    product_id: UUID
    seconds: float
    data: bytes
    at: datetime | None = None


def take_rows(tallies: Iterable[Tally], seconds: float) -> list[NewRow]:
    """What the tallies have counted since the last call, which was `seconds` ago. Of more than MAX_ROWS products, the
    others are left out."""
    recent: dict[UUID, ProductTally] = {}
    for tally in tallies:
        for product_id, counts in tally.take_recent().items():
            if product_id is not None:
                recent.setdefault(product_id, ProductTally()).merge(counts)
    return [NewRow(product_id, seconds, encode(counts)) for product_id, counts in list(recent.items())[:MAX_ROWS]]


async def write_rows(transaction: Transaction, process: UUID, rows: Sequence[NewRow]) -> None:
    """Write the rows of a process, each once however often it is written. Raises Conflict, Unavailable."""
    found = await transaction.fetch(
        _INSERT,
        process,
        [str(row.product_id) for row in rows],
        [None if row.at is None else row.at.isoformat() for row in rows],
        [str(row.seconds) for row in rows],
        [row.data.decode() for row in rows],
    )
    moments: dict[UUID, datetime] = {record["product_id"]: record["at"] for record in found}
    for row in rows:
        row.at = row.at or moments[row.product_id]


async def delete_old_activity(database: Database, kept_for: timedelta = KEPT_FOR) -> bool:
    """Delete the oldest rows that are older than `kept_for`. Returns whether there may be more of them. Raises Conflict
    when another process was first, Unavailable, OutcomeUnknown, which does no harm."""
    async with database.begin() as transaction:
        deleted = await transaction.execute(_DELETE_OLD, kept_for)
        await transaction.commit()
    return int(deleted.removeprefix("DELETE ")) >= STEP


def encode(counts: ProductTally) -> bytes:
    """The JSON of counts. The histogram has the bound of each value, so that a server whose bounds are others can read
    it; the bound of the values above all bounds is null."""
    bounds = (*SECONDS, None)
    return orjson.dumps(
        {
            "outcomes": dict(counts.outcomes),
            "transactions": dict(counts.transactions),
            "attempts": counts.attempts,
            "seconds": [pair for pair in zip(bounds, counts.seconds.counts, strict=True) if pair[1]],
        }
    )


def add_encoded(counts: ProductTally, data: str) -> None:
    """Add the counts that `encode` has made JSON of."""
    added = orjson.loads(data)
    for name, count in added["outcomes"].items():
        counts.outcomes[name] += count
    for name, count in added["transactions"].items():
        counts.transactions[name] += count
    counts.attempts += added["attempts"]
    for bound, count in added["seconds"]:
        place = len(SECONDS) if bound is None else bisect_left(SECONDS, bound)
        counts.seconds.counts[place] += count
