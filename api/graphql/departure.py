"""Departure: what a client waits for in a line is given up when the client leaves."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

EXTENSION = "dropzero.departure"
"""Among the `extensions` of an ASGI scope, where the server knows when a client has left."""


class Departure:
    """The leaving of the client that waits for one response."""

    def __init__(self) -> None:
        self.left = False
        self._waiting: asyncio.Task[object] | None = None

    def leave(self) -> None:
        """The client's connection has ended: cancel the task that waits for it, if one does."""
        self.left = True
        if self._waiting is not None:
            self._waiting.cancel()

    @contextmanager
    def cancels(self) -> Iterator[None]:
        """Cancel the current task if the client leaves within the block, or has left before.

        For waiting that costs nobody anything to break off. A read or a transaction is better brought to its end, as
        its connection to the database would be lost with it.
        """
        task = asyncio.current_task()
        if self.left and task is not None:
            task.cancel()
        self._waiting = task
        try:
            yield
        finally:
            self._waiting = None
