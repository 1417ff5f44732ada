"""Lighthouse, with its desktop profile, over the pages that buyers see.

Accessibility, best practices, search engines and layout shift do not depend on the machine, and are asserted in every
run. Performance is a question of time. Lighthouse simulates a desktop's network, but computes with the CPU as it is.
Each page has up to three runs, of which the best one counts. Lighthouse measures the machine beside each run
(`benchmarkIndex`), and itself warns of a slow machine below 1,000. On such a machine a score that is too low skips the
test, after all other asserts, with the score as the reason.
"""

import json

import pytest

from tests.npm import Node
from tests.quality.conftest import Visited

pytestmark = [pytest.mark.npm, pytest.mark.browser]

PAGES = ("/", "/drop/{open}", "/orders", "/architecture")
FAST_ENOUGH = 95
SLOW_MACHINE = 1000
"""The benchmarkIndex below which Lighthouse warns. Two cores that 14 other processes wanted had 510 to 1,350; each
page had a score of 99 or 100 there. Two idle cores have 3,100 to 3,500."""

NO_SHIFT = 0.005
"""A cumulative layout shift below this is 0.00."""


async def test_lighthouse_finds_nothing_to_improve(shop: Visited, node: Node, launch: dict[str, object]) -> None:
    task = shop.task(PAGES, fastEnough=FAST_ENOUGH)

    runs = await node.run("lighthouse.mjs", json.dumps(launch), json.dumps(task))

    assert {run["path"] for run in runs} == set(task["pages"])
    assert [f"{run['path']}: {fault}" for run in runs for fault in run["faults"]] == []
    for run in runs:
        assert run["scores"].items() >= {"accessibility": 100, "best-practices": 100, "seo": 100}.items(), run
    assert [f"{run['path']}: {run['shifted']}" for run in runs if run["layoutShift"] >= NO_SHIFT] == []
    last = {run["path"]: run for run in runs}  # the best one, or as slow as those before it
    slow = [run for run in last.values() if run["scores"]["performance"] < FAST_ENOUGH]
    if any(run["benchmarkIndex"] < SLOW_MACHINE for run in slow):
        pytest.skip(f"too slow a machine for the score of performance: {slow}")
    assert slow == []
