"""The drops of products that a version without drops has created: a migration gives each its row and a slug."""

import asyncio

import pytest

from api.database.errors import Conflict
from api.database.migrations import load_migrations, migrations_directory
from api.database.pool import Pool
from api.drops.catalogue import drop_id, drops_by_id, longer_slug_of

[FILL] = [each.statement for each in load_migrations(migrations_directory()) if each.name == "fill_drops"]

SLUGS = {
    "First Light": "first-light",
    "first light!": longer_slug_of("first light!", "first-light"),
    "  Ébène à Noël 2": "ebene-a-noel-2",
    "ØRSTED": "orsted",
    "朝の光": drop_id("朝の光").hex[:12],
    "—": drop_id("—").hex[:12],
    "朝 3": "3",
    "a" * 59 + " bc": "a" * 59,
    "a" * 200: "a" * 60,
    "A" * 200: longer_slug_of("A" * 200, "a" * 60),
}
"""Names in the order in which their first products were created."""

CREATE = """
INSERT INTO products (id, name, drop_name, created_at)
SELECT gen_random_uuid(), 'Tee', $1, '2026-01-01Z'::timestamptz + $2::integer * interval '1 day' + n * interval '1 hour'
FROM generate_series(1, 3) AS n
"""
MANY = """
INSERT INTO products (id, name, drop_name) SELECT gen_random_uuid(), 'Tee', 'Drop ' || n FROM generate_series(1, 1050) n
"""


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


async def fill(pool: Pool) -> int:
    """Run the migration's statement until it inserts nothing, as `migrate` does. Returns how often it inserted rows."""
    runs = 0
    while True:
        try:
            if await pool.execute(FILL) == "INSERT 0 0":
                return runs
        except Conflict:
            continue
        runs += 1


async def test_each_drop_gets_its_row_and_a_slug(pool: Pool) -> None:
    for day, name in enumerate(SLUGS):
        await pool.execute(CREATE, name, day)

    await fill(pool)

    drops = await drops_by_id(pool, map(drop_id, SLUGS))
    assert {drop.name: drop.slug for drop in drops.values()} == SLUGS
    assert all(len(drop.slug) <= 60 for drop in drops.values())
    first = await pool.fetch("SELECT drop_name, min(created_at) AS created_at FROM products GROUP BY drop_name")
    assert {drop.name: drop.created_at for drop in drops.values()} == {
        row["drop_name"]: row["created_at"] for row in first
    }


async def test_many_drops_are_written_in_steps_by_several_processes(pool: Pool) -> None:
    await pool.execute(CREATE, "Drop 7!", 0)
    await fill(pool)
    await pool.execute(MANY)

    runs = await asyncio.gather(*(fill(pool) for _ in range(3)))

    assert sum(runs) >= 2, "1,000 rows in one transaction at most"
    [found] = await pool.fetch("SELECT count(*) AS drops, count(DISTINCT slug) AS slugs FROM drops")
    assert (found["drops"], found["slugs"]) == (1051, 1051)
    assert (await drops_by_id(pool, [drop_id("Drop 7")]))[drop_id("Drop 7")].slug == longer_slug_of("Drop 7", "drop-7")
