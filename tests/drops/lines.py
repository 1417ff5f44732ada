"""What the tests of lines beside each other share: lines that draw from known shards, and COMMITs that are held."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from api.database.pool import Pool
from api.drops.decisions import Confirmed
from api.drops.group_commit import GroupCommit
from api.drops.group_policy import GroupPolicy
from api.drops.shards import OwnShards
from tests.drops.purchases import new_group_commit, purchase
from tests.patience import PATIENCE

_HOLD_COMMITS = (
    """
    CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_advisory_xact_lock_shared(NEW.shard);
        RETURN NULL;
    END $$
    """,
    """
    CREATE CONSTRAINT TRIGGER wait_at_commit AFTER UPDATE ON stock_shards DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait_at_commit()
    """,
)


def line_drawing_from(
    pool: Pool, product_id: UUID, *shards: int, policy: GroupPolicy = GroupPolicy(), count: int = 16
) -> GroupCommit:
    """A group commit, as of another process, whose line has drawn from these shards before, and draws from the first
    of them next. The product has `count` shards."""
    own = OwnShards()
    own.learn(count)
    own._kept.extend(reversed(shards))
    group_commit = new_group_commit(pool, policy)
    group_commit._shards[product_id] = own
    return group_commit


def conflicts(*group_commits: GroupCommit) -> int:
    """Transactions of the group commits that ended with a conflict."""
    return sum(group_commit.transactions["here", "Conflict"] for group_commit in group_commits)


async def bought(line: GroupCommit, product_id: UUID, user_ref: str = "ada") -> UUID:
    """Buy a unit, and return the id of the order."""
    decision = (await line.submit(purchase(product_id, user_ref))).decision
    assert isinstance(decision, Confirmed)
    return decision.order.id


async def let_commits_wait(behind: Pool) -> None:
    """From now on a COMMIT that changes a shard waits while `commits_held` holds the shard."""
    for statement in _HOLD_COMMITS:
        await behind.execute(statement)


@asynccontextmanager
async def commits_held(behind: Pool, shard: int) -> AsyncIterator[None]:
    """Let the COMMITs that change the shard wait until the block is left. Needs `let_commits_wait`."""
    async with behind.begin(PATIENCE) as transaction:
        await transaction.fetch("SELECT pg_advisory_xact_lock($1::integer)", shard)
        yield


@asynccontextmanager
async def shard_held(behind: Pool, product_id: UUID, shard: int) -> AsyncIterator[None]:
    """Lock the row of one shard until the block is left."""
    async with behind.begin(PATIENCE) as transaction:
        query = "SELECT 1 FROM stock_shards WHERE product_id = $1 AND shard = $2 FOR UPDATE"
        await transaction.fetch(query, product_id, shard)
        yield


async def move_all_units(behind: Pool, product_id: UUID, shard: int) -> None:
    """Put the whole stock into one shard."""
    await behind.execute(
        """
        UPDATE stock_shards SET version = version + 1, stock = CASE WHEN shard = $2
            THEN (SELECT sum(stock) FROM stock_shards WHERE product_id = $1) ELSE 0 END
        WHERE product_id = $1
        """,
        product_id,
        shard,
    )


async def changed_shards(pool: Pool, product_id: UUID) -> set[int]:
    """The shards that were written since the product was created."""
    query = "SELECT shard FROM stock_shards WHERE product_id = $1 AND version > (CASE WHEN shard = 0 THEN 1 ELSE 0 END)"
    return {row["shard"] for row in await pool.fetch(query, product_id)}
