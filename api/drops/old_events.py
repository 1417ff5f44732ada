"""Old events: those that every reader had time to read are deleted."""

from datetime import timedelta

from api.database.database import Database

KEPT_FOR = timedelta(days=7)
"""Events are kept for so long: longer than they are sent again, see parcels.GIVE_UP, with a weekend to spare."""

STEP = 1000
"""Events that one transaction deletes at most. Aurora DSQL allows 3,000 changed rows."""

# The newest event always stays, since the next one is numbered after it. Events that wait for the receiver stay, and
# all that are newer, so that the positions which are kept have no gap: so a cursor can be recognised as too old.
_READ_OLD = f"""
SELECT position, occurred_at < now() - $1::interval AS is_old FROM events
WHERE position < least(
    (SELECT max(position) FROM events),
    CASE WHEN $2 THEN (SELECT min(first) FROM parcels WHERE first > 0) END,
    CASE WHEN $2 THEN coalesce((SELECT last + 1 FROM parcels WHERE first = 0), 0) END
)
ORDER BY position LIMIT {STEP}
"""
_DELETE_OLD = "DELETE FROM events WHERE position BETWEEN $1 AND $2"


async def delete_old_events(database: Database, sends: bool, kept_for: timedelta = KEPT_FOR) -> int:
    """Delete up to STEP events that are older than `kept_for`, and return how many. `sends`: whether events are sent to
    a webhook. Those that wait for it are not deleted, then. Raises Conflict when another process was first,
    Unavailable, OutcomeUnknown, which does no harm."""
    async with database.begin() as transaction:
        rows = await transaction.fetch(_READ_OLD, kept_for, sends)
        young = next((number for number, row in enumerate(rows) if not row["is_old"]), len(rows))
        if young:
            await transaction.execute(_DELETE_OLD, rows[0]["position"], rows[young - 1]["position"])
            await transaction.commit()
    return young
