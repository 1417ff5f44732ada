"""The catalogue: the drops that a shop has, each with the name that its products share and with a slug."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api.database.database import Database
from api.database.pool import Record, Transaction
from api.drops.keyset import Cursor, Page, Paging, keyset_query, window_of

MAX_SLUG = 60
"""Characters of a slug at most."""

SLUG = re.compile(rf"[a-z0-9-]{{1,{MAX_SLUG}}}")
"""What every slug matches. PostgreSQL refuses other text, such as NUL, with an error."""

_SUFFIX = 12
"""Hexadecimal digits of a drop's id at the end of a slug. Two of 10,000 drops whose names have no Latin letter have the
same with a probability of 1 to 5 million."""

_LETTERS = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "þ": "th", "ı": "i"})
"""Latin letters that Unicode does not decompose into a letter and an accent."""

_SELECT_DROPS = "SELECT id, slug, name, created_at FROM drops"
_DROPS_BY_ID = f"{_SELECT_DROPS} WHERE id = ANY($1::text[]::uuid[])"
_DROPS_BY_SLUG = f"{_SELECT_DROPS} WHERE slug = ANY($1::text[])"
# The first product is looked up as in keyset_clauses. With `drop_name = $4`, a generic plan reads a large drop whole.
_INSERT_DROP = """
INSERT INTO drops (id, slug, name, created_at)
SELECT $1, CASE WHEN EXISTS (SELECT 1 FROM drops WHERE slug = $2) THEN $3 ELSE $2 END, $4, created_at
FROM products WHERE drop_name >= $4 AND drop_name <= $4 ORDER BY drop_name, created_at, id LIMIT 1
ON CONFLICT (id) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Drop:
    """What products with one `drop_name` belong to. None of its values ever changes. `slug`: its name in addresses, of
    a-z, 0-9 and hyphens. `created_at`: when its first product was created."""

    id: UUID
    slug: str
    name: str
    created_at: datetime

    @property
    def cursor(self) -> Cursor:
        return Cursor("drops", self.created_at, self.id)


def drop_id(name: str) -> UUID:
    """The id of the drop of a name, as the database derives it: md5(name)::uuid."""
    return UUID(bytes=hashlib.md5(name.encode(), usedforsecurity=False).digest())


def slug_of(name: str) -> str:
    """A name's Latin letters and digits in lower case without accents, and a hyphen for each run of others, MAX_SLUG
    characters at most. A name without any gets its slug from its drop's id."""
    decomposed = unicodedata.normalize("NFKD", name).casefold().translate(_LETTERS)
    letters = "".join(character for character in decomposed if not unicodedata.combining(character))
    slug = re.sub("[^a-z0-9]+", "-", letters).strip("-")[:MAX_SLUG].rstrip("-")
    return slug or longer_slug_of(name, slug)


def longer_slug_of(name: str, slug: str) -> str:
    """The slug of a name whose own slug another drop has: it ends with a part of the id."""
    suffix = drop_id(name).hex[:_SUFFIX]
    return f"{slug[: MAX_SLUG - _SUFFIX - 1].rstrip('-')}-{suffix}".lstrip("-")


async def write_drop(transaction: Transaction, name: str) -> None:
    """Store the drop of a name, unless it is stored already, or no product has this drop's name. Raises Conflict, also
    when another drop has just got the same slug."""
    slug = slug_of(name)
    await transaction.execute(_INSERT_DROP, drop_id(name), slug, longer_slug_of(name, slug), name)


async def list_drops(
    database: Database,
    first: int | None = None,
    after: str | None = None,
    *,
    last: int | None = None,
    before: str | None = None,
) -> Page[Drop]:
    """One page, newest first. Raises InvalidInput, Conflict, Unavailable."""
    window = window_of("drops", Paging(first, after, last, before))
    statement, arguments = keyset_query(_SELECT_DROPS, "drops", {}, window)
    rows = await database.fetch(statement, *arguments)
    return window.page(map(_drop_of, rows), lambda drop: drop.cursor.place, descending=True)


async def drops_by_id(database: Database, ids: Iterable[UUID]) -> dict[UUID, Drop]:
    """Those of the ids that exist. Raises Conflict, Unavailable."""
    rows = await database.fetch(_DROPS_BY_ID, [str(each) for each in ids])
    return {row["id"]: _drop_of(row) for row in rows}


async def drops_by_slug(database: Database, slugs: Iterable[str]) -> dict[str, Drop]:
    """Those of the slugs that exist. Raises Conflict, Unavailable."""
    rows = await database.fetch(_DROPS_BY_SLUG, list(slugs))
    return {row["slug"]: _drop_of(row) for row in rows}


def _drop_of(row: Record) -> Drop:
    return Drop(row["id"], row["slug"], row["name"], row["created_at"])
