"""Commands that `tests/fork_server.py` starts, and the client of that program."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

PROGRAM = Path(__file__).with_name("fork_server.py")


@dataclass
class Fork:
    """A command that runs, with the methods of asyncio's Process. `returncode`: its exit status; None until it has
    ended, and negative if a signal ended it."""

    pid: int
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader | None
    returncode: int | None = None
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    async def watch(self, reports: asyncio.StreamReader) -> None:
        """Read the exit status when it comes."""
        status = await reports.readline()
        assert status, "the fork server has ended"
        self.returncode = int(status)
        self._ended.set()

    async def wait(self) -> int:
        """Wait for the end, and return the exit status."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Wait for the end, and return what was written to standard output and to standard error."""
        assert self.stderr is not None
        out, err, _ = await asyncio.gather(self.stdout.read(), self.stderr.read(), self.wait())
        return out, err

    def send_signal(self, number: signal.Signals) -> None:
        """Raises ProcessLookupError when the process has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Pipe:
    """The end that this process reads, as a stream; `written` is the other end."""

    def __init__(self, read: int, written: int) -> None:
        self._file = os.fdopen(read, "rb")
        self.written = written
        self.stream = asyncio.StreamReader()
        self._transport: asyncio.ReadTransport | None = None

    async def connect(self) -> None:
        """Read from now on. The process has the other end by now."""
        os.close(self.written)
        protocol = asyncio.StreamReaderProtocol(self.stream)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, self._file)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class ForkServer:
    """The program, from the first start of a command until `close`. A command that runs then goes on."""

    def __init__(self) -> None:
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._program: subprocess.Popen[bytes] | None = None
        self._starting = threading.Lock()

    @contextlib.asynccontextmanager
    async def started(
        self, arguments: Sequence[str], variables: Mapping[str, str], stderr: IO[bytes] | None = None
    ) -> AsyncIterator[Fork]:
        """Yield a new process of the command. Its standard error is a pipe unless a file is given. The process must
        have ended when the block is left."""
        pipes = [Pipe(*os.pipe()) for _ in range(1 if stderr else 2)]
        written = [pipe.written for pipe in pipes] + ([stderr.fileno()] if stderr else [])
        connection = await asyncio.to_thread(self._request, arguments, variables, written)
        for pipe in pipes:
            await pipe.connect()
        reports, writer = await asyncio.open_unix_connection(sock=connection)
        fork = Fork(int(await reports.readline()), pipes[0].stream, None if stderr else pipes[1].stream)
        watching = asyncio.create_task(fork.watch(reports))
        try:
            yield fork
        finally:
            await watching
            writer.close()
            for pipe in pipes:
                pipe.close()

    def close(self) -> None:
        """End the program, if it was ever started."""
        if self._program is not None and self._folder is not None:
            self._program.communicate()  # closes its standard input
            self._folder.cleanup()
        self._program = self._folder = None

    def _request(self, arguments: Sequence[str], variables: Mapping[str, str], written: list[int]) -> socket.socket:
        """Send the request for a command. Returns the connection that gets the response."""
        body = {"arguments": list(arguments), "variables": dict(variables), "folder": os.getcwd()}
        with open(os.devnull, "rb") as nothing:
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self._path())
            socket.send_fds(connection, [json.dumps(body).encode()], [nothing.fileno(), *written])
        connection.shutdown(socket.SHUT_WR)
        return connection

    def _path(self) -> str:
        """The program's socket. Starts the program if it does not run."""
        with self._starting:
            if self._folder is None:
                folder = tempfile.TemporaryDirectory(prefix="dropzero-")
                program = [sys.executable, "-P", str(PROGRAM), f"{folder.name}/socket"]
                path = os.pathsep.join(filter(None, [str(PROGRAM.parents[1]), os.getenv("PYTHONPATH")]))
                variables, pipe = {**os.environ, "PYTHONPATH": path}, subprocess.PIPE
                self._program = subprocess.Popen(program, stdin=pipe, stdout=pipe, env=variables)
                assert self._program.stdout is not None
                assert self._program.stdout.readline() == b"ready\n"
                self._folder = folder
            return f"{self._folder.name}/socket"
