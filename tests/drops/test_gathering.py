"""Callers that wait together share one read, which goes on when some or all of them leave."""

import asyncio
from collections.abc import Mapping

import pytest

from api.drops.gathering import MAX_KEYS, Gathering
from tests.patience import PATIENCE


class Source:
    """The source of the reads. `answer` ends a read, with ten times each key that is not negative."""

    def __init__(self) -> None:
        self.reads: list[list[int]] = []
        self.cancelled = 0
        self.error: Exception | None = None
        self._answers = asyncio.Semaphore(0)
        self._begun = asyncio.Condition()

    async def read(self, keys: list[int]) -> Mapping[int, int]:
        self.reads.append(sorted(keys))
        async with self._begun:
            self._begun.notify_all()
        try:
            await self._answers.acquire()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return {key: 10 * key for key in keys if key >= 0}

    def answer(self, reads: int = 1) -> None:
        for _ in range(reads):
            self._answers.release()

    async def until_begun(self, number: int) -> None:
        async with asyncio.timeout(PATIENCE), self._begun:
            await self._begun.wait_for(lambda: len(self.reads) >= number)


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def gathering(source: Source) -> Gathering[int, int]:
    return Gathering(source.read)


def getting(gathering: Gathering[int, int], *keys: int) -> asyncio.Task[dict[int, int]]:
    return asyncio.create_task(gathering.get(keys))


async def done(*tasks: asyncio.Task[dict[int, int]]) -> list[dict[int, int]]:
    async with asyncio.timeout(PATIENCE):
        return await asyncio.gather(*tasks)


async def test_callers_that_come_together_share_a_read(source: Source, gathering: Gathering[int, int]) -> None:
    source.answer()

    values = await done(*(getting(gathering, number % 3, 7) for number in range(100)))

    assert source.reads == [[0, 1, 2, 7]]
    assert values == [{number % 3: 10 * (number % 3), 7: 70} for number in range(100)]


async def test_callers_that_come_during_a_read_share_the_next(source: Source, gathering: Gathering[int, int]) -> None:
    first = getting(gathering, 1)
    await source.until_begun(1)
    later = [getting(gathering, 1), getting(gathering, 2), getting(gathering, 2, 3)]
    await asyncio.sleep(0)
    source.answer()
    assert await done(first) == [{1: 10}]
    assert not any(task.done() for task in later), "the first read began before they called"
    source.answer()

    assert await done(*later) == [{1: 10}, {2: 20}, {2: 20, 3: 30}]
    assert source.reads == [[1], [1, 2, 3]]


async def test_keys_that_do_not_exist_are_left_out(source: Source, gathering: Gathering[int, int]) -> None:
    source.answer(2)

    assert await done(getting(gathering, -1), getting(gathering, -2, 2)) == [{}, {2: 20}]
    assert await done(getting(gathering)) == [{}]


async def test_a_caller_that_leaves_cancels_no_read(source: Source, gathering: Gathering[int, int]) -> None:
    leaving, staying = getting(gathering, 1), getting(gathering, 2)
    await source.until_begun(1)
    late = getting(gathering, 3)
    await asyncio.sleep(0)
    leaving.cancel()
    late.cancel()
    await asyncio.wait([leaving, late])
    source.answer(2)

    assert await done(staying) == [{2: 20}]
    await source.until_begun(2)  # a read is not skipped when all its callers have left
    assert (source.reads, source.cancelled) == ([[1, 2], [3]], 0)
    assert leaving.cancelled()


async def test_a_read_goes_on_when_all_callers_have_left(source: Source, gathering: Gathering[int, int]) -> None:
    tasks = [getting(gathering, number) for number in range(5)]
    await source.until_begun(1)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    source.answer(2)

    assert await done(getting(gathering, 9)) == [{9: 90}]
    assert source.cancelled == 0


async def test_an_error_is_raised_for_the_callers_of_its_read_only(
    source: Source, gathering: Gathering[int, int]
) -> None:
    waiting = [getting(gathering, number) for number in range(3)]
    await source.until_begun(1)
    later = [getting(gathering, number) for number in range(3)]
    await asyncio.sleep(0)
    source.error = LookupError("away")
    source.answer()
    async with asyncio.timeout(PATIENCE):
        errors = await asyncio.gather(*waiting, return_exceptions=True)
    assert [str(error) for error in errors] == ["away"] * 3
    assert all(isinstance(error, LookupError) for error in errors)

    source.error = None
    source.answer()
    assert await done(*later) == [{0: 0}, {1: 10}, {2: 20}]


async def test_an_error_of_a_read_without_callers_is_not_raised(source: Source, gathering: Gathering[int, int]) -> None:
    leaving = getting(gathering, 1)
    await source.until_begun(1)
    leaving.cancel()
    await asyncio.wait([leaving])
    source.error = LookupError("away")
    source.answer()
    await asyncio.sleep(0)
    source.error = None
    source.answer()

    assert await done(getting(gathering, 2)) == [{2: 20}]


async def test_the_keys_of_one_read_are_bounded(source: Source, gathering: Gathering[int, int]) -> None:
    first = getting(gathering, 0)
    await source.until_begun(1)
    many = [getting(gathering, number) for number in range(2 * MAX_KEYS + 1)]
    await asyncio.sleep(0)
    source.answer(4)

    await done(first, *many)
    assert [len(keys) for keys in source.reads] == [1, MAX_KEYS, MAX_KEYS, 1]


async def test_closing_cancels_the_read_and_its_callers(source: Source, gathering: Gathering[int, int]) -> None:
    reading = getting(gathering, 1)
    await source.until_begun(1)
    waiting = getting(gathering, 2)
    await asyncio.sleep(0)

    async with asyncio.timeout(PATIENCE):
        await gathering.close()
        await asyncio.wait([reading, waiting])

    assert reading.cancelled()
    assert waiting.cancelled()
    assert (source.reads, source.cancelled) == ([[1]], 1)
    assert [task for task in asyncio.all_tasks() if task.get_name() == "gathered read"] == []


async def test_closing_without_a_read_does_nothing(source: Source, gathering: Gathering[int, int]) -> None:
    await gathering.close()
    source.answer()
    await done(getting(gathering, 1))
    await gathering.close()

    assert source.reads == [[1]]
