"""Connections between requests: how long they are kept, and when they are closed."""

import asyncio
from dataclasses import replace
from functools import partial

import pytest

from api.server import uvicorn_config
from api.settings import Settings, read_settings
from tests.patience import PATIENCE, short
from tests.server import Server, serving

BODY = b'{"query":"{ __typename }"}'
REQUEST = (
    b"POST /graphql HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
    % (
        len(BODY),
        BODY,
    )
)


class Connection:
    """One connection to a server, for one request after the other."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def to(cls, server: Server) -> "Connection":
        host, port = server.url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def ask(self) -> bytes:
        """Send one request, and return the head of its answer."""
        self.writer.write(REQUEST)
        async with asyncio.timeout(PATIENCE):
            head = await self.reader.readuntil(b"\r\n\r\n")
            await self.reader.readuntil(b'{"data":{"__typename":"Query"}}')
        return head.lower()

    async def ended(self) -> bool:
        """Wait until the server closes the connection. Returns whether it sent nothing before."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read() == b""

    def close(self) -> None:
        self.writer.close()


def test_a_connection_is_kept_for_longer_than_load_balancers_keep_theirs() -> None:
    for environment in ({}, {"DROPZERO_ENDPOINTS": "here=postgresql://app@a.example/shop"}):
        settings = read_settings(environment)
        assert settings.socket_times.keep_alive > 90


def test_the_operator_sets_how_long_a_connection_is_kept() -> None:
    settings = read_settings({"DROPZERO_KEEP_ALIVE_S": "620"})
    assert settings.socket_times.keep_alive == 620


async def test_a_connection_without_a_request_is_closed_when_its_time_is_over(settings: Settings) -> None:
    times = replace(settings.socket_times, keep_alive=short(0.1))
    async with serving(replace(settings, socket_times=times)) as server:
        connection = await Connection.to(server)
        assert b"connection: close" not in await connection.ask()
        assert await connection.ended()
        connection.close()


@pytest.mark.slow
async def test_the_time_begins_anew_with_each_answer(settings: Settings) -> None:
    keep_alive = short(1.0)
    times = replace(settings.socket_times, keep_alive=keep_alive)
    async with serving(replace(settings, socket_times=times)) as server:
        connection, loop = await Connection.to(server), asyncio.get_running_loop()
        end = loop.time() + 1.5 * keep_alive
        while loop.time() < end:
            asked = loop.time()
            assert b"connection: close" not in await connection.ask()
        assert await connection.ended()
        assert loop.time() - asked > 0.9 * keep_alive
        connection.close()


async def test_a_connection_outlives_the_time_that_a_request_has_to_arrive(settings: Settings) -> None:
    times = replace(settings.socket_times, receive=short(1.0), keep_alive=PATIENCE)
    async with serving(replace(settings, socket_times=times)) as server:
        kept, unused = await Connection.to(server), await Connection.to(server)
        await kept.ask()
        assert await unused.ended()  # by now the time to arrive is over, whenever it began
        assert b"connection: close" not in await kept.ask()
        for connection in (kept, unused):
            connection.close()


async def test_a_process_that_is_short_of_files_keeps_no_more_connections(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kept connection is an open file: without a bound, buyers who have bought would keep new ones out."""
    monkeypatch.setattr("tests.server.uvicorn_config", partial(uvicorn_config, most=1))
    async with serving(settings) as server:
        first = await Connection.to(server)
        assert b"connection: close" not in await first.ask()
        second = await Connection.to(server)
        assert b"connection: close" in await second.ask()
        assert await second.ended()
        assert b"connection: close" not in await first.ask()
        for connection in (first, second):
            connection.close()
