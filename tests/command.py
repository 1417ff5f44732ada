"""Runs the `dropzero` command as its users do: as a process of its own, with an environment of its own.

Most of a short command's time is imports. So processes are forks of one that has imported the command already, but for
those that `started` starts; and commands that only call a server can also run in a thread.
"""

import asyncio
import contextlib
import io
import os
import re
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from unittest import mock

import aiohttp

from api import cli
from api.settings import read_settings
from tests.forks import Fork, ForkServer
from tests.patience import PATIENCE
from tests.server import ADMIN_TOKEN, Server

DROPZERO = (sys.executable, "-m", "api")

FORKS = ForkServer()
"""For all commands of this process of the run, which closes it at its end."""

GRACE = 20.0
"""Seconds that a process has to end after SIGTERM, before it is killed."""


def environment(changes: Mapping[str, str]) -> dict[str, str]:
    """This process's environment with the changes, and without the variables that dropzero and the terminal read.

    Processes write bytecode, so that not every one compiles this project again.
    """
    others = ("DROPZERO_", "OTEL_", "COLUMNS", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(others)}
    return {**kept, **changes}


@dataclass(frozen=True)
class Run:
    """A command that has ended: its exit status, its standard output and its standard error."""

    status: int | None
    out: str
    err: str


async def dropzero(*arguments: str, **variables: str) -> Run:
    """Run the command as a process to its end. Raises TimeoutError if it does not end."""
    async with forked(arguments, variables) as process:
        return await ended(process)


async def ended(process: Process | Fork) -> Run:
    """Wait for a process to end. Raises TimeoutError when it does not end."""
    async with asyncio.timeout(PATIENCE):
        out, err = await process.communicate()
    return Run(process.returncode, out.decode(), err.decode())


@contextlib.asynccontextmanager
async def started(program: str | Path, *arguments: str | Path, **options: Any) -> AsyncIterator[Process]:
    """Yield a new process. It has ended when the block is left, whatever happens: by itself, by SIGTERM, or killed."""
    process = await asyncio.create_subprocess_exec(program, *arguments, **options)
    try:
        yield process
    finally:
        # Shielded, so that a test that is cancelled a second time also leaves no process.
        await asyncio.shield(asyncio.create_task(_end(process)))


@contextlib.asynccontextmanager
async def forked(
    arguments: Sequence[str], variables: Mapping[str, str], stderr: IO[bytes] | None = None
) -> AsyncIterator[Fork]:
    """Yield a new process of the command. It has ended when the block is left, as that of `started`. Its standard
    error is a pipe unless a file is given."""
    async with FORKS.started(arguments, environment(variables), stderr) as process:
        try:
            yield process
        finally:
            await asyncio.shield(asyncio.create_task(_end(process)))


async def _end(process: Process | Fork) -> None:
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(GRACE):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        async with asyncio.timeout(GRACE):
            await process.wait()


async def dropzero_here(*arguments: str, **variables: str) -> Run:
    """Run a command that only calls a server, in a thread of this process."""
    out, err = io.StringIO(), io.StringIO()

    def run() -> int:
        try:
            cli.main()
        except SystemExit as end:
            return int(end.code or 0)
        raise AssertionError("unreachable")  # Typer always ends by exiting

    with (
        mock.patch.dict(os.environ, environment(variables), clear=True),
        mock.patch("sys.argv", ["dropzero", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        status = await asyncio.to_thread(run)
    return Run(status, out.getvalue(), err.getvalue())


async def operator(server: Server, *arguments: str, **variables: str) -> Run:
    """Run a command as the operator of the server."""
    asked = {"DROPZERO_URL": server.url, "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN}
    return await dropzero_here(*arguments, **{**asked, **variables})


@dataclass(frozen=True)
class Serving(Server):
    """`dropzero serve` as a process that listens, with its announcement and its log file."""

    process: Process | Fork
    announced: str
    log_file: Path
    token: str

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> int | None:
        """Send the signal, wait for the end, and return the exit status."""
        self.process.send_signal(how)
        return await self.end()

    async def end(self) -> int | None:
        """Wait for the end and return the exit status. Raises TimeoutError if the process does not end."""
        async with asyncio.timeout(PATIENCE):
            return await self.process.wait()

    @property
    def log(self) -> str:
        return self.log_file.read_text()


@contextlib.asynccontextmanager
async def dropzero_serve(data: Path, *arguments: str, **variables: str) -> AsyncIterator[Serving]:
    """Serve on a free port, with the data folder, until the block is left.

    Raises TimeoutError if it does not print its announcement, and AssertionError if it ends before.
    """
    log_file = data.with_suffix(".log")
    # Without the drain at the end of a server that has endpoints of its own.
    there = {"DROPZERO_DATA": str(data), "DROPZERO_DRAIN_S": "0", **variables}
    with log_file.open("ab") as log:
        async with forked(["serve", "--port", "0", *arguments], there, log) as process:
            try:
                async with asyncio.timeout(PATIENCE):
                    announced = (await process.stdout.readuntil(b"Regions")).decode()
            except asyncio.IncompleteReadError as end:
                raise AssertionError(f"it ended before it was open: {end.partial!r}, {log_file.read_text()}") from None
            url = re.search(r"Storefront +(http://\S+)/\n", announced)
            token = re.search(r"Bearer (\S+)\n", announced)
            assert url is not None
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                yield Serving(
                    url[1],
                    read_settings(variables),
                    session,
                    process,
                    announced,
                    log_file,
                    token[1] if token is not None else "",
                )
