"""Work of the event loop, beside what a test is about."""

import asyncio
from time import thread_time

from api.identity.turns import LENGTH


def work(seconds: float) -> None:
    """Keep the processor busy."""
    end = thread_time() + seconds
    while thread_time() < end:
        pass


class Others:
    """Other work of the event loop: a piece in each of its rounds, until the block ends."""

    def __init__(self) -> None:
        self.used = 0.0

    async def __aenter__(self) -> "Others":
        self._task = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _work(self) -> None:
        while True:
            begun = thread_time()
            work(LENGTH / 5)
            self.used += thread_time() - begun
            await asyncio.sleep(0)
