"""Copies of tables, as a snapshot shows them, under the tables' own names: rows there have no other writer.

A session keeps the empty copies that it has needed. On two busy cores a copy that has to be created took 2 to 3 ms,
and a kept copy of 64 rows a tenth of that.
"""

from collections.abc import Iterable

from tests.dsql import wire

LARGEST = 8 * 1024 * 1024
"""Bytes of a table that is copied, with its rows that were undone. A copy of 20,000 orders with their indexes takes
about 200 ms, and longer ones would change what a bench measures."""

_CREATE = 'CREATE TEMPORARY TABLE "{copy}" (LIKE "{table}" INCLUDING ALL);'
# Fails with a division by zero, and so does the request.
_REFUSE_LARGE = "SELECT 1 / (pg_relation_size('\"{table}\"') <= {largest})::integer;"
# A temporary table hides the table of its name, since its schema is the first that PostgreSQL looks in.
_FILL = 'INSERT INTO "{copy}" SELECT * FROM "{table}"; ALTER TABLE "{copy}" RENAME TO "{table}";'
# A prepared statement has a plan with the tables that its names stood for. PostgreSQL would not notice the new names.
_PLAN_ANEW = "DISCARD PLANS"
_CLEAR = 'TRUNCATE "{copy}";'  # the rows that were undone take space, and PostgreSQL vacuums no temporary table


class PrivateCopies:
    """The copies of one session, which are lost when its connection closes."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int], str] = {}

    def fill(self, tables: Iterable[str], version: int) -> bytes:
        """The request that copies tables, until the next rollback to a savepoint. `version` is that of the schema.

        The request fails if a table is too large.
        """
        statements = []
        for number, table in enumerate(sorted(tables)):
            statements.append(_REFUSE_LARGE.format(table=table, largest=LARGEST))
            copy = self._kept.get((table, version))
            if copy is None:
                copy = f"copy {number} in this transaction"
                statements.append(_CREATE.format(copy=copy, table=table))
            statements.append(_FILL.format(copy=copy, table=table))
        return wire.query("".join(statements) + _PLAN_ANEW)

    def keep(self, tables: Iterable[str], version: int) -> bytes:
        """The request, after the transaction, that keeps empty copies of the tables for the next transaction."""
        statements = []
        for table in sorted(tables):
            copy = self._kept.get((table, version))
            if copy is None:
                copy = self._kept[table, version] = f"copy {len(self._kept)}"
                statements.append(_CREATE.format(copy=copy, table=table))
            else:
                statements.append(_CLEAR.format(copy=copy))
        return wire.query("".join(statements))
