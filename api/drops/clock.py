"""The database's clock. It alone decides whether a drop is open."""

from datetime import datetime

from api.database.database import Database


async def read_clock(database: Database) -> datetime:
    """The time now. Raises Conflict, Unavailable."""
    rows = await database.fetch("SELECT now() AS now")
    moment: datetime = rows[0]["now"]
    return moment
