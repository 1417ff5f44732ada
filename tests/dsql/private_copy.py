"""Copies of tables, as a snapshot shows them, under the tables' own names: rows there have no other writer."""

from collections.abc import Iterable

from tests.dsql import wire

# A temporary table hides the table of its name, since its schema is the first that PostgreSQL looks in. The search path
# is changed as well, because otherwise PostgreSQL would go on with the plans of statements that it has prepared.
_COPY = """
CREATE TEMPORARY TABLE "copy of {table}" (LIKE "{table}" INCLUDING ALL);
INSERT INTO "copy of {table}" SELECT * FROM "{table}";
ALTER TABLE "copy of {table}" RENAME TO "{table}";
"""
_PREFER_COPIES = "SELECT set_config('search_path', 'pg_temp, ' || current_setting('search_path'), true)"


def copy_tables(tables: Iterable[str]) -> bytes:
    """The request that makes the copies, in a transaction and until its next rollback to a savepoint."""
    return wire.query("".join(_COPY.format(table=table) for table in sorted(tables)) + _PREFER_COPIES)
