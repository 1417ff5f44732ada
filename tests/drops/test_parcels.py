"""Parcels: each event is in one parcel, and what the receiver has not taken is sent again by some process."""

import asyncio
from datetime import timedelta

import pytest

from api.database.backoff import Backoff
from api.database.endpoint import Endpoint
from api.database.errors import Conflict, OutcomeUnknown
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from api.drops.parcels import GIVE_UP, LEASE, Parcel, Parcels, Results
from tests.drops.happenings import all_events, buy, change, move_all
from tests.drops.purchases import new_product
from tests.faults import Faulty
from tests.patience import PATIENT_TIMES

LATE = Backoff(base=1e9, cap=1e9)
"""Nothing that has failed is due again during a test, whatever the jitter."""


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


async def happen(pool: Pool, events: int) -> None:
    """Let so many events happen, and move them from the outbox."""
    await buy(pool, await new_product(pool, stock=events + 1), events)
    await move_all(pool)


async def taken(parcels: Parcels, size: int = 100) -> Parcel:
    parcel = await parcels.take(size)
    assert parcel is not None
    return parcel


async def rows(pool: Pool) -> list[tuple[int, int, int]]:
    """First, last and attempts of each parcel that is kept."""
    found = await pool.fetch("SELECT first, last, attempts FROM parcels WHERE first > 0 ORDER BY first")
    return [(row["first"], row["last"], row["attempts"]) for row in found]


async def pass_time(pool: Pool, time: timedelta) -> None:
    await change(pool, "UPDATE parcels SET due = due - $1::interval, created_at = created_at - $1::interval", time)


async def test_each_event_is_in_one_parcel_in_its_order(pool: Pool) -> None:
    await happen(pool, 25)
    parcels = Parcels(pool)

    ranges = [(await taken(parcels, 10)) for _ in range(3)]

    assert [(parcel.first, parcel.last) for parcel in ranges] == [(1, 10), (11, 20), (21, 25)]
    assert [event for parcel in ranges for event in parcel.events] == await all_events(pool)
    assert await parcels.take(10) is None


async def test_of_processes_that_take_at_the_same_moment_each_gets_other_events(pool: Pool) -> None:
    await happen(pool, 30)

    async def take_all(parcels: Parcels) -> list[int]:
        positions: list[int] = []
        while True:
            try:
                parcel = await parcels.take(3)
            except Conflict:
                continue
            if parcel is None:
                return positions
            positions += [event.position for event in parcel.events]

    found = await asyncio.gather(*(take_all(Parcels(pool)) for _ in range(3)))

    assert sorted(position for positions in found for position in positions) == list(range(1, 31))


async def test_a_parcel_that_was_taken_leaves_nothing_behind(pool: Pool) -> None:
    await happen(pool, 5)
    parcels = Parcels(pool)
    await parcels.finish(await taken(parcels), Results())

    assert await rows(pool) == []
    assert await parcels.take(100) is None
    assert parcels.backlog.waiting == 0
    await happen(pool, 1)
    assert (await taken(parcels)).first == 6


async def test_what_failed_is_kept_in_as_few_parcels_as_it_can_and_sent_again_when_due(pool: Pool) -> None:
    await happen(pool, 10)
    parcels = Parcels(pool)
    await parcels.finish(await taken(parcels), Results(failed=[1, 2, 3, 7]))

    assert await rows(pool) == [(1, 3, 1), (7, 7, 1)]
    await pass_time(pool, timedelta(seconds=6))
    again = [await taken(parcels), await taken(parcels)]
    assert sorted([event.position for event in parcel.events] for parcel in again) == [[1, 2, 3], [7]]
    for parcel in again:
        await parcels.finish(parcel, Results())
    assert await rows(pool) == []


async def test_a_receiver_that_wants_a_pause_gets_it(pool: Pool) -> None:
    await happen(pool, 2)
    parcels = Parcels(pool)
    await parcels.finish(await taken(parcels), Results(failed=[1, 2], pause=1800))

    await pass_time(pool, timedelta(seconds=1700))
    assert await parcels.take(100) is None
    await pass_time(pool, timedelta(seconds=101))
    assert (await taken(parcels)).attempts == 1


async def test_what_was_not_sent_can_be_taken_at_once_and_counts_no_attempt(pool: Pool) -> None:
    await happen(pool, 4)
    parcels = Parcels(pool)
    await parcels.finish(await taken(parcels), Results(failed=[1], unsent=[3, 4]))

    assert await rows(pool) == [(1, 1, 1), (3, 4, 0)]
    assert (await taken(parcels)).first == 3


async def test_the_parcel_of_a_process_that_died_is_taken_when_its_lease_has_run_out(pool: Pool) -> None:
    await happen(pool, 3)
    dead, alive = Parcels(pool), Parcels(pool)
    lost = await taken(dead)
    assert await alive.take(100) is None

    await pass_time(pool, LEASE)
    found = await taken(alive)
    assert found.events == lost.events
    # The process was only late. Its results must not end the parcel of the other process.
    await dead.finish(Parcel(1, 3, 0, lost.leased_until - LEASE, lost.created_at, False, lost.events), Results())
    assert await rows(pool) == [(1, 3, 0)]
    await alive.finish(found, Results())
    assert await rows(pool) == []


async def test_after_three_days_events_are_given_up_and_stay(pool: Pool) -> None:
    await happen(pool, 3)
    parcels = Parcels(pool)
    await parcels.finish(await taken(parcels), Results(failed=[2]))
    await pass_time(pool, GIVE_UP + timedelta(seconds=10))

    last_try = await taken(parcels)
    assert last_try.old
    await parcels.finish(last_try, Results(failed=[2]))

    assert await parcels.take(100) is None
    assert (parcels.backlog.given_up, parcels.backlog.waiting) == (1, 0)
    await change(pool, "UPDATE parcels SET due = now(), created_at = now() WHERE due = 'infinity' AND first > 0")
    sent_by_hand = await taken(parcels)
    assert ([event.position for event in sent_by_hand.events], sent_by_hand.old) == ([2], False)


async def test_a_webhook_that_comes_later_gets_the_events_that_are_still_kept(pool: Pool) -> None:
    await happen(pool, 6)
    await change(pool, "DELETE FROM events WHERE position < 4")

    assert [event.position for event in (await taken(Parcels(pool))).events] == [4, 5, 6]


async def test_the_backlog_is_counted(pool: Pool) -> None:
    await happen(pool, 10)
    parcels = Parcels(pool)
    await parcels.finish(await taken(parcels, 4), Results(failed=[2, 3]))
    await parcels.take(1)

    assert parcels.backlog.waiting == 8
    assert parcels.backlog.oldest_age > 0


@pytest.mark.parametrize("fault", ["cut_before_commit", "cut_after_commit"])
async def test_a_commit_that_got_no_answer_loses_no_event(
    pool: Pool, faulty: Faulty, tokens: AuthTokens, fault: str
) -> None:
    await happen(pool, 4)
    async with Pool(Endpoint("here", faulty.url), 10, tokens, PATIENT_TIMES.pool) as fragile:
        parcels = Parcels(fragile, LATE)
        setattr(faulty, fault, 1)
        with pytest.raises(OutcomeUnknown):
            await parcels.take(2)
        await pass_time(pool, LEASE)
        first = await taken(parcels, 2)
        setattr(faulty, fault, 1)
        await parcels.finish(first, Results(failed=[2]))
        second = await taken(parcels, 2)

    assert [event.position for event in (*first.events, *second.events)] == [1, 2, 3, 4]
    assert await rows(pool) == [(2, 2, 1), (3, 4, 0)]
