"""Departure: a client that leaves takes its purchase out of the line."""

import asyncio
from time import time_ns
from typing import Self

EXTENSION = "dropzero.departure"
"""The key of the Departure among the `extensions` of an ASGI scope. A server that does not report when a
client leaves has no such key."""


class Departure:
    """Whether the client that waits for one response has left."""

    def __init__(self) -> None:
        self.left = False
        self.arrived = time_ns()
        """When the request arrived, in nanoseconds since 1970: the begin of its span, if it is traced."""
        self._waiting: asyncio.Task[object] | None = None

    def leave(self) -> None:
        """The client's connection has ended: cancel the task that waits for it, if one does."""
        self.left = True
        if self._waiting is not None:
            self._waiting.cancel()

    def cancels(self) -> Self:
        """The block behind `with departure.cancels():` is cancelled if the client leaves within it, or has left before.

        Use it around waiting that can be cancelled at no cost. Let a read or a transaction come to its end: cancelling
        it would cost its connection to the database.
        """
        return self

    def __enter__(self) -> None:
        task = asyncio.current_task()
        if self.left and task is not None:
            task.cancel()
        self._waiting = task

    def __exit__(self, *_: object) -> None:
        self._waiting = None
