"""Which indexes are missing or not valid, and why their jobs failed on Aurora DSQL. Changes nothing."""

from collections.abc import Iterable

from api.database.pool import Pool

_READ_ALL = """
SELECT c.relname AS name, i.indisvalid AS valid FROM pg_index i
JOIN pg_class c ON c.oid = i.indexrelid
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = current_schema() AND c.relname = ANY($1::text[])
"""
_READ_FAILED = """
SELECT object_name AS name, status, details FROM sys.jobs
WHERE job_type = 'INDEX_BUILD' AND (status = 'failed' OR details IS NOT NULL) ORDER BY start_time
"""


async def invalid_indexes(pool: Pool, names: Iterable[str]) -> dict[str, bool]:
    """The indexes that cannot be used, in the order of `names`: False for one that does not exist, True for one that
    exists and is not valid. Raises Conflict, Unavailable."""
    wanted = list(names)
    valid = {row["name"]: row["valid"] for row in await pool.fetch(_READ_ALL, wanted)}
    return {name: name in valid for name in wanted if not valid.get(name)}


async def failed_jobs(pool: Pool, names: Iterable[str]) -> dict[str, str]:
    """Why the last job of each index failed, as far as Aurora DSQL still knows: it keeps a job for half an hour after
    its end. Raises Conflict, Unavailable."""
    wanted = set(names)
    rows = await pool.fetch(_READ_FAILED)
    failed = {row["name"].rpartition(".")[2]: " ".join((row["details"] or row["status"]).split()) for row in rows}
    return {name: reason for name, reason in failed.items() if name in wanted}
