"""Clients that vanish at the worst moment or stop reading leave nothing behind, and take nothing from others."""

import asyncio
import gc
import logging
import os
import random
import re
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from api import protocol
from api.database.pool import Pool
from api.settings import Settings
from tests.graphql.stranger import UPGRADE, Stranger, connection, event_stream, frame, subscribe
from tests.graphql.transport import connected
from tests.server import PURCHASE, Server, serving

PATIENCE = 10.0
"""Seconds after which a test that waits for something has failed."""

WATCH = "subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { stock version } }"

PING = frame({"type": "ping", "payload": {"padding": "x" * 30_000}})

Stage = Callable[[Stranger, str], Awaitable[None]]
"""How far a client comes with a product before it vanishes."""


async def connected_only(stranger: Stranger, product_id: str) -> None:
    pass


async def amid_the_upgrade(stranger: Stranger, product_id: str) -> None:
    await stranger.send(UPGRADE[:50])


async def after_the_upgrade_is_sent(stranger: Stranger, product_id: str) -> None:
    await stranger.send(UPGRADE)


async def before_init(stranger: Stranger, product_id: str) -> None:
    await stranger.send(UPGRADE, until=b"\r\n\r\n")


async def after_init(stranger: Stranger, product_id: str) -> None:
    await stranger.open_session()


async def amid_a_frame(stranger: Stranger, product_id: str) -> None:
    await stranger.open_session()
    await stranger.send(PING[:1000])


async def after_subscribe_is_sent(stranger: Stranger, product_id: str) -> None:
    await stranger.open_session()
    await stranger.send(subscribe(WATCH, {"ids": [product_id]}))


async def amid_a_subscription(stranger: Stranger, product_id: str) -> None:
    await stranger.open_session()
    await stranger.send(subscribe(WATCH, {"ids": [product_id]}), until=b'"next"')


async def amid_a_purchase(stranger: Stranger, product_id: str) -> None:
    await stranger.open_session()
    await stranger.send(subscribe(PURCHASE, {"input": {"productId": product_id, "userRef": "ada"}}))


async def while_the_server_sends(stranger: Stranger, product_id: str) -> None:
    await stranger.open_session()
    await stranger.send(subscribe(WATCH, {"ids": [product_id]}))
    await stranger.send(3 * PING, until=b'"pong"')  # the rest of which does not fit into what we take at a time


async def amid_a_request_for_events(stranger: Stranger, product_id: str) -> None:
    await stranger.send(event_stream(WATCH, {"ids": [product_id]})[:-10])


async def after_a_request_for_events(stranger: Stranger, product_id: str) -> None:
    await stranger.send(event_stream(WATCH, {"ids": [product_id]}))


async def amid_an_event_stream(stranger: Stranger, product_id: str) -> None:
    await stranger.send(event_stream(WATCH, {"ids": [product_id]}), until=b"event: next")


async def amid_a_purchase_for_events(stranger: Stranger, product_id: str) -> None:
    await stranger.send(event_stream(PURCHASE, {"input": {"productId": product_id, "userRef": "eve"}}))


STAGES: list[Stage] = [
    connected_only,
    amid_the_upgrade,
    after_the_upgrade_is_sent,
    before_init,
    after_init,
    amid_a_frame,
    after_subscribe_is_sent,
    amid_a_subscription,
    amid_a_purchase,
    while_the_server_sends,
    amid_a_request_for_events,
    after_a_request_for_events,
    amid_an_event_stream,
    amid_a_purchase_for_events,
]


async def come_and_vanish(server: Server, product_ids: list[str], clients: int, at_a_time: int) -> None:
    """So many clients, each of which vanishes at a stage of its own."""
    chance = random.Random(clients)  # noqa: S311
    numbers = iter(range(clients))

    async def come() -> None:
        for _ in numbers:
            async with connection(server) as stranger:
                await chance.choice(STAGES)(stranger, chance.choice(product_ids))

    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(come())


async def until(server: Server, **expected: int) -> None:
    """Wait for these figures among the server's metrics."""
    async with asyncio.timeout(PATIENCE):
        while {name: (await server.metrics())[f"dropzero_{name}"] for name in expected} != expected:
            await asyncio.sleep(0.005)


async def until_waiting(server: Server, number: int) -> None:
    """Wait until so many purchases are in line and in transactions, of all Regions."""
    async with asyncio.timeout(PATIENCE):
        while True:
            async with server.session.get(f"{server.url}/metrics") as response:
                waiting = re.findall(r"^dropzero_purchases_waiting{.*} (.*)$", await response.text(), re.MULTILINE)
            if sum(map(float, waiting)) == number:
                return
            await asyncio.sleep(0.005)


async def until_alone(server: Server, tasks: int) -> None:
    """Wait until the server knows of no client but us, and no more than so many tasks are left of this event loop."""
    await until(server, **dict.fromkeys(("sockets", "watchers", "broadcasts", "watched_products"), 0))
    async with asyncio.timeout(PATIENCE):
        while len(asyncio.all_tasks()) > tasks:
            await asyncio.sleep(0.005)


@dataclass(frozen=True)
class Footprint:
    """What this process holds, the server in it."""

    descriptors: int
    blocks: int
    """Of memory, as Python's allocator counts them: an object has one at least."""

    @classmethod
    def now(cls) -> "Footprint":
        gc.collect()
        return cls(len(os.listdir("/dev/fd")), sys.getallocatedblocks())


def kept_memory() -> int:
    """Bytes that were taken since tracemalloc's start, and are still in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def complaints(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


async def test_ten_thousand_clients_vanish_and_leave_nothing_behind(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    product_ids = [await server.create_product(stock=10_000) for _ in range(5)]
    tasks = len(asyncio.all_tasks())
    await come_and_vanish(server, product_ids, clients=1_000, at_a_time=200)
    await until_alone(server, tasks)
    before = Footprint.now()

    await come_and_vanish(server, product_ids, clients=10_000, at_a_time=200)

    await until_alone(server, tasks)
    after = Footprint.now()
    assert after.descriptors <= before.descriptors + 2 * server.settings.connections  # which the pools may have opened
    assert after.blocks - before.blocks < 2_500, "one object for every fourth client"
    assert complaints(caplog) == []


async def test_purchases_whose_clients_vanish_are_carried_out_once(
    server: Server, behind: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """Those in a transaction are, whoever waits for them; those in line may be given up, and can be sent again."""
    product_ids = [await server.create_product(stock=10) for _ in range(5)]

    def purchase(product_id: str, buyer: str) -> dict[str, Any]:
        return {"input": {"productId": product_id, "userRef": buyer, "idempotencyKey": "click"}}

    async def send(buyer: str) -> None:
        for number, product_id in enumerate(product_ids):
            stranger = await clients.enter_async_context(connection(server))
            if number % 2:
                await stranger.send(event_stream(PURCHASE, purchase(product_id, buyer)))
            else:
                await stranger.open_session()
                await stranger.send(subscribe(PURCHASE, purchase(product_id, buyer)))

    async def until_blocked(number: int) -> None:
        blocked = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        while len(await behind.fetch(blocked)) < number:
            await asyncio.sleep(0.005)

    async with asyncio.timeout(PATIENCE), AsyncExitStack() as clients:
        async with behind.begin() as transaction:
            await transaction.fetch("SELECT 1 FROM inventory FOR UPDATE")
            await send("in a transaction")
            await until_blocked(len(product_ids))
            await send("in line")
            await until_waiting(server, 2 * len(product_ids))
            await clients.aclose()
            await until(server, sockets=0)
        await until_waiting(server, 0)

    for product_id in product_ids:
        first = await server.data(PURCHASE, purchase(product_id, "in a transaction"))
        assert (first["purchase"]["status"], first["purchase"]["replayed"]) == ("CONFIRMED", True)
        second = await server.data(PURCHASE, purchase(product_id, "in line"))
        assert (second["purchase"]["status"], second["purchase"]["remaining"]) == ("CONFIRMED", 8)
    assert complaints(caplog) == []


_FIELDS = " ".join(f"{letter * 780}: stock" for letter in "abcdefghij")
WIDE = f"subscription ($ids: [ID!]!) {{ stockChanged(productIds: $ids) {{ {_FIELDS} }} }}"
"""What is told of a change takes 8 KB."""


async def watch_over_a_websocket(stranger: Stranger, product_ids: list[str]) -> None:
    await stranger.open_session()
    await stranger.send(subscribe(WIDE, {"ids": product_ids}), until=b'"next"')


async def watch_an_event_stream(stranger: Stranger, product_ids: list[str]) -> None:
    await stranger.send(event_stream(WIDE, {"ids": product_ids}), until=b"event: next")


@pytest.mark.parametrize("watch", [watch_over_a_websocket, watch_an_event_stream])
async def test_clients_that_stop_reading_are_hung_up_on_and_delay_nobody(
    settings: Settings,
    behind: Pool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    watch: Callable[[Stranger, list[str]], Awaitable[None]],
) -> None:
    stalled = 20
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 1.0)
    async with serving(settings) as server, connected(server) as reading, AsyncExitStack() as clients:
        product_ids = [await server.create_product(stock=1_000) for _ in range(50)]
        await reading.subscribe(WATCH, {"ids": product_ids[:1]})
        await reading.next()

        async def change_all() -> None:
            await behind.fetch("UPDATE inventory SET stock = stock - 1, version = version + 1")
            async with asyncio.timeout(protocol.SEND_TIMEOUT / 2):  # too soon for who waits for those that do not read
                await reading.next()

        async with connection(server) as stranger:
            await watch(stranger, product_ids)
            await change_all()
        await until(server, sockets=1)

        tracemalloc.start()
        clients.callback(tracemalloc.stop)
        for _ in range(stalled):
            stranger = await clients.enter_async_context(connection(server))
            await watch(stranger, product_ids)
            stranger.transport.pause_reading()
        await until(server, sockets=1 + stalled)
        async with asyncio.timeout(2 * PATIENCE):
            while (await server.metrics())["dropzero_sockets"] > 1:
                await change_all()
        await until(server, sockets=1, watchers=1, broadcasts=1)

        async with asyncio.timeout(PATIENCE):  # what the others are being told just now comes and goes
            while kept_memory() >= stalled * 8 * 1024:
                await asyncio.sleep(0.05)
    assert complaints(caplog) == []
