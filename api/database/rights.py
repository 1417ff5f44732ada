"""Whether the database role we connect as may run a statement."""

import asyncpg

from api.database.database import Database


async def is_allowed(database: Database, statement: str) -> bool:
    """Run a statement, which should touch no row, and roll it back. Raises Conflict, Unavailable."""
    try:
        async with database.begin() as transaction:
            await transaction.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return False
    return True
