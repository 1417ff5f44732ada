"""The outbox of a connection: what it is to be sent next, without anybody waiting for it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import suppress
from types import coroutine
from typing import Any, Generic, TypeVar

M = TypeVar("M")


class Outbox(Generic[M]):
    """Sends messages in order while the client takes them. While it does not, each subject of an operation has a slot,
    where the latest message replaces one that still waits: a slow reader skips to the present and costs no more memory.

    Whoever never takes anything is not this one's to give up: the connection's protocol does that.
    """

    def __init__(self, send: Callable[[M], Coroutine[Any, Any, None]]) -> None:
        """`send` returns when the connection has room for more, and raises OSError when it is gone."""
        self._send = send
        self._slots: dict[tuple[str, str], M] = {}
        self._draining: asyncio.Task[None] | None = None

    def put(self, operation_id: str, subject: str, message: M) -> None:
        """Send a message now, or as soon as the client has taken what was sent before."""
        if self._draining is not None:
            self._slots[operation_id, subject] = message
            return
        # Nearly always there is room, and the sending ends at its first step: a task for it would cost more than
        # all the rest. Python 3.12 calls this an eager task.
        sending = self._send(message)
        try:
            awaited = sending.send(None)
        except (StopIteration, OSError):
            return
        self._draining = asyncio.create_task(self._drain(_resumed(sending, awaited)), name="outbox")

    def drop(self, operation_id: str) -> None:
        """Forget what still waits for an operation: its id may be used again."""
        for slot in [slot for slot in self._slots if slot[0] == operation_id]:
            del self._slots[slot]

    async def flush(self) -> None:
        """Wait until nothing waits any more, or the connection is gone."""
        if self._draining is not None:
            await asyncio.wait([self._draining])

    def close(self) -> None:
        """Send nothing more."""
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
    """The rest of a coroutine that was begun outside of a task, and waits for something."""
    try:
        yield awaited
    except BaseException:
        sending.close()
        raise
    yield from sending
