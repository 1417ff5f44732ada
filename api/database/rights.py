"""Checks whether our role in the database may run a statement."""

import asyncpg

from api.database.database import Database


async def is_allowed(database: Database, statement: str) -> bool:
    """Whether the role may run a statement. Runs it, and rolls it back; it should touch no row. Raises Conflict,
    Unavailable."""
    try:
        async with database.begin() as transaction:
            await transaction.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return False
    return True
