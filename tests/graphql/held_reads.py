"""Reads of a server in this process that a test holds, and the requests that wait for them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from api.database.regions import Regions
from api.graphql.departure import Departure
from api.graphql.response import Response
from api.graphql.shared_reads import Read, SharedReads
from tests.patience import PATIENCE, until


class HeldReads:
    """The database reads and the shared reads of the servers in this process.

    `statements`: database reads that have begun. `results`: those that the database has answered. `waiting`: requests
    that wait for a shared read. `reads`: what they wait for. `error`: what database reads raise.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.statements = 0
        self.results = 0
        self.waiting = 0
        self.reads: SharedReads | None = None
        self.error: Exception | None = None
        self._before, self._after = asyncio.Event(), asyncio.Event()
        self._before.set()
        self._after.set()
        fetch, respond = Regions.fetch, SharedReads.respond

        async def held_fetch(regions: Regions, statement: str, *arguments: Any) -> Any:
            self.statements += 1
            await self._before.wait()
            if self.error is not None:
                raise self.error
            rows = await fetch(regions, statement, *arguments, timeout=PATIENCE)
            self.results += 1
            await self._after.wait()
            return rows

        async def counted_respond(reads: SharedReads, read: Read, client: str, departure: Departure) -> Response:
            self.reads = reads
            self.waiting += 1
            try:
                return await respond(reads, read, client, departure)
            finally:
                self.waiting -= 1

        monkeypatch.setattr(Regions, "fetch", held_fetch)
        monkeypatch.setattr(SharedReads, "respond", counted_respond)

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold each read until the block ends, before it is sent to the database."""
        self._before.clear()
        try:
            yield
        finally:
            self._before.set()

    @asynccontextmanager
    async def held_back(self) -> AsyncIterator[None]:
        """Hold the result of each read until the block ends."""
        self._after.clear()
        try:
            yield
        finally:
            self._after.set()

    async def until(self, *, waiting: int, statements: int | None = None) -> None:
        """Wait until so many requests wait, and so many database reads have begun."""
        await until(lambda: self.waiting == waiting and statements in (None, self.statements))
