"""The outbox of a connection: the messages to send next. Nobody waits until they are sent."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from types import coroutine
from typing import Any, Generic, TypeVar

M = TypeVar("M")


class Outbox(Generic[M]):
    """Sends messages in order while the client reads them. While the client does not read, each subject of an operation
    has one slot. A new message replaces the waiting message in its slot: a slow reader skips to the present, and costs
    no more memory.

    A client that never reads is disconnected by the connection's protocol (`api/slow_clients.py`), not here.
    """

    __slots__ = ("_draining", "_send", "_slots", "_write")

    def __init__(
        self, send: Callable[[M], Coroutine[Any, Any, None]], write: Callable[[M], bool] = lambda _: False
    ) -> None:
        """`send` returns when the connection has room for more. `write` sends a message at once, and returns whether it
        could. Both raise OSError when the connection is closed."""
        self._send = send
        self._write = write
        self._slots: dict[tuple[str, str], M] = {}
        self._draining: asyncio.Task[None] | None = None

    def put(self, operation_id: str, subject: str, message: M) -> None:
        """Send a message now, or as soon as the client has read the messages before it."""
        if self._draining is not None:
            self._slots[operation_id, subject] = message
            return
        # Without `write`, too, there is room nearly always, and `send` returns at its first step. A task for it would
        # cost more than all the rest, so the first step is made here, by hand. If `send` returns (StopIteration), the
        # message is sent. If it waits, it yields a future, and a task makes the remaining steps once it is done.
        # This relies on asyncio: a task may resume a coroutine that was begun outside of it, and waits for whatever
        # future the coroutine yielded. In its first step `send` must not use asyncio.timeout or current_task: they
        # would find the caller's task. It stays until Python 3.12's eager tasks, which do the same, are the floor.
        try:
            if self._write(message):
                return
            sending = self._send(message)
            awaited = sending.send(None)
        except (StopIteration, OSError):
            return
        self._draining = asyncio.create_task(self._drain(_resumed(sending, awaited)), name="outbox")

    def drop(self, operation_id: str) -> None:
        """Drop the waiting messages of an operation: its id may be used again."""
        for slot in [slot for slot in self._slots if slot[0] == operation_id]:
            del self._slots[slot]

    async def flush(self) -> None:
        """Wait until no message waits any more, or the connection is closed."""
        if self._draining is not None:
            await asyncio.wait([self._draining])

    def close(self) -> None:
        """Drop the waiting messages, and stop sending."""
        self._slots.clear()
        if self._draining is not None:
            self._draining.cancel()

    async def _drain(self, sending: Awaitable[None]) -> None:
        with suppress(OSError):
            await sending
            while self._slots:
                await self._send(self._slots.pop(next(iter(self._slots))))
            self._draining = None


@coroutine
def _resumed(sending: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """The rest of a coroutine whose first step yielded `awaited`. The task that runs it waits for `awaited` first."""
    try:
        yield awaited
    except BaseException:
        sending.close()
        raise
    yield from sending
