"""Clients that do not answer pings, such as a phone that sleeps, are closed with a code that lets them reconnect."""

import logging
import struct
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from api.settings import Settings, SocketTimes
from tests.graphql.stranger import INIT, UPGRADE, connection, subscribe
from tests.graphql.subscriptions import WATCH, WIDE, streaming, until_metrics
from tests.graphql.transport import assert_alive, several_connected
from tests.patience import PATIENCE, short
from tests.server import serving

MAY_RECONNECT = struct.pack("!H", 1001) + b"keepalive"
"""The beginning of the close frame's payload."""


async def test_a_client_that_answers_no_ping_is_closed_and_may_reconnect(settings: Settings) -> None:
    often = SocketTimes(ping=short(0.1))
    async with serving(replace(settings, socket_times=often)) as server, connection(server) as asleep:
        await asleep.send(UPGRADE, until=b"\r\n\r\n")
        await asleep.send(INIT, until=MAY_RECONNECT)


async def test_only_the_clients_that_answer_no_ping_are_closed(settings: Settings) -> None:
    """All sockets have one timer. Some have sent nothing, some have a session, some watch."""
    often = SocketTimes(ping=short(0.5))
    async with serving(replace(settings, socket_times=often)) as server, AsyncExitStack() as clients:
        product_id = await server.create_product(stock=5)
        silent = await clients.enter_async_context(several_connected(server, 3, init=False))
        awake = await clients.enter_async_context(several_connected(server, 3))
        for client in awake[1:]:
            await client.subscribe(WATCH, {"ids": [product_id]})
            assert await client.next() == {"stockChanged": {"stock": 5, "version": 1}}
        for _ in range(3):
            asleep = await clients.enter_async_context(connection(server))
            await asleep.open_session()
            await asleep.until(MAY_RECONNECT)

        await until_metrics(server, sockets=len(silent) + len(awake), watchers=len(awake) - 1)
        await assert_alive(*awake)
        for client in silent:
            await client.init()
        await server.purchase(product_id)
        for client in awake[1:]:
            assert await client.next() == {"stockChanged": {"stock": 4, "version": 2}}


@pytest.mark.slow
async def test_a_client_that_sleeps_does_not_delay_the_others(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    times = SocketTimes(ping=short(0.5), send=PATIENCE)
    async with serving(replace(settings, socket_times=times)) as server, connection(server) as asleep:
        product_ids = [await server.create_product(stock=1_000) for _ in range(20)]
        await asleep.open_session()
        asleep.transport.pause_reading()
        asleep.transport.write(subscribe(WIDE, {"ids": product_ids}))  # 160 KB, more than any buffer has room for
        async with streaming(server, WATCH, {"ids": product_ids[:1]}) as reading:  # an event stream gets no pings
            await reading.next()
            # The bytes that the sleeper has not read keep its connection open. Its session ends.
            await until_metrics(server, sockets=1, watchers=1)

            await server.purchase(product_ids[0])
            await reading.next()

        asleep.transport.resume_reading()
        await asleep.until(MAY_RECONNECT)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
