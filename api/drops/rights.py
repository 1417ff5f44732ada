"""The rights that the server's database role needs, and the check for them."""

from api.database.database import Database
from api.database.rights import first_refused

GRANTS = {
    "products": ("SELECT", "INSERT", "UPDATE"),
    "drops": ("SELECT", "INSERT"),
    "stock_shards": ("SELECT", "INSERT", "UPDATE"),
    "holdings": ("SELECT", "INSERT", "UPDATE"),
    "orders": ("SELECT", "INSERT", "UPDATE"),
    "restocks": ("SELECT", "INSERT"),
    "operator_log": ("SELECT", "INSERT"),
    "outbox": ("SELECT", "INSERT", "DELETE"),
    "events": ("SELECT", "INSERT", "DELETE"),
    "parcels": ("SELECT", "INSERT", "UPDATE", "DELETE"),
    "activity": ("SELECT", "INSERT", "DELETE"),
    "processes": ("SELECT", "INSERT", "UPDATE", "DELETE"),
}
"""The rights on each table that the server's statements need, and no more."""

# Each statement needs one right and reads or writes no row.
_PROBES = {
    "SELECT": "SELECT 1 FROM {table} WHERE false",
    "INSERT": "INSERT INTO {table} SELECT * FROM {table} WHERE false",
    "UPDATE": "UPDATE {table} SET {column} = {column} WHERE false",
    "DELETE": "DELETE FROM {table} WHERE false",
}
_COLUMNS = {
    "products": "name",
    "stock_shards": "stock",
    "holdings": "units",
    "orders": "status",
    "parcels": "due",
    "processes": "data",
}


class RightsMissing(Exception):
    """The database role lacks a right; the message says what to grant."""


async def require_rights(database: Database) -> None:
    """Check each right of GRANTS. Raises RightsMissing, Conflict, Unavailable."""
    probes = _probes()
    refused = await first_refused(database, probes)
    if refused is not None:
        table, right = probes[refused]
        raise RightsMissing(
            f"the server's database role may not {right} {table}; as the owner of the tables: "
            f"GRANT {', '.join(GRANTS[table])} ON {table} TO the role"
        )


async def missing_rights(database: Database) -> dict[str, list[str]]:
    """The rights of GRANTS that the role lacks, by table. Raises Conflict, Unavailable."""
    probes = _probes()
    missing: dict[str, list[str]] = {}
    while (refused := await first_refused(database, probes)) is not None:
        table, right = probes.pop(refused)
        missing.setdefault(table, []).append(right)
    return missing


def _probes() -> dict[str, tuple[str, str]]:
    """The table and the right that each statement needs."""
    return {
        _PROBES[right].format(table=table, column=_COLUMNS.get(table)): (table, right)
        for table, rights in GRANTS.items()
        for right in rights
    }
