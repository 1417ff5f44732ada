"""Checks whether our role in the database may run statements."""

from collections.abc import Iterable

import asyncpg

from api.database.database import Database


async def first_refused(database: Database, statements: Iterable[str]) -> str | None:
    """The first statement that the role may not run; None if it may run all. Runs them in one transaction, and rolls it
    back; they should touch no row. Raises Conflict, Unavailable."""
    async with database.begin() as transaction:
        for statement in statements:
            try:
                await transaction.execute(statement)
            except asyncpg.InsufficientPrivilegeError:
                return statement
    return None
