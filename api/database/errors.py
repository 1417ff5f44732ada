"""What can go wrong between us and the database, in the three cases that a caller must tell apart."""

import asyncpg

# Serialization failure. Aurora DSQL answers 40001 with OC000 (data) or OC001 (schema) in the message; the
# bare codes are taken alike, as its documentation uses both. 40P01 is PostgreSQL's deadlock, and 23505 a key that a
# rival has just written: same remedy.
CONFLICT_SQLSTATES = frozenset({"40001", "40P01", "23505", "OC000", "OC001"})

# States of the database, not of what was asked: 08 a lost connection, 25006 a replica that only reads, 53 and 58 no
# disk, no memory or no room, 55P03 and 57014 a statement that the server gave up, 57P0x a server that comes or goes.
_UNAVAILABLE_CLASSES = ("08", "25006", "53", "55P03", "57014", "57P01", "57P02", "57P03", "58")


class DatabaseError(Exception):
    """A fault of the database or of the way to it; never the caller's input."""


class Conflict(DatabaseError):
    """Another transaction committed first. Nothing was written; the same transaction may be run again."""


class Unavailable(DatabaseError):
    """The database cannot be reached, or did not answer in time. Nothing was written."""


class WakingUp(Unavailable):
    """An idle Aurora DSQL cluster is on its way back, and takes connections in a while."""


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
