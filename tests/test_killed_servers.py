"""Servers that are killed while they sell: no answer says more than was committed, and every sale is found again."""

import asyncio
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import pytest

from api.database.pool import Pool
from api.drops.decisions import Purchase
from tests.command import Serving, dropzero_serve
from tests.drops.purchases import assert_books_balance, new_product, purchase
from tests.drops.weather import beside
from tests.dsql.stand_in import StandIn
from tests.dsql.token import CREDENTIALS
from tests.patience import PATIENCE, until
from tests.regions import HOME, PEER

PURCHASES, UNITS, BUYERS, KILLS = 400, 250, 20, 3

BUY = """
mutation ($product: ID!, $buyer: String!) {
  purchase(input: {productId: $product, userRef: $buyer, idempotencyKey: "click"}) {
    status ... on PurchaseConfirmed { order { id } }
  }
}
"""


@dataclass
class Told:
    """The answers to buyers, by the id of their order: of buyers who repeat their request until it is answered, and of
    buyers who send it once."""

    confirmed: set[UUID] = field(default_factory=set)
    sold_out: set[UUID] = field(default_factory=set)
    nothing: set[UUID] = field(default_factory=set)
    unknown: set[UUID] = field(default_factory=set)

    @property
    def answers(self) -> int:
        return len(self.confirmed) + len(self.sold_out) + len(self.nothing) + len(self.unknown)


class TwoServers:
    """Two processes that serve the same two Regions, each at home in another."""

    def __init__(self, directory: Path, home: StandIn, peer: StandIn) -> None:
        self._directory = directory
        endpoints = [f"{HOME}={home.url}", f"{PEER}={peer.url}"]
        self._endpoints = (endpoints, endpoints[::-1])
        self._running: list[AsyncExitStack] = []
        self.servers: list[Serving] = []
        self._killed: Serving | None = None

    async def __aenter__(self) -> "TwoServers":
        for number in (0, 1):
            stack = AsyncExitStack()
            self._running.append(stack)
            self.servers.append(await stack.enter_async_context(self._serve(number)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for stack in self._running:
            await stack.aclose()

    def _serve(self, number: int) -> Any:
        variables = {"DROPZERO_ENDPOINTS": ",".join(self._endpoints[number]), **CREDENTIALS}
        return dropzero_serve(self._directory / f"server-{number}", **variables)

    def another(self, number: int) -> Serving:
        """Return a server that is not being killed. Another program may have the port of a killed one by now."""
        up = [server for server in self.servers if server is not self._killed]
        return up[number % len(up)]

    async def kill(self, number: int) -> None:
        """Kill a server, and start it again."""
        self._killed = self.servers[number]
        await self.servers[number].stop(signal.SIGKILL)
        await self._running[number].aclose()
        self._running[number] = AsyncExitStack()
        self.servers[number] = await self._running[number].enter_async_context(self._serve(number))


async def ask(url: str, session: aiohttp.ClientSession, purchase: Purchase) -> str | None:
    """Buy one. Returns the status, or the code of the error; None when there was no answer."""
    variables = {"product": str(purchase.product_id), "buyer": purchase.user_ref}
    try:
        async with session.post(f"{url}/graphql", json={"query": BUY, "variables": variables}) as response:
            answer: dict[str, Any] = await response.json()
    except aiohttp.ClientError:
        return None
    if "errors" in answer:
        [error] = answer["errors"]
        assert error["extensions"]["code"] == "SERVICE_UNAVAILABLE", error
        return "NOTHING" if "nothing was changed" in error["message"] else None
    status: str = answer["data"]["purchase"]["status"]
    return status


async def cut_some_commits(endpoints: list[StandIn]) -> None:
    while True:
        for endpoint in endpoints:
            endpoint.cut_after_commit = endpoint.internal_after_commit = endpoint.conflicts = 1
        await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_no_answer_says_more_than_was_committed_when_servers_are_killed(
    tmp_path: Path, home: StandIn, peer: StandIn, behind: Pool
) -> None:
    product_id = await new_product(behind, stock=UNITS)
    told = Told()
    purchases = iter([purchase(product_id, f"buyer-{number}", key="click") for number in range(PURCHASES)])

    async def buyer(number: int, two: TwoServers, session: aiohttp.ClientSession) -> None:
        for wanted in purchases:
            only_once = number % 4 == 0
            status = None
            while True:
                number += 1
                status = await ask(two.another(number).url, session, wanted)
                if only_once or status in ("CONFIRMED", "SOLD_OUT"):
                    break
                await asyncio.sleep(0.02)
            kind = {"CONFIRMED": told.confirmed, "SOLD_OUT": told.sold_out, None: told.unknown}
            kind.get(status, told.nothing).add(wanted.order_id)

    async def kill_servers(two: TwoServers) -> None:
        for kill in range(KILLS):
            await until(lambda kill=kill: told.answers >= PURCHASES * kill // (KILLS + 1))  # type: ignore[misc]
            await two.kill(kill % 2)

    async with (
        TwoServers(tmp_path, home, peer) as two,
        aiohttp.ClientSession() as session,
        beside(cut_some_commits([home, peer])),
        asyncio.timeout(3 * PATIENCE),
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(kill_servers(two))
        for number in range(BUYERS):
            tasks.create_task(buyer(number, two, session))

    orders = {row["id"] for row in await behind.fetch("SELECT id FROM orders")}
    assert told.confirmed <= orders, "told yes without an order"
    assert (told.sold_out | told.nothing) & orders == set(), "told no, and there is an order"
    assert orders <= told.confirmed | told.unknown, "an order that nobody was told of"
    [left] = await behind.fetch("SELECT stock FROM stock_shards")
    assert left["stock"] == UNITS - len(orders), "oversold or lost"
    assert not told.sold_out or left["stock"] == 0
    await assert_books_balance(behind)
