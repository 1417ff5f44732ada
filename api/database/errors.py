"""What can go wrong between us and the database, in the three cases that a caller must tell apart."""

import asyncpg

# Serialization failure. Aurora DSQL answers 40001 with OC000 (data) or OC001 (schema) in the message; the
# bare codes are treated alike, as its documentation uses both. The rest of class 40 is rolled back in the same way,
# PostgreSQL's deadlock (40P01) among it. 23505 is a key that a rival has just written: same remedy.
CONFLICT_SQLSTATES = frozenset({"40000", "40001", "40002", "40P01", "23505", "OC000", "OC001"})

# The classes in which the database refuses what it was asked, and would refuse it again: a feature, a value, a
# constraint, a statement's name, the syntax, a right, a limit of the program (PostgreSQL, Appendix A). Nothing was
# written, and another try is of no use. Every other state is one of the database, known to us or not: no memory,
# a server that starts or stops, an internal error (XX).
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
    """A fault of the database or of the way to it; never the caller's input."""


class Conflict(DatabaseError):
    """Another transaction committed first. Nothing was written; the same transaction may be run again."""


class Unavailable(DatabaseError):
    """The database cannot be reached, did not answer in time, or is in a state of its own. Nothing was written."""


class WakingUp(Unavailable):
    """An idle Aurora DSQL cluster is on its way back, and takes connections in a while."""


class OutcomeUnknown(DatabaseError):
    """COMMIT got no answer, or one that does not say: the transaction may have been committed or not.

    Run it again only if it finds its own earlier rows by their primary keys.
    """


class EmbeddedUnavailable(Exception):
    """The embedded PostgreSQL cannot be used; the message says why and what to do."""


def translate(error: BaseException) -> DatabaseError | None:
    """Name a driver's error as `Conflict` or `Unavailable`; None when it is neither: a refusal of what was asked, or a
    defect of ours."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        # A cached plan is invalid after a change of the schema, as OC001 says it on Aurora DSQL.
        if sqlstate in CONFLICT_SQLSTATES or isinstance(error, asyncpg.InvalidCachedStatementError):
            return Conflict(f"{sqlstate}: {error}")
        if sqlstate.startswith(_REFUSAL_CLASSES):
            return None
        return Unavailable(f"{sqlstate}: {error}")
    # asyncpg says "connection is closed" as InterfaceError, and so a value that it cannot encode (DataError),
    # which is also a ValueError; an answer cut short is its InternalClientError. TimeoutError is an OSError.
    lost = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    if isinstance(error, lost) and not isinstance(error, ValueError):
        return Unavailable(str(error) or type(error).__name__)
    return None
