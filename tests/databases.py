"""Databases with the schema and no rows. One that a test has left with its schema unchanged is emptied for the next.

On two cores a new copy of the template and its end take 13 ms of CPU time, and one that is emptied a quarter of that.
"""

import contextlib
import re
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg

_Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_END_OTHERS = """
SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""

# A change of a schema writes rows of these catalogs, and each row has the transaction that wrote it. TRUNCATE writes
# none but those of pg_class, of which all but the place and the size of a table is compared.
_SCHEMA = "SELECT " + ", ".join(
    [
        *(
            f"(SELECT row(count(*), sum(xmin::text::bigint))::text FROM {rows})"
            for rows in (
                *("pg_attribute WHERE attrelid >= 16384", "pg_type", "pg_proc", "pg_attrdef", "pg_constraint"),
                *("pg_index WHERE indexrelid >= 16384", "pg_trigger", "pg_extension", "pg_default_acl"),
                # The schemas of temporary tables stay when their session ends.
                *(r"pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'", "pg_db_role_setting", "schema_migrations"),
            )
        ),
        """(
            SELECT sum(hashtextextended(row(
                relname, relnamespace, relowner, relkind, relpersistence, relrowsecurity, relacl, reloptions
            )::text, 0)) FROM pg_class WHERE oid >= 16384
        )""",
    ]
)
_USED = """
SELECT oid::regclass::text FROM pg_class
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'schema_migrations'
    AND pg_relation_size(oid) > 0
"""
# TRUNCATE keeps them, and they would decide the next test's plans.
_FORGET_STATISTICS = "DELETE FROM pg_statistic WHERE starelid >= 16384"


@dataclass
class Databases:
    """The databases of one server, which are copies of `template`.

    `url` is that of the server's database postgres, and `server` a connection to it.
    """

    url: str
    server: _Connection
    template: str
    schema: asyncpg.Record | None = None
    """That of the template, and of a new copy."""
    _idle: list[str] = field(default_factory=list)
    _kept: dict[str, _Connection] = field(default_factory=dict)
    """A connection to each database that was used: the first statement of a new one takes longer than all of them."""
    _made: int = 0

    def at(self, name: str) -> str:
        """The URL of a database."""
        return re.sub(r"/postgres\?", f"/{name}?", self.url)

    async def take(self) -> str:
        """The name of a database with the schema and no rows. Nobody but this object is connected to it."""
        if self._idle:
            return self._idle.pop()
        name = self._new_name()
        await self.server.execute(f"CREATE DATABASE {name} TEMPLATE {self.template} STRATEGY FILE_COPY")
        return name

    async def take_empty(self) -> str:
        """The name of a new database without any table. It must be dropped."""
        name = self._new_name()
        await self.server.execute(f"CREATE DATABASE {name} STRATEGY FILE_COPY")
        return name

    async def give_back(self, name: str) -> None:
        """End all connections to a database. Empty it, or drop it if its schema is no longer the template's."""
        try:
            reusable = await self._empty(name)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):  # a test has closed it, or dropped a table
            reusable = False
        if reusable:
            self._idle.append(name)
        else:
            await self.drop(name)

    async def drop(self, name: str) -> None:
        """End all connections to a database, and drop it."""
        if kept := self._kept.pop(name, None):
            kept.terminate()
        await self.server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def close(self) -> None:
        """Close the connections."""
        for connection in (self.server, *self._kept.values()):
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await connection.close()

    def _new_name(self) -> str:
        self._made += 1
        return f"test_{self._made}"

    async def _empty(self, name: str) -> bool:
        """End all other connections, and delete all rows. Returns False if the schema is another."""
        if self.schema is None:
            self.schema = await self._schema_of_template()
        if name not in self._kept:
            self._kept[name] = await asyncpg.connect(self.at(name))
        database = self._kept[name]
        await database.execute(_END_OTHERS)
        if await database.fetchrow(_SCHEMA) != self.schema:
            return False
        if used := [table for (table,) in await database.fetch(_USED)]:
            await database.execute(f"TRUNCATE {', '.join(used)}; {_FORGET_STATISTICS}")
        return True

    async def _schema_of_template(self) -> asyncpg.Record:
        connection = await asyncpg.connect(self.at(self.template))
        try:
            schema = await connection.fetchrow(_SCHEMA)
            assert schema is not None, "an aggregate has one row"
            return schema
        finally:
            await connection.close()
