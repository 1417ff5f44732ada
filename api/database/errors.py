"""The errors of the database, in the three cases that a caller must distinguish."""

import asyncpg

# Serialization failure. Aurora DSQL answers 40001 with OC000 (data) or OC001 (schema) in the message. Its documentation
# uses the bare codes, too, so they are treated alike. The rest of class 40, such as PostgreSQL's deadlock (40P01), is
# rolled back in the same way. 23505 is a key that another transaction has just written: a retry helps there, too.
CONFLICT_SQLSTATES = frozenset({"40000", "40001", "40002", "40P01", "23505", "OC000", "OC001"})

# The classes of SQLSTATE in which the database refuses a statement and would refuse it again: a feature, a value, a
# constraint, a statement's name, the syntax, a right, a limit of the program (PostgreSQL, Appendix A). Nothing was
# written, and a retry is of no use. Any other SQLSTATE is a state of the database, known to us or not: no memory, a
# server that starts or stops, an internal error (XX).
_REFUSAL_CLASSES = (
    "0A",
    "0B",
    "20",
    "21",
    "22",
    "23",
    "26",
    "2F",
    "34",
    "38",
    "39",
    "3D",
    "3F",
    "42",
    "44",
    "54",
    "P0",
)


class DatabaseError(Exception):
    """A fault of the database or of the connection to it; never of the caller's input."""


class Conflict(DatabaseError):
    """Another transaction committed first. Nothing was written. The transaction can be retried."""


class Unavailable(DatabaseError):
    """The database accepts no connection, did not answer in time, or has a fault of its own. Nothing was written."""


class WakingUp(Unavailable):
    """An idle Aurora DSQL cluster is starting, and accepts connections in a while."""


class OutcomeUnknown(DatabaseError):
    """COMMIT got no answer, or an answer that does not say whether the transaction was committed.

    Retry it only if the transaction finds its own earlier rows by their primary keys.
    """


class EmbeddedUnavailable(Exception):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


def translate(error: BaseException) -> DatabaseError | None:
    """A driver's error as `Conflict` or `Unavailable`. None for any other error: the database refuses the statement, or
    it is a defect of ours."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        # A cached plan is invalid after a change of the schema. On Aurora DSQL the same change is answered with OC001.
        if sqlstate in CONFLICT_SQLSTATES or isinstance(error, asyncpg.InvalidCachedStatementError):
            return Conflict(f"{sqlstate}: {error}")
        if sqlstate.startswith(_REFUSAL_CLASSES):
            return None
        return Unavailable(f"{sqlstate}: {error}")
    # asyncpg raises InterfaceError for a closed connection. DataError, for a value that it cannot encode, is an
    # InterfaceError and a ValueError. InternalClientError is an answer that was cut short. TimeoutError is an OSError.
    lost = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    if isinstance(error, lost) and not isinstance(error, ValueError):
        return Unavailable(str(error) or type(error).__name__)
    return None
