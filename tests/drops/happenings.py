"""What the tests of events share: a shop that keeps events, its orders, and what stands in the tables."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from api.database.backoff import Backoff
from api.database.pool import Pool
from api.database.retry import run_again
from api.drops.confirmation import confirm_order
from api.drops.event_log import event_of
from api.drops.events import Event
from api.drops.group_commit import GroupCommit
from api.drops.group_policy import GroupPolicy
from api.drops.relay import Relay, RelayTimes
from tests.drops.purchases import new_group_commit, purchase
from tests.patience import PATIENCE, PATIENT_BUDGET, until

QUICK = RelayTimes(gather=0.01, patience=0.02, idle=0.05, backoff=Backoff(base=0.01, cap=0.05))
"""For relays that look often."""

SELDOM = RelayTimes(gather=0.01, patience=0.02, idle=100 * PATIENCE)
"""For relays that look only when they are woken."""


def keeping(pool: Pool, policy: GroupPolicy = GroupPolicy()) -> GroupCommit:
    """A group commit that writes what happens to the outbox."""
    return new_group_commit(pool, policy, keep_events=True)


async def buy(pool: Pool, product_id: UUID, count: int = 1, size: int = 500) -> None:
    """Buy one unit each for `count` buyers, in groups of `size`."""
    group_commit = keeping(pool, GroupPolicy(size=size))
    await asyncio.gather(*(group_commit.submit(purchase(product_id, f"buyer-{n}")) for n in range(count)))


async def confirm(pool: Pool, order_id: UUID, payment_ref: str = "pi_1") -> None:
    await confirm_order(pool, keeping(pool), order_id, payment_ref, "", PATIENT_BUDGET)


@asynccontextmanager
async def relaying(pool: Pool, times: RelayTimes = QUICK) -> AsyncIterator[Relay]:
    relay = Relay(pool, lambda: None, times)
    relay.start()
    try:
        yield relay
    finally:
        await relay.close(PATIENCE)


async def move_all(pool: Pool) -> None:
    """Move the outbox as one relay, whatever its age."""
    relay = Relay(pool, lambda: None, QUICK)
    while not (await relay.move()).complete:
        pass


async def all_events(pool: Pool) -> list[Event]:
    """The whole table, by position."""
    return [event_of(row) for row in await pool.fetch("SELECT * FROM events ORDER BY position")]


async def left_in_outbox(pool: Pool) -> int:
    return int((await pool.fetch("SELECT count(*) FROM outbox"))[0]["count"])


async def until_moved(pool: Pool, events: int) -> list[Event]:
    """Wait until the table has so many events and the outbox is empty, and return the events."""

    async def moved() -> bool:
        return len(await all_events(pool)) >= events and not await left_in_outbox(pool)

    await until(moved)
    return await all_events(pool)


async def change(pool: Pool, statement: str, *arguments: Any) -> None:
    """Run a statement, again after a conflict with a server that runs."""

    async def attempt() -> None:
        async with pool.begin() as transaction:
            await transaction.execute(statement, *arguments)
            await transaction.commit()

    await run_again(attempt, PATIENT_BUDGET, safe_after_lost_commit=True)


async def age_events(pool: Pool, age: timedelta, up_to: int) -> None:
    """Move the events up to a position into the past."""
    await change(pool, "UPDATE events SET occurred_at = now() - $1::interval WHERE position <= $2", age, up_to)
