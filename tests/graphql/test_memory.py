"""The memory of a client: one that reads slowly or sends much costs little more than any other."""

import gc
import tracemalloc
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace

import pytest

from api.settings import Settings, SocketTimes
from tests.graphql.stranger import connection, event_stream, subscribe
from tests.graphql.subscriptions import WATCH, WIDE, until_metrics
from tests.patience import PATIENCE
from tests.server import Server, serving

KIB = 1024


class Kept:
    """Bytes that are allocated in a block, and still in use at its end."""

    bytes = 0


@contextmanager
def tracing() -> Iterator[Kept]:
    """Count the bytes that the block allocates and does not free, in the server and in this test."""
    kept = Kept()
    tracemalloc.start()
    try:
        yield kept
        gc.collect()
        kept.bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


@pytest.mark.slow
async def test_messages_that_wait_for_a_stalled_socket_are_kept_once(settings: Settings) -> None:
    patient = replace(settings, socket_times=SocketTimes(send=PATIENCE))  # no stalled socket is disconnected meanwhile
    async with serving(patient) as server, connection(server) as reading, connection(server) as stalled:
        variables = {"ids": [await server.create_product() for _ in range(50)]}
        await reading.open_session()
        await reading.send(subscribe(WIDE, variables), until=b'"next"')
        await stalled.open_session()
        stalled.transport.pause_reading()
        with tracing() as kept:
            for number in range(100):
                stalled.transport.write(subscribe(WIDE, variables, id=str(number)))
            await until_metrics(server, watchers=101)

    assert kept.bytes < 4_000 * KIB, "5,000 messages of 8 KB"


@pytest.mark.slow
async def test_event_streams_do_not_keep_their_requests(server: Server) -> None:
    text = "subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { stock } } #" + "x" * 15_000
    request = event_stream(text, {"ids": [await server.create_product()], "undeclared": "x" * 200_000})
    streams = 20
    async with AsyncExitStack() as clients:
        await (await clients.enter_async_context(connection(server))).send(request, until=b"event: next")
        with tracing() as kept:
            for _ in range(streams):
                watching = await clients.enter_async_context(connection(server))
                await watching.send(request, until=b"event: next")

    assert kept.bytes < streams * 48 * KIB


@pytest.mark.slow
async def test_an_idle_watcher_takes_little_memory(server: Server) -> None:
    """Its client in this process is counted, too. A task with the stack of coroutines of an application takes 10 KiB
    more, a deque of asyncio 0.7 KiB."""
    watch = subscribe(WATCH, {"ids": [await server.create_product()]})
    watchers = 100
    async with AsyncExitStack() as clients:

        async def come() -> None:
            watching = await clients.enter_async_context(connection(server))
            await watching.open_session()
            await watching.send(watch, until=b'"next"')

        await come()
        with tracing() as kept:
            for _ in range(watchers):
                await come()
            await until_metrics(server, watchers=watchers + 1)

    assert kept.bytes < watchers * 12 * KIB
