"""The log of events: pages by position, cursors that are too old, and followers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from api.database.backoff import Backoff
from api.database.endpoint import Endpoint
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from api.drops.errors import InvalidInput
from api.drops.event_log import (
    BUFFER,
    EventLog,
    FellBehind,
    Follower,
    FollowTimes,
    decode_position,
    encode_position,
    read_events,
)
from api.drops.events import EventType
from api.drops.old_events import delete_old_events
from api.drops.parcels import Parcels, Results
from api.drops.requests import RestockRequest
from tests.drops.happenings import age_events, all_events, buy, keeping, move_all
from tests.drops.holds import new_held_product
from tests.drops.purchases import new_product, purchase
from tests.faults import Faulty
from tests.patience import PATIENCE, PATIENT_TIMES, until

OFTEN = FollowTimes(interval=0.01, backoff=Backoff(base=0.01, cap=0.05))


@pytest.fixture
def engine(both_engines: str) -> str:
    return both_engines


async def happen(pool: Pool, events: int) -> None:
    await buy(pool, await new_product(pool, stock=events + 1), events)
    await move_all(pool)


@asynccontextmanager
async def reading(pool: Pool, times: FollowTimes = OFTEN) -> AsyncIterator[EventLog]:
    log = EventLog(pool, times)
    try:
        yield log
    finally:
        await log.close()


async def next_position(follower: Follower) -> int:
    async with asyncio.timeout(PATIENCE):
        return (await follower.take()).position


async def test_pages_follow_each_other_without_a_gap(pool: Pool) -> None:
    assert (await read_events(pool, 10)).items == []
    await happen(pool, 25)

    found, after = [], None
    while True:
        page = await read_events(pool, 10, after)
        found += page.items
        if not page.has_next:
            break
        after = encode_position(page.items[-1].position)

    assert found == await all_events(pool)
    assert (await read_events(pool, 10, encode_position(25))).items == []


async def test_pages_are_read_backward_too(pool: Pool) -> None:
    await happen(pool, 25)
    page = await read_events(pool, last=10)
    found = page.items
    assert not page.has_next
    while page.has_previous:
        page = await read_events(pool, last=10, before=encode_position(page.items[0].position))
        assert page.has_next
        found = [*page.items, *found]

    assert found == await all_events(pool)
    middle = await read_events(pool, 2, encode_position(5), before=encode_position(9))
    assert [event.position for event in middle.items] == [6, 7]
    assert (middle.has_previous, middle.has_next) == (True, True)
    with pytest.raises(InvalidInput, match="before is a cursor of another database"):
        await read_events(pool, before=encode_position(26))


async def test_events_of_products_are_not_in_the_pages(pool: Pool) -> None:
    product_id = await new_product(pool, stock=2)
    await buy(pool, product_id, 1)
    await keeping(pool).submit(RestockRequest.checked(product_id=product_id, delta=1))
    await buy(pool, product_id, 2)
    await move_all(pool)

    page = await read_events(pool, 100)
    assert len(page.items) == 3
    assert {event.order.product_id for event in page.items} == {product_id}
    assert EventType.PRODUCT_SOLD_OUT in {event.type for event in await all_events(pool)}


@pytest.mark.parametrize("text", ["", "x", "b3JkZXJzOjE=", encode_position(7)[:-2], "ZXZlbnRzOi0x"])
async def test_a_text_that_is_no_cursor_is_refused(pool: Pool, text: str) -> None:
    with pytest.raises(InvalidInput, match="not a cursor of events"):
        await read_events(pool, 10, text)


async def test_a_cursor_behind_the_newest_event_is_refused(pool: Pool) -> None:
    await happen(pool, 2)
    with pytest.raises(InvalidInput, match="another database"):
        await read_events(pool, 10, encode_position(3))


async def test_cursors_survive_a_round_trip() -> None:
    assert decode_position(encode_position(2**62)) == 2**62


async def test_a_cursor_whose_next_event_was_deleted_is_refused_and_others_are_not(pool: Pool) -> None:
    await happen(pool, 10)
    await age_events(pool, timedelta(days=8), up_to=4)
    assert await delete_old_events(pool, sends=False) == 4

    with pytest.raises(InvalidInput, match="no longer kept"):
        await read_events(pool, 10, encode_position(3))
    assert [event.position for event in (await read_events(pool, 10, encode_position(4))).items] == [5, 6, 7, 8, 9, 10]
    assert (await read_events(pool, 10)).items[0].position == 5


async def test_the_newest_event_is_never_deleted_so_that_positions_go_on(pool: Pool) -> None:
    await happen(pool, 3)
    await age_events(pool, timedelta(days=8), up_to=3)
    assert await delete_old_events(pool, sends=False) == 2
    assert await delete_old_events(pool, sends=False) == 0

    await happen(pool, 1)
    assert [event.position for event in await all_events(pool)] == [3, 4]


async def test_events_that_wait_for_the_webhook_are_not_deleted(pool: Pool) -> None:
    await happen(pool, 10)
    await age_events(pool, timedelta(days=8), up_to=10)
    parcels = Parcels(pool)
    assert await delete_old_events(pool, sends=True) == 0

    parcel = await parcels.take(6)
    assert parcel is not None
    assert await delete_old_events(pool, sends=True) == 0
    await parcels.finish(parcel, Results(failed=[4]))
    assert await delete_old_events(pool, sends=True) == 3
    assert [event.position for event in await all_events(pool)] == [4, 5, 6, 7, 8, 9, 10]


async def test_a_young_event_keeps_those_behind_it(pool: Pool) -> None:
    await happen(pool, 5)
    await age_events(pool, timedelta(days=8), up_to=5)
    await age_events(pool, timedelta(days=1), up_to=2)
    assert await delete_old_events(pool, sends=False) == 0


async def test_a_follower_gets_what_happens_from_now_on(pool: Pool) -> None:
    await happen(pool, 3)
    async with reading(pool) as log, log.follow() as follower, log.follow() as another:
        await happen(pool, 2)
        assert [await next_position(follower) for _ in range(2)] == [4, 5]
        assert [await next_position(another) for _ in range(2)] == [4, 5]
        assert log.followers == 2


async def test_a_follower_of_one_product_gets_its_events_alone(pool: Pool) -> None:
    product_id, other = await new_held_product(pool), await new_held_product(pool)
    async with reading(pool) as log, log.follow(product_id) as follower:
        await keeping(pool).submit(purchase(other))
        await keeping(pool).submit(purchase(product_id))
        await move_all(pool)
        async with asyncio.timeout(PATIENCE):
            event = await follower.take()
        assert event.product_id == event.order.product_id == product_id


async def test_nothing_is_read_while_nobody_follows(pool: Pool) -> None:
    async with reading(pool) as log:
        async with log.follow():
            pass
        assert log.followers == 0
        await until(lambda: not [task for task in asyncio.all_tasks() if task.get_name() == "event log"])


async def test_a_follower_that_falls_behind_gets_what_waits_and_then_an_error(pool: Pool) -> None:
    await happen(pool, 1)
    [event] = await all_events(pool)
    follower = Follower(None)
    for _ in range(BUFFER + 1):
        follower.put(event)

    for _ in range(BUFFER):
        await follower.take()
    with pytest.raises(FellBehind):
        await follower.take()
    follower.put(event)
    with pytest.raises(FellBehind):
        await follower.take()


async def test_followers_go_on_when_the_database_comes_back(
    behind: Pool, faulty: Faulty, tokens: AuthTokens, caplog: pytest.LogCaptureFixture
) -> None:
    fragile = Pool(Endpoint("here", faulty.url), 10, tokens, PATIENT_TIMES.pool)
    async with fragile, reading(fragile) as log, log.follow() as follower:
        faulty.down()
        await until(lambda: "new events cannot be read" in caplog.text)
        await happen(behind, 1)
        await faulty.up()
        assert await next_position(follower) == 1
