"""What can go wrong between us and the database, in the three cases that a caller must tell apart."""

import asyncpg

# Serialization failure. Aurora DSQL answers 40001 with OC000 (data) or OC001 (schema) in the message; the
# bare codes are taken alike, as its documentation uses both. 40P01 is PostgreSQL's deadlock: same remedy.
CONFLICT_SQLSTATES = frozenset({"40001", "40P01", "OC000", "OC001"})

# 08 is a lost connection, 57P0x a server that is going away or not there yet.
_UNAVAILABLE_CLASSES = ("08", "57P01", "57P02", "57P03")


class DatabaseError(Exception):
    """A fault of the database or of the way to it; never the caller's input."""


class Conflict(DatabaseError):
    """Another transaction committed first. Nothing was written; the same transaction may be run again."""


class Unavailable(DatabaseError):
    """The database cannot be reached, or did not answer in time. Nothing was written."""


class OutcomeUnknown(DatabaseError):
    """The connection was lost at COMMIT: the transaction may have been committed or not.

    Run it again only if it finds its own earlier rows by their primary keys.
    """


def translate(error: BaseException) -> DatabaseError | None:
    """Name a driver's error as `Conflict` or `Unavailable`; None when it is neither, such as a defect of ours."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        if sqlstate in CONFLICT_SQLSTATES:
            return Conflict(f"{sqlstate}: {error}")
        if sqlstate.startswith(_UNAVAILABLE_CLASSES):
            return Unavailable(f"{sqlstate}: {error}")
        return None
    # asyncpg says "connection is closed" as InterfaceError, and so a value that it cannot encode (DataError),
    # which is also a ValueError; an answer cut short is its InternalClientError. TimeoutError is an OSError.
    lost = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    if isinstance(error, lost) and not isinstance(error, ValueError):
        return Unavailable(str(error) or type(error).__name__)
    return None
