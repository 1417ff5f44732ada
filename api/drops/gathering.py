"""Gathering: callers that wait together share one read."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

MAX_KEYS = 1_000
"""A read with so many keys accepts no more callers. The last caller's keys can exceed it."""


@dataclass(slots=True, eq=False)
class _Batch(Generic[K, V]):
    """Keys that are read together, and a future for each of the callers that wait for their values."""

    keys: set[K] = field(default_factory=set)
    callers: "list[asyncio.Future[Mapping[K, V]]]" = field(default_factory=list)

    def waiting(self) -> "Iterator[asyncio.Future[Mapping[K, V]]]":
        """The callers that have not been cancelled."""
        return (caller for caller in self.callers if not caller.done())


class Gathering(Generic[K, V]):
    """Reads values by key, one read at a time. Callers that come while a read is under way share the next read. So no
    caller gets a value that was read before its call, and any number of callers use one connection.

    Cancelling a caller does not cancel the read: that would cost the connection.
    """

    def __init__(
        self,
        read: Callable[[list[K]], Awaitable[Mapping[K, V]]],
        max_keys: int = MAX_KEYS,
        idle: Callable[[], None] | None = None,
    ) -> None:
        """`read` returns the values of those keys that exist. `idle` is called when a read has ended and nobody waits
        for the next one."""
        self._read = read
        self._max_keys = max_keys
        self._idle = idle
        self._waiting: deque[_Batch[K, V]] = deque()
        self._reading: asyncio.Task[None] | None = None

    async def get(self, keys: Iterable[K]) -> dict[K, V]:
        """The values of those keys that exist. Raises what the read raises."""
        wanted = tuple(keys)
        if not self._waiting or len(self._waiting[-1].keys) >= self._max_keys:
            self._waiting.append(_Batch())
        batch = self._waiting[-1]
        batch.keys.update(wanted)
        caller: asyncio.Future[Mapping[K, V]] = asyncio.get_running_loop().create_future()
        batch.callers.append(caller)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read_all(), name="gathered read")
        found = await caller
        return {key: found[key] for key in wanted if key in found}

    async def close(self) -> None:
        """Cancel the read. Callers that still wait are cancelled."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])

    async def _read_all(self) -> None:
        batch: _Batch[K, V] | None = None
        try:
            while self._waiting:
                batch = self._waiting.popleft()
                try:
                    found = await self._read(list(batch.keys))
                except Exception as error:
                    for caller in batch.waiting():
                        caller.set_exception(error)
                else:
                    for caller in batch.waiting():
                        caller.set_result(found)
                batch = None
        finally:
            for left in filter(None, (batch, *self._waiting)):
                for caller in left.callers:
                    caller.cancel()
            self._waiting.clear()
            self._reading = None
            if self._idle is not None:
                self._idle()
