"""The history of a drop: its curve, as the table has it."""

from datetime import datetime, timedelta
from math import ceil
from time import thread_time
from uuid import UUID

from api.database.database import Database
from api.drops.curve import ActivityPoint, Curve
from api.drops.keyset import LAST_ID, LATEST
from api.identity.turns import Turns

MAX_POINTS = 240
"""Points of a history at most."""

SPAN = timedelta(hours=24)
"""A history goes back so far at most."""

INTERVAL = 2.0
"""Seconds of the shortest points. Every process writes what it has done once in each of these intervals."""

PAGE = 250
"""Rows of one reading: some 3 ms of the event loop."""

READING = 0.000002
"""Seconds of processor time in which the driver reads one row, before the rows are added up. They are paid for
together."""

MAX_ROWS = 30_000
"""Rows of a history at most, and the newest are kept: what four processes write in more than four hours in which there
is a purchase in every two seconds."""

_READ_BOUNDS = f"""
SELECT now() AS now, (
    SELECT at FROM activity
    WHERE (product_id, at) > ($1, now() - interval '{SPAN.total_seconds():.0f} seconds') AND product_id <= $1
    ORDER BY product_id, at LIMIT 1
) AS oldest
"""
# A lower bound of `at` would let the planner expect a handful of rows, and sort all of the product's for each page.
_READ_PAGE = f"""
SELECT at, process, stock, version, data FROM activity
WHERE product_id >= $1 AND (product_id, at, process) < ($1, $2, $3)
ORDER BY product_id DESC, at DESC, process DESC LIMIT {PAGE}
"""


async def read_history(
    database: Database, product_id: UUID, max_rows: int = MAX_ROWS, turns: Turns | None = None
) -> list[ActivityPoint]:
    """The points of a product from its first activity in the last SPAN on, up to MAX_POINTS, oldest first. Of more than
    `max_rows` rows, the oldest are left out. Each page waits for its turn in `turns`, which never refuse; None where
    no other work has to go on. Raises Conflict, Unavailable."""
    bounds = (await database.fetch(_READ_BOUNDS, product_id))[0]
    oldest: datetime | None = bounds["oldest"]
    if oldest is None:
        return []
    curve = Curve(_width_of((bounds["now"] - oldest).total_seconds()))
    at, process = LATEST, LAST_ID
    for _ in range(ceil(max_rows / PAGE)):
        rows = await database.fetch(_READ_PAGE, product_id, at, process)
        begun = thread_time()
        for row in rows:
            if row["at"] >= oldest:
                curve.add(row)
        if turns is not None:
            await turns.pay("", thread_time() - begun + len(rows) * READING)
        if len(rows) < PAGE or rows[-1]["at"] < oldest:
            break
        at, process = rows[-1]["at"], rows[-1]["process"]
    return curve.points()[-MAX_POINTS:]


def _width_of(span: float) -> float:
    """Seconds of each point: a multiple of INTERVAL, so that MAX_POINTS cover the span wherever the first begins."""
    return INTERVAL * max(1, ceil(span / (MAX_POINTS - 2) / INTERVAL))
