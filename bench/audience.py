"""An audience of watchers in a process of its own. It does as little as possible, because it shares the server's cores.

Raw sockets speak graphql-transport-ws with frames made by hand. Of each message only the version is read.
"""

import asyncio
import gc
import multiprocessing
import time
from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

import orjson
import uvloop

from api.process import raise_file_limit
from bench.products import Level
from bench.watching_socket import LAST_FIELD, Watch, WatchingSocket, connect

CONNECTING = 200
"""Sockets that are opened at the same time."""

CONNECT_TIMEOUT = 120.0
SETTLE_TIMEOUT = 15.0
LEAVE_TIMEOUT = 30.0


@dataclass(frozen=True)
class Deliveries:
    """The messages that arrived: three columns, an entry for each message. Times are from time.perf_counter(), which is
    one clock for all processes of a machine."""

    watchers: "array[int]" = field(default_factory=lambda: array("i"))
    versions: "array[int]" = field(default_factory=lambda: array("i"))
    times: "array[float]" = field(default_factory=lambda: array("d"))

    def note(self, watcher: int, version: int, moment: float) -> None:
        self.watchers.append(watcher)
        self.versions.append(version)
        self.times.append(moment)

    def clear(self) -> None:
        for column in (self.watchers, self.versions, self.times):
            del column[:]


class Audience:
    """The handle of the process. It answers requests one by one."""

    def __init__(self, connection: Connection, watches: Sequence[Watch]) -> None:
        self.watches = watches
        self._connection = connection

    def mark(self) -> None:
        """Drop the messages that have arrived until now."""
        self._ask("mark", (), SETTLE_TIMEOUT)

    def deliveries(self) -> Deliveries:
        """The messages since the mark, of the watchers that read."""
        answer: Deliveries = self._ask("deliveries", (), SETTLE_TIMEOUT)
        return answer

    def message(self) -> str:
        """The last message of the first watcher."""
        answer: str = self._ask("message", (), SETTLE_TIMEOUT)
        return answer

    def settle(self, levels: Mapping[str, Level]) -> None:
        """Wait until every watcher that reads has the level of its product in the database. Ends the bench if one does
        not get it, if a version fell, or if a connection was lost."""
        wrong: list[str] = self._ask("settle", (levels,), SETTLE_TIMEOUT * 2)
        if wrong:
            raise SystemExit(f"{len(wrong)} watchers do not have the level of the database: {'; '.join(wrong[:5])}")

    def leave(self) -> None:
        """Close all sockets as a browser does."""
        self._ask("leave", (), LEAVE_TIMEOUT * 2)

    def _ask(self, request: str, arguments: tuple[Any, ...], seconds: float) -> Any:
        self._connection.send((request, arguments))
        return _answer(self._connection, seconds)


@contextmanager
def audience(url: str, watches: Sequence[Watch]) -> Iterator[Audience]:
    """Yield watchers that are connected, and each of which has its first message."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_attend, args=(theirs, url, watches), daemon=True)
    process.start()
    theirs.close()
    try:
        failure = _answer(ours, CONNECT_TIMEOUT)
        if failure:
            raise SystemExit(f"the watchers cannot connect: {failure}")
        yield Audience(ours, watches)
    finally:
        ours.close()
        process.terminate()
        process.join()


def _answer(connection: Connection, seconds: float) -> Any:
    if not connection.poll(seconds):
        raise SystemExit(f"the audience did not answer within {seconds:g} s")
    return connection.recv()


def _attend(connection: Connection, url: str, watches: Sequence[Watch]) -> None:
    raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_Attendance(connection).run(url, watches))


class _Attendance:
    """The part that runs in the process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._arrived = Deliveries()
        self._sockets: list[WatchingSocket] = []

    async def run(self, url: str, watches: Sequence[Watch]) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT - 5):
                await self._connect(url, watches)
        except (OSError, TimeoutError, ConnectionError) as error:
            self._connection.send(str(error) or type(error).__name__)
            return
        gc.collect()
        gc.freeze()
        gc.disable()  # messages leave no reference cycles
        self._connection.send("")
        answers: dict[str, Callable[..., Awaitable[Any]]] = {
            "mark": self._mark,
            "deliveries": self._deliveries,
            "message": self._message,
            "settle": self._settle,
            "leave": self._leave,
        }
        while True:
            try:
                request, arguments = await asyncio.to_thread(self._connection.recv)
            except EOFError:
                return
            self._connection.send(await answers[request](*arguments))

    async def _connect(self, url: str, watches: Sequence[Watch]) -> None:
        where = urlsplit(url)
        doors = asyncio.Semaphore(CONNECTING)

        async def take(socket: WatchingSocket) -> None:
            async with doors:
                await connect(socket, where.hostname or "", where.port or 0)
                await socket.ready

        self._sockets = [WatchingSocket(number, watch, self._arrived.note) for number, watch in enumerate(watches)]
        await asyncio.gather(*map(take, self._sockets))

    async def _mark(self) -> None:
        self._arrived.clear()

    async def _deliveries(self) -> Deliveries:
        return self._arrived

    async def _message(self) -> str:
        return self._sockets[0].last.decode()

    async def _settle(self, levels: Mapping[str, Level]) -> list[str]:
        reading = [socket for socket in self._sockets if not socket.watch.stalls]
        late = reading
        deadline = time.perf_counter() + SETTLE_TIMEOUT
        while late and time.perf_counter() < deadline:
            await asyncio.sleep(0.1)
            late = [socket for socket in late if socket.version != levels[socket.watch.product_id].version]
        return [wrong for socket in reading if (wrong := _wrong(socket, levels[socket.watch.product_id]))]

    async def _leave(self) -> None:
        async with asyncio.timeout(LEAVE_TIMEOUT):
            await asyncio.gather(*(socket.leave() for socket in self._sockets))


def _wrong(socket: WatchingSocket, level: Level) -> str:
    """What is wrong with the messages of a watcher; empty if nothing is."""
    if socket.failure:
        return socket.failure
    told = orjson.loads(socket.last)["payload"]["data"]["stockChanged"]
    if (told["stock"], told[LAST_FIELD]) != (level.stock, level.version):
        return f"its last message has {told['stock']} at {told[LAST_FIELD]}, and the database has {level}"
    return ""
