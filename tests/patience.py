"""How long tests wait for events. A test fails if its event does not come in time; no other time decides."""

import asyncio
import inspect
import os
import time
from collections.abc import Awaitable, Callable

from api.database.connect import ConnectTimes
from api.database.monitor import RegionTimes
from api.database.pool import PoolTimes
from api.database.retry import RetryBudget

FACTOR = float(os.environ.get("TEST_TIME_FACTOR", "1"))
"""Every time in the tests is multiplied by this. Raise it on a very slow machine."""

PATIENCE = 60.0 * FACTOR
"""Seconds to wait for an event that must come, on a machine that is also busy with other work."""

STEP, LONGEST_STEP = 0.005, 0.05
"""Seconds between two checks of a condition, at first and at last. Many checks are requests to what is waited for."""

PATIENT_TIMES = RegionTimes(
    ping_timeout=PATIENCE,
    pool=PoolTimes(connect=ConnectTimes(timeout=PATIENCE), acquire=PATIENCE, commit=PATIENCE),
)
"""For tests in which every endpoint answers: on a busy machine, none must count as away."""

PATIENT_BUDGET = RetryBudget(seconds=PATIENCE)
"""For tests that are not about deadlines."""


def short(seconds: float) -> float:
    """A time that the code under test waits out, as short as a quiet machine allows.

    Use it where a longer wait changes nothing, and never to show that something came soon enough.
    """
    return seconds * FACTOR


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout: float = PATIENCE) -> None:
    """Wait until the condition, a function or a coroutine function, is true. Raises TimeoutError after `timeout` s."""
    begun = time.monotonic()
    async with asyncio.timeout(timeout):
        while True:
            met = condition()
            if await met if inspect.isawaitable(met) else met:
                return
            await asyncio.sleep(min(max(STEP, (time.monotonic() - begun) / 20), LONGEST_STEP))
