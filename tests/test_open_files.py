"""A process that can open no more files logs it, once a minute, and serves again when it can."""

import asyncio
import contextlib
import logging
import os
import resource
from pathlib import Path

import aiohttp
import pytest

from api.open_files import OpenFiles
from tests.command import dropzero_serve
from tests.patience import until

LINE = "Too many open files: new connections are closed at once; allow this process more files (ulimit -n)"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux alone changes the limits of another process")
async def test_a_server_without_a_free_file_logs_it_and_serves_again(tmp_path: Path) -> None:
    async with dropzero_serve(tmp_path / "data") as server, contextlib.AsyncExitStack() as clients:
        assert "Too many open files" not in server.log
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (100, 100))
        port = int(server.url.rpartition(":")[2])
        for _ in range(150):
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                clients.callback(writer.close)
        await until(lambda: LINE in server.log)
        await clients.aclose()

        async def is_served() -> bool:
            with contextlib.suppress(aiohttp.ClientError):
                return "__typename" in await server.data("{ __typename }")
            return False

        await until(is_served)
        assert server.log.count("Too many open files") == 1
        assert "Traceback" not in server.log


def test_a_shortage_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    files = OpenFiles(lambda: now)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with caplog.at_level(logging.ERROR, "dropzero.server"):
        files.check()
        assert caplog.messages == []
        lowest_free = os.open(os.devnull, os.O_RDONLY)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            for now in (0.0, 1.0, 59.0, 60.0, 61.0):  # noqa: B007 - the clock reads it
                files.check()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(LINE)
