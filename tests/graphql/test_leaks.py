"""Clients that vanish at the worst moment or stop reading: they leave nothing behind, and delay no other client."""

import asyncio
import gc
import logging
import os
import random
import sys
import tracemalloc
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import pytest

from api.database.pool import Pool
from api.settings import Settings, SocketTimes
from tests.graphql.several import until_waiting
from tests.graphql.stranger import UPGRADE, Stranger, connection, event_stream, frame, subscribe
from tests.graphql.subscriptions import WATCH, WIDE, until_metrics
from tests.graphql.transport import Client, connected
from tests.locks import until_blocked
from tests.patience import PATIENCE, short, until
from tests.server import PURCHASE, Server, serving

PING = frame({"type": "ping", "payload": {"padding": "x" * 30_000}})

Stage = Callable[[Stranger, str], Awaitable[None]]
"""What a client does with a product before it vanishes."""

CLIENTS = int(os.environ.get("VANISHING_CLIENTS", "3000"))
"""Clients that connect and vanish. 10,000 take another minute on a slow machine."""


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
    await stranger.send(3 * PING, until=b'"pong"')  # the server reads fewer bytes than these at a time


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
    """Let this many clients connect, each of which vanishes at a random stage."""
    chance = random.Random(clients)  # noqa: S311
    numbers = iter(range(clients))

    async def come() -> None:
        for _ in numbers:
            async with connection(server) as stranger:
                await chance.choice(STAGES)(stranger, chance.choice(product_ids))

    async with asyncio.TaskGroup() as group:
        for _ in range(at_a_time):
            group.create_task(come())


async def until_alone(server: Server, tasks: int) -> None:
    """Wait until the server has no client but the test, and this event loop has at most that many tasks."""
    await until_metrics(server, **dict.fromkeys(("sockets", "watchers", "broadcasts", "watched_products"), 0))
    await until(lambda: len(asyncio.all_tasks()) <= tasks)


@dataclass(frozen=True)
class Footprint:
    """The resources of this process, in which the server runs."""

    descriptors: int
    blocks: int
    """Blocks of memory, as Python's allocator counts them. An object has at least one."""

    @classmethod
    def now(cls) -> "Footprint":
        gc.collect()
        return cls(len(os.listdir("/dev/fd")), sys.getallocatedblocks())


def kept_memory() -> int:
    """Bytes that were allocated since tracemalloc's start, and are still in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.slow
async def test_thousands_of_vanished_clients_leave_nothing_behind(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    product_ids = [await server.create_product(stock=10_000) for _ in range(5)]
    tasks = len(asyncio.all_tasks())
    await come_and_vanish(server, product_ids, clients=500, at_a_time=100)
    await until_alone(server, tasks)
    before = Footprint.now()

    await come_and_vanish(server, product_ids, clients=CLIENTS, at_a_time=100)

    await until_alone(server, tasks)
    after = Footprint.now()
    assert after.descriptors <= before.descriptors + 2 * server.settings.connections  # which the pools may open
    assert after.blocks - before.blocks < CLIENTS / 4, "one object for every fourth client"
    assert warnings_of(caplog) == []


async def test_purchases_whose_clients_vanish_are_made_at_most_once(
    server: Server, behind: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """A purchase in a transaction is committed without its client. A purchase in line may leave, and be sent again."""
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

    async with AsyncExitStack() as clients:
        async with behind.begin(timeout=PATIENCE) as transaction:
            await transaction.fetch("SELECT 1 FROM stock_shards FOR UPDATE")
            await send("in a transaction")
            await until_blocked(behind, len(product_ids))
            await send("in line")
            await until_waiting(server, 2 * len(product_ids))
            await clients.aclose()
            await until_metrics(server, sockets=0)
        await until_waiting(server, 0)

    for product_id in product_ids:
        first = await server.data(PURCHASE, purchase(product_id, "in a transaction"))
        assert (first["purchase"]["status"], first["purchase"]["replayed"]) == ("CONFIRMED", True)
        second = await server.data(PURCHASE, purchase(product_id, "in line"))
        assert (second["purchase"]["status"], second["purchase"]["remaining"]) == ("CONFIRMED", 8)
    assert warnings_of(caplog) == []


async def watch_over_a_websocket(stranger: Stranger, product_ids: list[str]) -> None:
    await stranger.open_session()
    await stranger.send(subscribe(WIDE, {"ids": product_ids}), until=b'"next"')


async def watch_an_event_stream(stranger: Stranger, product_ids: list[str]) -> None:
    await stranger.send(event_stream(WIDE, {"ids": product_ids}), until=b"event: next")


both_ways_to_watch = pytest.mark.parametrize("watch", [watch_over_a_websocket, watch_an_event_stream])
Watch = Callable[[Stranger, list[str]], Awaitable[None]]

STALLED = 20
"""The number of clients that stop reading."""


async def change_all(behind: Pool, reading: Client) -> None:
    """Change the stock of all products, 400 KB for each watcher, and wait until the reading client gets its change."""
    await behind.fetch("UPDATE stock_shards SET stock = stock - 1, version = version + 1")
    await reading.next()


@both_ways_to_watch
@pytest.mark.slow
async def test_clients_that_stop_reading_delay_no_other_client(
    settings: Settings, behind: Pool, caplog: pytest.LogCaptureFixture, watch: Watch
) -> None:
    patient = replace(settings, socket_times=SocketTimes(send=2 * PATIENCE))
    async with serving(patient) as server, connected(server) as reading, AsyncExitStack() as clients:
        product_ids = [await server.create_product(stock=1_000) for _ in range(50)]
        await reading.subscribe(WATCH, {"ids": product_ids[:1]})
        await reading.next()
        for _ in range(STALLED):
            stranger = await clients.enter_async_context(connection(server))
            await watch(stranger, product_ids)
            stranger.transport.pause_reading()

        for _ in range(5):  # the first fills every buffer
            await change_all(behind, reading)

        await until_metrics(
            server, sockets=1 + STALLED, watchers=1 + STALLED
        )  # no change waited for the stalled clients
    assert warnings_of(caplog) == []


@both_ways_to_watch
@pytest.mark.slow
async def test_clients_that_stop_reading_are_disconnected_and_forgotten(
    settings: Settings, behind: Pool, caplog: pytest.LogCaptureFixture, watch: Watch
) -> None:
    impatient = replace(settings, socket_times=SocketTimes(send=short(1.0)))
    async with serving(impatient) as server, connected(server) as reading, AsyncExitStack() as clients:
        product_ids = [await server.create_product(stock=1_000) for _ in range(50)]
        await reading.subscribe(WATCH, {"ids": product_ids[:1]})
        await reading.next()

        async with connection(server) as stranger:
            await watch(stranger, product_ids)
            await change_all(behind, reading)
        await until_metrics(server, sockets=1)

        tracemalloc.start()
        clients.callback(tracemalloc.stop)
        for _ in range(STALLED):
            stranger = await clients.enter_async_context(connection(server))
            await watch(stranger, product_ids)
            stranger.transport.pause_reading()
        async with asyncio.timeout(PATIENCE):
            while (await server.metrics())["dropzero_sockets"] > 1:
                await change_all(behind, reading)
        await until_metrics(server, sockets=1, watchers=1, broadcasts=1)

        # Messages that are just being sent to the other client come and go.
        await until(lambda: kept_memory() < STALLED * 8 * 1024)
    assert warnings_of(caplog) == []
