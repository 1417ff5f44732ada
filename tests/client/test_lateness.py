"""The lateness of the load generator itself: what blocks its event loop is seen in its report, beside the latencies."""

import asyncio
import threading
import time
from itertools import count

import pytest

from api.client.graphql import graphql_clients
from api.client.lateness import INTERVAL, sampled_lateness
from api.client.load import Load, LoadReport, percentile, run_load
from api.terminal import load_table
from tests.patience import PATIENCE, until
from tests.server import ADMIN_TOKEN, Server
from tests.test_terminal import rendered

BLOCKED = 0.2
"""Seconds for which a callback blocks the event loop."""


async def test_a_blocked_loop_gets_all_samples_of_that_time_afterwards() -> None:
    """Each sample has its own lateness."""
    async with sampled_lateness() as late:
        await until(lambda: len(late) > 0)
        late.clear()
        time.sleep(BLOCKED)  # noqa: ASYNC251 - on purpose
        due_meanwhile = round(BLOCKED / INTERVAL) - 1
        await until(lambda: len(late) > due_meanwhile)
    assert max(late) >= (BLOCKED - INTERVAL) * 1000
    # Those that were due in the middle waited for the rest of the time.
    assert all(late[number] >= (BLOCKED - (number + 2) * INTERVAL) * 1000 for number in range(due_meanwhile))


async def test_a_loop_that_is_idle_is_hardly_late_beside_one_that_is_blocked() -> None:
    async def most_of_the_time_late(block: float) -> float:
        async with sampled_lateness() as late, asyncio.timeout(PATIENCE):
            while len(late) < 60:
                time.sleep(block)  # noqa: ASYNC251 - on purpose
                await asyncio.sleep(0.001)
        return percentile(late, 50)

    assert await most_of_the_time_late(0) < await most_of_the_time_late(BLOCKED) / 2


async def test_the_sampler_of_a_loop_that_is_blocked_until_the_end_ends_too() -> None:
    tasks, threads = asyncio.all_tasks(), set(threading.enumerate())
    async with sampled_lateness():
        time.sleep(BLOCKED)  # noqa: ASYNC251 - on purpose
    await until(lambda: asyncio.all_tasks() <= tasks)
    assert {thread for thread in threading.enumerate() if thread.name == "lateness"} <= threads


async def report_of(server: Server, block: float) -> LoadReport:
    """The report of a load whose process every second answer blocks for `block` seconds."""
    answers = count()

    def on_answer() -> None:
        if next(answers) % 2:
            time.sleep(block)

    async with graphql_clients([server.url], ADMIN_TOKEN, connections=4) as clients:
        return await run_load(clients, Load(16, 4, 10), None, on_answer)


@pytest.mark.slow
async def test_a_generator_that_is_late_says_so_beside_the_latencies(server: Server) -> None:
    late, prompt = await report_of(server, BLOCKED), await report_of(server, 0)

    assert late.outcomes == prompt.outcomes == {"CONFIRMED": 10, "SOLD_OUT": 6}
    assert max(late.late) >= (BLOCKED - INTERVAL) * 1000
    assert percentile(prompt.late, 50) < percentile(late.late, 50) / 2
    assert late.caution is not None
    assert late.caution.startswith("Not the server's alone: p50, p95, p99. ")
    assert late.objection is None, "it says nothing about what was sold"


def report(latencies: list[float], late: list[float]) -> LoadReport:
    return LoadReport(Load(100, 2, 5), "id", ["here"], latencies=latencies, late=late)


def test_only_latencies_with_a_tenth_of_lateness_are_said_not_to_be_the_servers() -> None:
    assert report([50.0] * 100, [5.0] * 100).caution is None
    assert report([50.0] * 100, []).caution is None
    assert report([], [5.0] * 100).caution is None
    assert report([50.0] * 100, [1.0] * 98 + [1234.5] * 2).caution == (
        "Not the server's alone: p99. This command was late itself by 1,234.5 ms. To see the server's, run it "
        "on another machine, or with fewer buyers."
    )
    assert report([50.0] * 100, [5.1] * 100).caution == (
        "Not the server's alone: p50, p95, p99. This command was late itself by 5.1, 5.1, 5.1 ms. To see the "
        "server's, run it on another machine, or with fewer buyers."
    )


def test_the_table_has_the_lateness_below_the_latencies() -> None:
    text = rendered(load_table(report([50.0] * 100, [1.0] * 50 + [2.0] * 49 + [3000.0])), 100)
    assert "│ own lateness, p50, p99, most │ 1.0, 2.0, 3,000.0 ms │" in text
    assert text.index("p99 ") < text.index("own lateness") < text.index("└")
