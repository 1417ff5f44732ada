"""The weather of a storm: two servers with a home Region each, and faults in everything between them."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from api.database.endpoint import Endpoint
from api.database.monitor import RegionTimes
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.database.tokens import AuthTokens
from api.drops.audit import audit
from api.drops.drops import Drops
from api.drops.group_policy import GroupPolicy
from api.drops.stock import PollingTimes
from tests.dsql.stand_in import StandIn
from tests.patience import PATIENCE, PATIENT_TIMES, short, until

TIMES = RegionTimes(
    ping_timeout=short(0.8),
    ping_interval=0.05,
    answers_to_return=3,
    pool=replace(PATIENT_TIMES.pool, commit=short(2.0), close=short(0.1)),
)
"""Regions are away and return several times within a storm. With the default times that would take minutes."""


def seeded() -> random.Random:
    """A random generator from STORM_SEED, or from a new seed. The seed is printed: it repeats the weather."""
    seed = int(os.environ.get("STORM_SEED") or random.SystemRandom().randrange(10**9))
    print(f"STORM_SEED={seed} makes the same weather again")  # noqa: T201 - pytest shows it when the test fails
    return random.Random(seed)  # noqa: S311


WEATHER = {
    "cut before": 20,
    "cut after": 20,
    "conflicts": 20,
    "hang at commit": 2,
    "internal": 20,
    "slow": 10,
    "down": 3,
    "silent": 2,
    "calm": 10,
}
"""Faults, and how often each comes."""

WEATHER_OF_PROCESSES = {**WEATHER, "hang at commit": 0, "silent": 0}
"""Without the faults that a process with its default times takes seconds to notice."""


async def make_weather(chance: random.Random, endpoints: list[StandIn], faults: Mapping[str, int] = WEATHER) -> None:
    """Cause a fault after every few statements, in one Region or the other, until cancelled.

    Statements are counted instead of seconds, so that a slow machine does not get more faults.
    """

    async def statements(number: int) -> None:
        enough = sum(endpoint.statements for endpoint in endpoints) + number
        await until(lambda: sum(endpoint.statements for endpoint in endpoints) >= enough)

    while True:
        endpoint = chance.choice(endpoints)
        match chance.choices(list(faults), list(faults.values()))[0]:
            case "cut before":
                endpoint.cut_before_commit = chance.randint(1, 3)
            case "cut after":
                endpoint.cut_after_commit = chance.randint(1, 3)
            case "conflicts":
                endpoint.conflicts = chance.randint(1, 10)
            case "hang at commit":
                endpoint.hang_at_commit = 1
            case "internal":
                fault = chance.choice(["internal_errors", "internal_before_commit", "internal_after_commit"])
                setattr(endpoint, fault, chance.randint(1, 3))
            case "slow":
                endpoint.commit_latency = chance.choice([0.0, 0.005, 0.03])
            case "down":
                endpoint.down()
                endpoint.expired_tokens, endpoint.waking_up = chance.randint(0, 1), chance.randint(0, 2)
                await asyncio.sleep(chance.uniform(0.05, 0.6))
                await endpoint.up()
            case "silent":
                endpoint.hang()
                await asyncio.sleep(chance.uniform(0.4, 1.6))
                endpoint.release()
            case "calm":
                await statements(60)
        await statements(chance.randint(3, 30))


async def end_all_faults(endpoints: list[StandIn]) -> None:
    """Let every endpoint answer from now on."""
    for endpoint in endpoints:
        endpoint.cut_before_commit = endpoint.cut_after_commit = endpoint.hang_at_commit = endpoint.conflicts = 0
        endpoint.internal_errors = endpoint.internal_before_commit = endpoint.internal_after_commit = 0
        endpoint.expired_tokens = endpoint.waking_up = 0
        endpoint.commit_latency = 0.0
        endpoint.release()
        endpoint.down()
        await endpoint.up()


async def audit_again_and_again(database: Pool, audits: list[bool]) -> None:
    """Audit until cancelled. `audits` gets whether the books of all products balance, each time."""
    while True:
        audits.append(all(entry.balanced for entry in await audit(database)))
        await asyncio.sleep(0.1)


@asynccontextmanager
async def two_servers(endpoints: list[StandIn], budget: RetryBudget) -> AsyncIterator[list[Drops]]:
    """Two servers, each with another Region as its home. All faults are over before they close."""
    home, peer = (Endpoint(endpoint.region or "", endpoint.url) for endpoint in endpoints)
    tokens = AuthTokens()
    servers = [
        Drops(Regions(order, 5, tokens, TIMES), GroupPolicy(), budget, PollingTimes(interval=1))
        for order in ((home, peer), (peer, home))
    ]
    for server in servers:
        await server.open()
    try:
        for server in servers:
            await server.regions.warm_up(2)
        yield servers
    finally:
        await end_all_faults(endpoints)
        for server in servers:
            await server.close(grace=PATIENCE)


@asynccontextmanager
async def beside(*coroutines: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run the coroutines while the block runs, then cancel them. Fails if a coroutine has ended before."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        assert isinstance(end, asyncio.CancelledError), end
