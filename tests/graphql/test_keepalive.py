"""Clients that do not answer pings, such as a phone that sleeps, are closed in a way that lets them come back."""

import asyncio
import itertools
import logging
import struct
from typing import Any

import pytest

from api.protocol import BoundedWebSocket
from api.settings import Settings
from tests import conftest
from tests.graphql.stranger import connection, subscribe
from tests.graphql.transport import connected

GOING_AWAY = 1001


class Impatient(BoundedWebSocket):
    patience = 0.1

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.ping_interval = self.ping_timeout = self.patience


async def test_a_client_that_wakes_up_finds_that_it_may_come_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "BoundedWebSocket", Impatient)
    async with conftest.serving(settings) as server, connection(server) as asleep:
        await asleep.open_session()
        async with asyncio.timeout(10):
            await asleep.until(struct.pack("!H", GOING_AWAY) + b"keepalive")


FIELDS = " ".join(f"{letter * 780}: stock" for letter in "abcdefgh")
WIDE = f"subscription ($ids: [ID!]!) {{ stockChanged(productIds: $ids) {{ {FIELDS} }} }}"
"""A few changes fill every buffer on the way to a client that does not read."""


async def test_a_client_that_sleeps_takes_nothing_from_the_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    connections: list[BoundedWebSocket] = []

    class Noted(Impatient):
        patience = 0.7

        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            connections.append(self)

    monkeypatch.setattr(conftest, "BoundedWebSocket", Noted)
    async with conftest.serving(settings) as server, connected(server) as reading, connection(server) as asleep:
        product_id = await server.create_product(stock=1_000)
        await asleep.open_session()
        await asleep.send(subscribe(WIDE, {"ids": [product_id]}), until=b'"next"')
        asleep.transport.pause_reading()
        _, theirs = connections
        await reading.subscribe(WIDE, {"ids": [product_id]})
        await reading.next()
        buyers = itertools.count()
        while not theirs.transport.get_write_buffer_size():
            await server.purchase(product_id, f"buyer {next(buyers)}")
            await reading.next()
        async with asyncio.timeout(10):
            while not theirs.close_sent:  # and the rest of what it was sent keeps its connection open
                await asyncio.sleep(0.005)

        await server.purchase(product_id, "the last")
        await reading.next()

    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []
