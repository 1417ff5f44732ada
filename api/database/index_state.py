"""Which indexes are missing or not valid."""

from collections.abc import Iterable

from api.database.pool import Pool

_READ_ALL = """
SELECT c.relname AS name, i.indisvalid AS valid FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relname = ANY($1::text[])
"""


async def invalid_indexes(pool: Pool, names: Iterable[str]) -> dict[str, bool]:
    """The indexes that cannot be used, in the order of `names`: False for one that does not exist, True for one that
    exists and is not valid. Raises Conflict, Unavailable."""
    wanted = list(names)
    valid = {row["name"]: row["valid"] for row in await pool.fetch(_READ_ALL, wanted)}
    return {name: name in valid for name in wanted if not valid.get(name)}
