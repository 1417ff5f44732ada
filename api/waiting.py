"""What a websocket waits for: the next event of its client, and room to send.

Both stand in for objects of asyncio, which keep a deque of 760 bytes for the tasks that wait (asyncio.Queue has three).
An idle socket has no such task.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

E = TypeVar("E")


class Inbox(Generic[E]):
    """The events that one application has not received yet, with the methods of asyncio.Queue that uvicorn calls."""

    __slots__ = ("_events", "_notify")

    def __init__(self) -> None:
        self._events: list[E] = []
        self._notify: Callable[[], None] | None = None

    def empty(self) -> bool:
        return not self._events

    def put_nowait(self, event: E) -> None:
        self._events.append(event)
        self.wake()

    async def get(self) -> E:
        """Wait for the next event, and remove it. One task may wait at a time."""
        while not self._events:
            arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.notify(partial(_set, arrived))
            await arrived
        return self._events.pop(0)

    def notify(self, call: Callable[[], None]) -> None:
        """Call `call` once: when the next event arrives, or at the next `wake`."""
        self._notify = call

    def wake(self) -> None:
        notify, self._notify = self._notify, None
        if notify is not None:
            notify()


class Room:
    """Whether a connection has room for more, with the methods of asyncio.Event that uvicorn calls. Messages that wait
    are sent one after the other, and no later message overtakes them."""

    __slots__ = ("_free", "_open", "_waiting")

    def __init__(self) -> None:
        self._open = self._free = True
        self._waiting: list[asyncio.Event] = []

    def is_set(self) -> bool:
        """Whether a message can be sent at once."""
        return self._free

    def set(self) -> None:
        self._open = True
        self._wake_first()

    def clear(self) -> None:
        self._open = self._free = False

    async def wait(self) -> None:
        """Return when it is this message's turn. The caller sends it without another await."""
        if self._free:
            return
        turn = asyncio.Event()
        self._waiting.append(turn)
        try:
            await turn.wait()
            while not self._open:  # the message before this one has used the room up
                turn.clear()
                await turn.wait()
        finally:
            self._waiting.remove(turn)
            asyncio.get_running_loop().call_soon(self._wake_first)  # when this message has been sent

    def _wake_first(self) -> None:
        self._free = self._open and not self._waiting
        if self._open and self._waiting:
            self._waiting[0].set()


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
