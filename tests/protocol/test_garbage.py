"""Garbage from clients: a real server counts it, and its log has no traceback and no line that alarms anybody."""

import asyncio
import json
import re
from pathlib import Path

import pytest

from api.graphql.origins import REFUSED_ORIGINS
from api.identity.authenticator import REFUSED_TOKENS
from tests.command import Serving, dropzero_serve
from tests.protocol.frames import close, opened
from tests.protocol.garbage import FRAMES, HANDSHAKES, HTTP, UNFINISHED
from tests.protocol.raw import connection_to
from tests.server import ADMIN_TOKEN

CONFIGURABLE = {REFUSED_TOKENS, REFUSED_ORIGINS}
"""Refusals of which the log warns: the token or the page can be the operator's own."""


async def send(server: Serving, data: bytes) -> None:
    """Send bytes, and read until the server closes the connection."""
    async with connection_to(server) as connection:
        reading = asyncio.create_task(connection.closed())
        await connection.send(data)
        if data in UNFINISHED:
            connection.writer.write_eof()
        await reading


async def shake_hands(server: Serving, data: bytes) -> None:
    async with connection_to(server) as connection:
        await connection.send(data)
        assert await connection.reader.read(1)
        connection.writer.write_eof()
        await connection.closed()


async def send_frames(server: Serving, data: bytes) -> None:
    async with opened(server) as socket:
        await socket.connection.send(data, close(1000))
        await socket.connection.closed()


@pytest.mark.slow
async def test_garbage_is_counted_and_leaves_no_traceback(tmp_path: Path, database_url: str) -> None:
    variables = {
        "DROPZERO_ENDPOINTS": f"us-east-1={database_url}",
        "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN,
        "DROPZERO_HOSTS": "test",
        "DROPZERO_LOG": "json",
    }
    async with dropzero_serve(tmp_path / "data", **variables) as server:
        await asyncio.gather(
            *(send(server, data) for data in (*HTTP, *UNFINISHED)),
            *(shake_hands(server, data) for data in HANDSHAKES),
            *(send_frames(server, data) for data in FRAMES),
        )
        headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
        async with server.session.get(f"{server.url}/metrics", headers=headers) as response:
            counted = re.findall(r'^dropzero_refusals_total{what="(.*)"}', await response.text(), re.M)
        assert await server.stop() == 0

    lines = [json.loads(line) for line in server.log.splitlines()]
    assert not any("traceback" in line for line in lines)
    loud = [line["message"] for line in lines if line["level"] != "INFO"]
    assert [message for message in loud if not any(kind in message for kind in CONFIGURABLE)] == []
    kinds = ("request", "head", "version", "method", "host", "handshake", "frame")
    assert set(counted) == {f"a malformed {kind}" for kind in kinds} | CONFIGURABLE
