"""Clients that do not answer pings, such as a phone that sleeps, are closed in a way that lets them come back."""

import logging
import struct
from dataclasses import replace

import pytest

from api.settings import Settings, SocketTimes
from tests.graphql.stranger import INIT, UPGRADE, connection, subscribe
from tests.graphql.subscriptions import WATCH, WIDE, streaming, until_metrics
from tests.patience import PATIENCE, short
from tests.server import serving

MAY_COME_BACK = struct.pack("!H", 1001) + b"keepalive"
"""How the payload of the close frame begins."""


async def test_a_client_that_answers_no_ping_is_told_that_it_may_come_back(settings: Settings) -> None:
    often = SocketTimes(ping=short(0.1))
    async with serving(replace(settings, socket_times=often)) as server, connection(server) as asleep:
        await asleep.send(UPGRADE, until=b"\r\n\r\n")
        await asleep.send(INIT, until=MAY_COME_BACK)


@pytest.mark.slow
async def test_a_client_that_sleeps_takes_nothing_from_the_others(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    times = SocketTimes(ping=short(0.5), send=PATIENCE)
    async with serving(replace(settings, socket_times=times)) as server, connection(server) as asleep:
        product_ids = [await server.create_product(stock=1_000) for _ in range(20)]
        await asleep.open_session()
        asleep.transport.pause_reading()
        asleep.transport.write(subscribe(WIDE, {"ids": product_ids}))  # 160 KB, which no buffer has room for
        async with streaming(server, WATCH, {"ids": product_ids[:1]}) as reading:  # it is sent no pings
            await reading.next()
            # What the sleeper has not read keeps its connection open; its session ends.
            await until_metrics(server, sockets=1, watchers=1)

            await server.purchase(product_ids[0])
            await reading.next()

        asleep.transport.resume_reading()
        await asleep.until(MAY_COME_BACK)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
