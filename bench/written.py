"""The rows and index entries that transactions have written, counted by PostgreSQL, with their sizes."""

from dataclasses import dataclass

import asyncpg

from api.cost.formulas import LEAST_BYTES
from bench.database import Database

UPDATED_COLUMNS = frozenset({"stock", "stocked", "version", "units"})
"""The columns that a purchase updates. No index may have one of them: an update would then write its entry too."""

Counts = dict[str, tuple[int, int]]
"""Rows that were ever inserted and updated, by table."""

_COUNTS = "SELECT relname, n_tup_ins, n_tup_upd FROM pg_stat_user_tables"
_COLUMNS = """
SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped
"""
# Aurora DSQL keeps a table's rows in its primary key, which is thus no index of its own. An index entry has the
# columns of the index and those of the primary key.
_INDEXES = """
SELECT array_agg(DISTINCT attname::text) AS columns
FROM pg_index
JOIN pg_index AS keys ON keys.indrelid = pg_index.indrelid AND keys.indisprimary
JOIN pg_attribute ON attrelid = pg_index.indrelid
    AND (attnum = ANY(pg_index.indkey::smallint[]) OR attnum = ANY(keys.indkey::smallint[]))
WHERE pg_index.indrelid = $1::text::regclass AND NOT pg_index.indisprimary
GROUP BY pg_index.indexrelid
"""


@dataclass(frozen=True)
class Written:
    """What was written to one table. Sizes are those that are billed, averages over the rows of the table, in bytes.
    `entry_bytes`: an entry of each index but the primary key."""

    table: str
    inserted: int
    updated: int
    row_bytes: float
    entry_bytes: tuple[float, ...]

    @property
    def rows(self) -> int:
        return self.inserted + self.updated

    @property
    def entries(self) -> int:
        return self.inserted * len(self.entry_bytes)

    @property
    def bytes(self) -> float:
        return self.rows * self.row_bytes + self.inserted * sum(self.entry_bytes)


def counts(database: Database) -> Counts:
    """What was written until now by transactions of sessions that have ended. Running sessions may have more."""

    async def read(connection: "asyncpg.Connection[asyncpg.Record]") -> Counts:
        return {row["relname"]: (row["n_tup_ins"], row["n_tup_upd"]) for row in await connection.fetch(_COUNTS)}

    return database.run(read)


def since(database: Database, before: Counts) -> list[Written]:
    """What was written since `before`, for each table that was written to."""
    changed = {
        table: (inserted - before.get(table, (0, 0))[0], updated - before.get(table, (0, 0))[1])
        for table, (inserted, updated) in counts(database).items()
    }

    async def read(connection: "asyncpg.Connection[asyncpg.Record]") -> list[Written]:
        return [
            Written(table, inserted, updated, *await _sizes(connection, table))
            for table, (inserted, updated) in changed.items()
            if inserted or updated
        ]

    return database.run(read)


async def _sizes(connection: "asyncpg.Connection[asyncpg.Record]", table: str) -> tuple[float, tuple[float, ...]]:
    """The average size of a table's rows, and of the entries of each of its indexes."""
    columns = [row["attname"] for row in await connection.fetch(_COLUMNS, table)]
    indexes = [list(row["columns"]) for row in await connection.fetch(_INDEXES, table)]
    for index in indexes:
        if UPDATED_COLUMNS.intersection(index):
            raise SystemExit(f"an index of {table} has a column that purchases update: {', '.join(index)}")
    billed = ", ".join(
        f"avg(greatest({LEAST_BYTES}, {' + '.join(f'coalesce(pg_column_size({name}), 0)' for name in part)}))::float8"
        for part in (columns, *indexes)
    )
    (averages,) = await connection.fetch(f"SELECT {billed} FROM {table}")
    row_bytes, *entry_bytes = averages.values()
    return row_bytes, tuple(entry_bytes)
