"""The lateness of the event loop: a loop that is blocked shows for as long as it was blocked."""

import time

import pytest

from api.lateness import INTERVAL, LoopLateness
from tests.patience import until


@pytest.fixture
def lateness() -> LoopLateness:
    return LoopLateness()


async def test_a_blocked_loop_is_late_once_for_each_sample_that_it_has_missed(lateness: LoopLateness) -> None:
    assert lateness.worst_ms() == 0.0
    lateness.start()
    await until(lambda: sum(lateness.seconds.counts) > 0)
    time.sleep(5 * INTERVAL)  # noqa: ASYNC251 - the loop is blocked on purpose
    before = sum(lateness.seconds.counts)
    await until(lambda: sum(lateness.seconds.counts) >= before + 4)
    await lateness.close()

    late = sum(
        count for bound, count in zip(lateness.seconds.bounds, lateness.seconds.counts, strict=False) if bound > 0.09
    )
    assert late >= 4, "the samples were late by 4, 3, 2 and 1 intervals"
    assert lateness.worst_ms() >= 4 * INTERVAL * 1000
    assert lateness.seconds.total >= (4 + 3 + 2 + 1) * INTERVAL * 0.99


async def test_the_worst_is_forgotten_after_so_many_samples(
    lateness: LoopLateness, monkeypatch: pytest.MonkeyPatch
) -> None:
    lateness.start()
    await until(lambda: sum(lateness.seconds.counts) > 0)
    time.sleep(3 * INTERVAL)  # noqa: ASYNC251
    await until(lambda: lateness.worst_ms() >= 2 * INTERVAL * 1000)
    monkeypatch.setattr("api.lateness.INTERVAL", INTERVAL / 20)
    await until(lambda: lateness.worst_ms() < 2 * INTERVAL * 1000)
    await lateness.close()
