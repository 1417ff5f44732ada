"""Clients that do not answer pings, such as a phone that sleeps, are closed in a way that lets them come back."""

import asyncio
import struct
from typing import Any

import pytest

from api.protocol import BoundedWebSocket
from api.settings import Settings
from tests import conftest
from tests.graphql.stranger import connection

GOING_AWAY = 1001


class Impatient(BoundedWebSocket):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self.ping_interval = self.ping_timeout = 0.1


async def test_a_client_that_wakes_up_finds_that_it_may_come_back(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "BoundedWebSocket", Impatient)
    async with conftest.serving(settings) as server, connection(server) as asleep:
        await asleep.open_session()
        async with asyncio.timeout(10):
            await asleep.until(struct.pack("!H", GOING_AWAY) + b"keepalive")
