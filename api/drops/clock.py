"""The database's clock, the only one that says whether a drop is open."""

from datetime import datetime

from api.database.database import Database


async def read_clock(database: Database) -> datetime:
    """What it shows now. Raises Unavailable."""
    rows = await database.fetch("SELECT now() AS now")
    moment: datetime = rows[0]["now"]
    return moment
