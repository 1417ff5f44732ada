"""The outlet of a connection: the messages to send next. Nobody waits until they are sent."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from types import coroutine
from typing import Any, Generic, TypeVar

M = TypeVar("M")

MAX_WAITING = 1_000
"""Messages that wait for one connection before it gets no more of those without a subject. A reader that keeps up has
none waiting. With an order in each, they take half a megabyte."""


class Outlet(Generic[M]):
    """Sends messages in order while the client reads them. While the client does not read, each subject of an operation
    has one slot. A new message replaces the waiting message in its slot: a slow reader skips to the present, and costs
    no more memory. Messages without a subject all wait, up to MAX_WAITING.

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
        self._slots: dict[tuple[str, object], M] = {}
        self._draining: asyncio.Task[None] | None = None

    def put(self, operation_id: str, subject: str | None, message: M) -> bool:
        """Send a message now, or as soon as the client has read the messages before it. Returns False for a message
        without a subject that is dropped, since too many wait."""
        if self._draining is not None:
            if subject is None and len(self._slots) >= MAX_WAITING:
                return False
            self._slots[operation_id, object() if subject is None else subject] = message
            return True
        # Without `write`, too, there is room nearly always, and `send` returns at its first step. A task for it would
        # cost more than all the rest, so the first step is made here, by hand. If `send` returns (StopIteration), the
        # message is sent. If it waits, it yields a future, and a task makes the remaining steps once it is done.
        # This relies on asyncio: a task may resume a coroutine that was begun outside of it, and waits for whatever
        # future the coroutine yielded. In its first step `send` must not use asyncio.timeout or current_task: they
        # would find the caller's task. It stays until Python 3.12's eager tasks, which do the same, are the floor.
        try:
            if self._write(message):
                return True
            sending = self._send(message)
            awaited = sending.send(None)
        except (StopIteration, OSError):
            return True
        self._draining = asyncio.create_task(self._drain(_resumed(sending, awaited)), name="outlet")
        return True

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
