"""The recorder and the history: what all processes have answered is found again, once, whatever fails meanwhile."""

import gc
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from time import thread_time
from uuid import UUID

import pytest

from api.database.backoff import Backoff
from api.database.endpoint import Endpoint
from api.database.errors import DatabaseError
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.tokens import AuthTokens
from api.drops.activity import STEP, delete_old_activity
from api.drops.history import MAX_POINTS, PAGE, read_history
from api.drops.kept_activity import KeptActivity
from api.drops.processes import Gauges, delete_gone_processes, list_processes
from api.drops.recorder import RecorderTimes
from tests.drops.purchases import new_product
from tests.drops.recording import outcomes, process
from tests.engines import on_both_engines
from tests.faults import Faulty
from tests.identity.other_work import Others
from tests.patience import PATIENCE, PATIENT_TIMES, until

INSERT = """
INSERT INTO activity (product_id, at, process, seconds, stock, version, data)
SELECT $1, now() - n * $2::interval, gen_random_uuid(), 2, n, $3::integer - n,
    '{"outcomes": {"Confirmed": 2, "New": 1}, "transactions": {"sold": 1}, "attempts": 3, "seconds": [[0.001, 3]]}'
FROM generate_series(0, $3::integer - 1) AS n
"""
QUICKLY = RecorderTimes(interval=0.02, timeout=PATIENCE, backoff=Backoff(base=0.001, cap=0.001))


@pytest.fixture
async def regions(database_url: str, tokens: AuthTokens) -> AsyncIterator[Regions]:
    async with Regions((Endpoint("here", database_url),), 5, tokens, PATIENT_TIMES) as regions:
        yield regions


@pytest.fixture
async def fragile(faulty: Faulty, tokens: AuthTokens) -> AsyncIterator[Regions]:
    """Regions whose endpoint can fail."""
    async with Regions((Endpoint("here", faulty.url),), 5, tokens, PATIENT_TIMES) as regions:
        yield regions


async def insert(pool: Pool, product_id: UUID, count: int, every: timedelta) -> None:
    """Rows as of a process: the newest now, and each `every` before the next one."""
    await pool.execute(INSERT, product_id, every, count)


async def count_rows(pool: Pool) -> int:
    count: int = (await pool.fetch("SELECT count(*) AS count FROM activity"))[0]["count"]
    return count


@on_both_engines
async def test_the_history_has_what_all_processes_have_answered(pool: Pool, regions: Regions) -> None:
    product_id, other = await new_product(pool, stock=5), await new_product(pool)
    one, two = process(pool, regions), process(pool, regions)
    await one.buy(product_id, 3)
    await one.recorder.write()
    assert (await read_history(regions, product_id))[-1].stock == 2
    await two.buy(product_id, 4)
    await two.buy(other)
    await two.recorder.write()
    await one.recorder.write()

    points = await read_history(regions, product_id)

    assert outcomes(points) == {"confirmed": 5, "sold_out": 2}
    assert points[-1].stock == 0
    assert sum(point.attempts for point in points) == sum(point.transactions for point in points) == 7
    assert all(0 < (point.p50_ms or 0) <= (point.p99_ms or 0) for point in points)
    assert outcomes(await read_history(regions, other)) == {"confirmed": 1}


async def test_nothing_is_written_where_nothing_happened(pool: Pool, regions: Regions) -> None:
    one, product_id = process(pool, regions), await new_product(pool)
    await one.recorder.write()
    assert await count_rows(pool) == 0
    await one.buy(product_id)
    await one.recorder.write()
    await one.recorder.write()
    assert await count_rows(pool) == 1


@on_both_engines
@pytest.mark.parametrize("done", [True, False])
async def test_what_a_lost_commit_was_to_write_is_there_once(
    pool: Pool, fragile: Regions, faulty: Faulty, done: bool
) -> None:
    one, product_id = process(pool, fragile), await new_product(pool)
    await one.buy(product_id, 2)
    if done:
        faulty.cut_after_commit = 1
    else:
        faulty.cut_before_commit = 1
    with pytest.raises(DatabaseError):
        await one.recorder.write()
    await one.buy(product_id, 3)
    assert await one.recorder.write(), "what was counted since is to be written at once"
    await one.recorder.write()

    assert outcomes(await read_history(fragile, product_id)) == {"confirmed": 5}
    assert await count_rows(pool) == 2


async def test_what_is_answered_while_the_database_is_away_is_written_later(
    pool: Pool, fragile: Regions, faulty: Faulty, caplog: pytest.LogCaptureFixture
) -> None:
    one, product_id = process(pool, fragile, QUICKLY), await new_product(pool, stock=100)
    faulty.down()
    with caplog.at_level(logging.INFO, "dropzero.activity"):
        one.recorder.start()
        try:
            await until(lambda: "cannot be written yet" in caplog.text)
            await one.buy(product_id, 7)
            await faulty.up()
            await until(lambda: "is written again" in caplog.text)
        finally:
            await one.recorder.close(PATIENCE)

    assert outcomes(await read_history(fragile, product_id)) == {"confirmed": 7}
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


async def test_a_process_that_stops_writes_what_it_has_answered(pool: Pool, regions: Regions) -> None:
    one, product_id = process(pool, regions), await new_product(pool)
    one.recorder.start()
    await one.recorder.write()
    assert len(await list_processes(regions)) == 1
    await one.buy(product_id)

    await one.recorder.close(PATIENCE)

    assert outcomes(await read_history(regions, product_id)) == {"confirmed": 1}
    assert await list_processes(regions) == []


async def test_a_process_that_stops_while_the_database_is_away_does_not_wait(
    pool: Pool, fragile: Regions, faulty: Faulty
) -> None:
    one, product_id = process(pool, fragile), await new_product(pool)
    one.recorder.start()
    await one.buy(product_id)
    faulty.down()
    await one.recorder.close(0.05)
    assert await count_rows(pool) == 0


@pytest.mark.parametrize("late", [0.0, 0.3, 0.99])
async def test_each_interval_of_the_databases_clock_has_one_row(pool: Pool, regions: Regions, late: float) -> None:
    """Wherever in an interval a process has written, it writes next at its own phase of the next one."""
    recorder = process(pool, regions, RecorderTimes(interval=2.0)).recorder
    recorder._written_at = datetime(2026, 12, 1, 10, 0, 0, tzinfo=UTC) + timedelta(seconds=2 * late)

    following = recorder._written_at + timedelta(seconds=recorder._until_next())

    place = (following.timestamp() - datetime(2026, 12, 1, 10, 0, 2, tzinfo=UTC).timestamp()) / 2
    assert 0.25 <= place <= 0.75
    assert place == pytest.approx(recorder._phase, abs=1e-5)


async def test_the_processes_that_run_are_listed(pool: Pool, regions: Regions) -> None:
    one, two, killed = (process(pool, regions) for _ in range(3))
    one.recorder._process.gauges = Gauges(watchers=lambda: 3, lateness_ms=lambda: 1.5)
    for each in (killed, one, two):
        await each.recorder.write()
    seconds = "UPDATE processes SET seen_at = now() - interval '16 seconds' WHERE id = $1"
    await pool.execute(seconds, killed.recorder._process.id)

    found = {each.id: each for each in await list_processes(regions)}

    assert found.keys() == {one.recorder._process.id, two.recorder._process.id}
    described = found[one.recorder._process.id]
    assert (described.watchers, described.waiting, described.lateness_ms) == (3, 0, 1.5)
    assert described.started_at <= described.seen_at
    [region] = described.regions
    assert (region.name, region.away) == ("here", False)
    assert region.latency_ms is not None

    await delete_gone_processes(regions, timedelta(seconds=10))
    assert len(await pool.fetch("SELECT FROM processes")) == 2


async def test_a_long_drop_has_few_points_and_all_its_purchases(pool: Pool, regions: Regions) -> None:
    product_id = await new_product(pool)
    count = 2 * PAGE + 40
    await insert(pool, product_id, count, timedelta(seconds=20))  # three hours

    points = await read_history(regions, product_id)

    assert 0.8 * MAX_POINTS / 2 < len(points) <= MAX_POINTS
    assert outcomes(points) == {"confirmed": 2 * count, "failed": count}
    assert {point.seconds for point in points} == {46}
    assert [point.at for point in points] == sorted(point.at for point in points)
    assert points[-1].stock == 0
    assert points[-1].p50_ms == 0.5


async def test_a_history_is_the_last_day(pool: Pool, regions: Regions) -> None:
    product_id = await new_product(pool)
    await insert(pool, product_id, 30, timedelta(hours=1))
    assert outcomes(await read_history(regions, product_id)) == {"confirmed": 48, "failed": 24}


async def test_of_too_many_rows_the_newest_are_shown(pool: Pool, regions: Regions) -> None:
    product_id = await new_product(pool)
    await insert(pool, product_id, 3 * PAGE, timedelta(seconds=1))
    points = await read_history(regions, product_id, max_rows=2 * PAGE)
    assert outcomes(points) == {"confirmed": 4 * PAGE, "failed": 2 * PAGE}
    assert points[-1].stock == 0


@on_both_engines
async def test_a_history_that_is_read_leaves_the_processor_to_other_work(pool: Pool, regions: Regions) -> None:
    product_id = await new_product(pool)
    await insert(pool, product_id, 8 * PAGE, timedelta(seconds=20))
    activity = KeptActivity(regions, [])
    gc.disable()  # a collection of all that the tests have made takes as long as the history
    try:
        async with Others() as others:
            used, begun = others.used, thread_time()
            assert outcomes(await activity.history(product_id)) == {"confirmed": 16 * PAGE, "failed": 8 * PAGE}
            passed = thread_time() - begun
        assert others.used - used > 0.7 * passed
    finally:
        gc.enable()
        await activity.close(PATIENCE)


async def test_old_activity_is_deleted_in_steps(pool: Pool, regions: Regions) -> None:
    product_id = await new_product(pool)
    await insert(pool, product_id, STEP + 500, timedelta(minutes=10))  # ten days and ten hours
    young = 7 * 24 * 6

    async def left() -> int:
        return await count_rows(pool)

    while await delete_old_activity(regions):
        assert young < await left() < STEP + 500

    assert await left() == young
