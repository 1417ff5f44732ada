"""What happens in a drop, as operators read it: two servers sell, and each shows what both have answered."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from socket import gethostname
from typing import Any

import pytest

from api.database.pool import Pool
from api.drops.activity_feed import ActivityFeed, FeedTimes
from api.drops.recorder import Recorder, RecorderTimes
from api.settings import Settings
from tests.graphql.callers import SUE
from tests.graphql.holds import Till
from tests.graphql.operations import UNKNOWN_ID
from tests.graphql.subscriptions import WATCH
from tests.graphql.transport import Client, connected
from tests.patience import PATIENCE, short
from tests.regions import HOME, PEER
from tests.server import ADMIN_TOKEN, Server, serving

POINT = """
at seconds stock confirmed held soldOut limitReached notOpen paused closed cancelled busy failed p50Ms p99Ms attempts
transactions conflicts
"""
HISTORY = f"query ($id: ID!) {{ dropHistory(productId: $id) {{ {POINT} }} }}"
ACTIVITY = f"""
subscription ($id: ID!) {{
  dropActivity(productId: $id) {{
    at heldUnits heldOrders lapsing watchers product {{ id stock held }} points {{ {POINT} }}
    processes {{
      name version startedAt seenAt watchers waiting latenessMs regions {{ name away latencyMs }}
    }}
    regions {{ name home healthy latencyMs }}
  }}
}}
"""


@pytest.fixture
def quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of servers that write and read activity often."""
    times = RecorderTimes(interval=0.05, description=0.1, timeout=PATIENCE)
    monkeypatch.setattr("api.drops.kept_activity.Recorder", partial(Recorder, times=times))
    reading = FeedTimes(interval=0.05, slow=0.1)
    monkeypatch.setattr("api.drops.kept_activity.ActivityFeed", partial(ActivityFeed, times=reading))
    return settings


@asynccontextmanager
async def following(server: Server, product_id: str) -> AsyncIterator[Client]:
    """The operator's socket, which has subscribed to the activity of a product."""
    async with connected(server, headers={"authorization": f"Bearer {ADMIN_TOKEN}"}) as client:
        await client.subscribe(ACTIVITY, {"id": product_id})
        yield client


async def until_shown(client: Client, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The first activity that the socket gets for which the condition is true."""
    async with asyncio.timeout(PATIENCE):
        while True:
            seen: dict[str, Any] = (await client.next())["dropActivity"]
            if condition(seen):
                return seen


def sums(points: list[dict[str, Any]], *fields: str) -> tuple[int, ...]:
    return tuple(sum(point[field] for point in points) for field in fields)


async def test_an_operator_sees_what_all_servers_answer(quick: Settings) -> None:
    async with serving(quick) as one, serving(quick) as two, connected(two) as watcher:
        product_id = await one.create_product(stock=4)
        await watcher.subscribe(WATCH, {"ids": [product_id]})
        await watcher.next()
        async with following(one, product_id) as client:
            for number in range(6):
                await (one, two)[number % 2].purchase(product_id, f"buyer-{number}")

            seen = await until_shown(
                client,
                lambda seen: (
                    sums(seen["points"], "confirmed", "soldOut") == (4, 2)
                    and [process["waiting"] for process in seen["processes"]] == [0, 0]
                    and seen["watchers"] == 1
                ),
            )

        assert seen["product"] == {"id": product_id, "stock": 0, "held": 0}
        assert sums(seen["points"], "attempts", "transactions", "conflicts", "failed", "held") == (6, 6, 0, 0, 0)
        assert (seen["points"][-1]["stock"], seen["points"][-1]["seconds"]) == (0, 2)
        assert all(0 < point["p50Ms"] <= point["p99Ms"] for point in seen["points"])
        assert (seen["heldUnits"], seen["heldOrders"], seen["lapsing"]) == (0, 0, 0)
        assert [region["name"] for region in seen["regions"]] == [HOME, PEER]
        for process in seen["processes"]:
            assert [(each["name"], each["away"]) for each in process["regions"]] == [(HOME, False), (PEER, False)]
            assert process["startedAt"] <= process["seenAt"] <= seen["at"]
            assert (process["name"], process["version"]) == (f"{gethostname()}:{os.getpid()}", version("dropzero"))
        for server in (one, two):
            late = (await server.data(HISTORY, {"id": product_id}, token=ADMIN_TOKEN))["dropHistory"]
            assert late == seen["points"], "a page that opens late has the drop from its begin on"


async def test_the_end_of_a_server_loses_nothing(quick: Settings) -> None:
    async with serving(quick) as one:
        product_id = await one.create_product(stock=4)
        async with serving(quick) as two:
            await two.purchase(product_id)
        points = (await one.data(HISTORY, {"id": product_id}, token=ADMIN_TOKEN))["dropHistory"]
        assert sums(points, "confirmed") == (1,)


async def test_the_units_that_are_held_are_shown(quick: Settings) -> None:
    async with serving(quick) as server:
        product_id = await server.create_product(stock=4, holdSeconds=600)
        await server.purchase(product_id, quantity=3)
        async with following(server, product_id) as client:
            seen = (await client.next())["dropActivity"]
    assert (seen["heldUnits"], seen["heldOrders"], seen["lapsing"], seen["product"]["held"]) == (3, 1, 0, 3)


async def test_an_unknown_product_is_an_error(server: Server) -> None:
    assert (await server.refusal(HISTORY, {"id": UNKNOWN_ID}, token=ADMIN_TOKEN))[0] == "NOT_FOUND"
    assert (await server.refusal(HISTORY, {"id": "x"}, token=ADMIN_TOKEN))[0] == "BAD_USER_INPUT"
    async with following(server, UNKNOWN_ID) as client:
        assert (await client.error())[0] == "NOT_FOUND"


async def test_a_product_without_purchases_has_no_history(server: Server) -> None:
    product_id = await server.create_product()
    assert await server.data(HISTORY, {"id": product_id}, token=ADMIN_TOKEN) == {"dropHistory": []}


async def test_a_server_that_keeps_no_activity_answers_so_and_writes_nothing(quick: Settings, pool: Pool) -> None:
    async with serving(replace(quick, activity=False)) as server:
        product_id = await server.create_product()
        await server.purchase(product_id)
        code, message = await server.refusal(HISTORY, {"id": product_id}, token=ADMIN_TOKEN)
        async with following(server, product_id) as client:
            assert await client.error() == (code, message)
    assert code == "BAD_USER_INPUT"
    assert "DROPZERO_ACTIVITY" in message
    assert await pool.fetch("SELECT process FROM activity UNION SELECT id FROM processes") == []


async def test_the_end_of_the_token_ends_the_subscription(till: Till) -> None:
    leeway = 30  # of the times in tokens, see IssuerSettings
    token = till.shop.token(SUE, exp=int(time.time() + short(2.0)) - leeway)
    async with connected(till.shop.server, headers={"authorization": f"Bearer {token}"}) as client:
        await client.subscribe(ACTIVITY, {"id": till.product_id})
        while (message := await client.receive())["type"] == "next":
            pass
    [error] = message["payload"]
    assert (error["extensions"]["code"], "expired" in error["message"]) == ("UNAUTHENTICATED", True)
