"""Lighthouse, with its desktop profile, over the pages that buyers see.

Accessibility, best practices, search engines and layout shift do not depend on the machine, and are asserted in every
run. Performance is a question of time. Lighthouse simulates a desktop's network, but computes with the CPU as it is.
Each page has up to three runs, of which the best one counts. Lighthouse measures the machine beside each run
(`benchmarkIndex`), and itself warns of a slow machine below 1,000. Below that the test is skipped after all other
asserts, with the score as its reason.
"""

import json
from typing import Any

import pytest

from tests.browser.visits import CHROMIUM_FLAGS
from tests.npm import Node
from tests.quality.conftest import Shop

pytestmark = [pytest.mark.npm, pytest.mark.browser]

FAST_ENOUGH = 95
SLOW_MACHINE = 1000
"""The benchmarkIndex below which Lighthouse warns. Two cores that 13 other processes wanted had 965 to 2,560; each
page had a score of 100 there."""

NO_SHIFT = 0.005
"""A cumulative layout shift below this is 0.00."""


@pytest.mark.parametrize("page", ["/", "/drop/{open}", "/architecture"])
async def test_lighthouse_finds_nothing_to_improve(shop: Shop, node: Node, chromium: str, page: str) -> None:
    launch = {"executablePath": chromium, "args": CHROMIUM_FLAGS}
    task = {"url": f"{shop.server.url}{shop.address(page)}", "fastEnough": FAST_ENOUGH}

    runs = await node.run("lighthouse.mjs", json.dumps(launch), json.dumps(task))

    assert [run["faults"] for run in runs] == [[]] * len(runs)
    for run in runs:
        assert run["scores"].items() >= {"accessibility": 100, "best-practices": 100, "seo": 100}.items()
        assert run["layoutShift"] < NO_SHIFT, run["shifted"]
    expect_speed(max(runs, key=lambda run: run["scores"]["performance"]))


def expect_speed(best: dict[str, Any]) -> None:
    """Assert the score of performance, or skip the rest of the test on a machine that is too slow to tell."""
    score, index = best["scores"]["performance"], best["benchmarkIndex"]
    if score < FAST_ENOUGH and index < SLOW_MACHINE:
        pytest.skip(
            f"performance {score}, on a machine too slow to tell (benchmarkIndex {index}): {best['milliseconds']}"
        )
    assert score >= FAST_ENOUGH, best
