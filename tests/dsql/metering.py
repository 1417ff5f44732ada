"""What the transactions of a cluster cost in DPU, by the formulas of Aurora DSQL's page "How billing works".

Counted at each COMMIT that succeeds: the rows of its INSERT, UPDATE and DELETE statements, by their command tags. Their
bytes, and their index entries, are averages over the tables as they are when `Meter.dpu` is called. This is assumed:

- The primary key is no index entry: Aurora DSQL keeps the row itself there.
- An INSERT or a DELETE writes one entry of every other index, and INSERT ON CONFLICT counts as an INSERT.
- An UPDATE writes two entries, the old and the new, of an index with a column that it sets, and no entry of the others.
- An index entry has the columns of the index and of the primary key. A partial index has entries of the rows that it
  holds now.
- A row that two statements of one transaction write counts twice.
- A value has the bytes that PostgreSQL stores.
- A second Region is one whose endpoint is open at the COMMIT.
- Only the rows that a client gets are read. The real ReadDPU is higher, so `Dpu.read` is a lower bound.

Not counted: changes of the schema, writes of functions, ComputeDPU, and the writes of transactions that were rolled
back.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

import asyncpg

from api.cost.formulas import LEAST_BYTES, read_dpu, write_dpu

_INDEXES = """
SELECT indisprimary, pg_get_expr(indpred, indrelid) AS predicate,
    ARRAY(SELECT pg_get_indexdef(indexrelid, key, true) FROM generate_series(1, indnatts) AS key) AS keys,
    ARRAY(
        SELECT attname::text FROM pg_attribute
        WHERE attrelid = indrelid AND (attnum = ANY (indkey) OR attnum IN (
            SELECT refobjsubid FROM pg_depend
            WHERE classid = 'pg_class'::regclass AND objid = indexrelid AND refobjid = indrelid
        ))
    ) AS columns
FROM pg_index WHERE indrelid = $1::regclass
"""
_COLUMNS = """
SELECT quote_ident(attname) FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped
"""

_Database: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


@dataclass(frozen=True, slots=True)
class Change:
    """What one statement wrote. `sets` are the columns that an UPDATE sets; it is None for INSERT and DELETE."""

    table: str
    sets: frozenset[str] | None
    rows: int


@dataclass(frozen=True, slots=True)
class Dpu:
    """The cost of all transactions, and how many rows and index entries they wrote. `read` is a lower bound."""

    write: float
    read: float
    writing_transactions: int
    rows: int
    index_entries: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row or an index entry. `bytes` is what it counts for on average; `share` is the share of rows that have it."""

    bytes: float
    share: float
    columns: frozenset[str]

    def written(self, change: Change) -> int:
        """How often a change writes it for each row: the row itself once, and twice if it moves to another key."""
        return 1 if change.sets is None else 2 if change.sets & self.columns else 0


class Meter:
    """Counts the transactions of one cluster. `regions` are those whose endpoints are open."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._writes: Counter[tuple[frozenset[Change], int]] = Counter()
        self._read_dpu = 0.0
        self.regions: Counter[str | None] = Counter()

    def clear(self) -> None:
        """Begin to count anew."""
        self._writes.clear()
        self._read_dpu = 0.0

    def count_read(self, size: int) -> None:
        """Count a transaction, however it ended, and the bytes of the rows that its client got."""
        self._read_dpu += read_dpu(size)

    def count_write(self, changes: Iterable[Change]) -> None:
        """Count what a transaction has committed."""
        rows: Counter[tuple[str, frozenset[str] | None]] = Counter()
        for change in changes:
            rows[change.table, change.sets] += change.rows
        merged = frozenset(Change(table, sets, number) for (table, sets), number in rows.items() if number)
        if merged:
            self._writes[merged, max(1, len(self.regions))] += 1

    async def dpu(self) -> Dpu:
        """The cost of everything counted so far. Reads every table that was written."""
        tables = {change.table for changes, _ in self._writes for change in changes}
        database = await asyncpg.connect(self._database_url)
        try:
            entries = {table: await _entries(database, table) for table in tables}
        finally:
            await database.close()
        write = index_entries = 0.0
        for (changes, regions), times in self._writes.items():
            size = 0.0
            for change in changes:
                row, *indexes = entries[change.table]
                size += change.rows * row.bytes * max(1, row.written(change))
                size += sum(change.rows * index.bytes * index.written(change) for index in indexes)
                index_entries += times * sum(change.rows * index.share * index.written(change) for index in indexes)
            write += times * regions * write_dpu(size)
        return Dpu(
            write=write,
            read=self._read_dpu,
            writing_transactions=self._writes.total(),
            rows=sum(times * change.rows for (changes, _), times in self._writes.items() for change in changes),
            index_entries=round(index_entries),
        )


async def _entries(database: _Database, table: str) -> list[_Entry]:
    """The row of a table, and then the entry of each of its indexes but the primary key."""
    if await database.fetchval("SELECT to_regclass($1)", table) is None:  # dropped since
        return [_Entry(LEAST_BYTES, 1.0, frozenset())]
    columns = [name for (name,) in await database.fetch(_COLUMNS, table)]
    indexes = await database.fetch(_INDEXES, table)
    key = next((index for index in indexes if index["indisprimary"]), None)
    key_columns = frozenset(key["columns"] if key else ())
    entries = [await _entry(database, table, columns, None, key_columns)]
    for index in indexes:
        if not index["indisprimary"]:
            values = dict.fromkeys([*index["keys"], *(key["keys"] if key else ())])
            depends_on = key_columns | frozenset(index["columns"])
            entries.append(await _entry(database, table, values, index["predicate"], depends_on))
    return entries


async def _entry(
    database: _Database, table: str, values: Iterable[str], predicate: str | None, columns: frozenset[str]
) -> _Entry:
    size = " + ".join(f"coalesce(pg_column_size({value}), 0)" for value in values)
    has = f"coalesce({predicate}, false)" if predicate else "true"
    row = await database.fetchrow(f"""
        SELECT avg(CASE WHEN {has} THEN greatest({size}, {LEAST_BYTES}) ELSE 0 END)::float8 AS bytes,
            avg(CASE WHEN {has} THEN 1 ELSE 0 END)::float8 AS share
        FROM {table}
    """)
    assert row is not None, "an aggregate has one row"
    if row["bytes"] is None:  # the table is empty now
        return _Entry(LEAST_BYTES, 1.0, columns)
    return _Entry(row["bytes"], row["share"], columns)
