"""A fleet: server processes that sell the same drops through two Regions, and are killed while they sell."""

import asyncio
import random
import signal
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Self

from tests.command import Serving, dropzero_serve
from tests.dsql.stand_in import StandIn
from tests.dsql.token import CREDENTIALS
from tests.server import ADMIN_TOKEN


class Fleet:
    """`size` processes of `dropzero serve` on one database. Every other one has the peer as its home."""

    def __init__(
        self, directory: Path, size: int, home: StandIn, peer: StandIn, chance: random.Random, **variables: str
    ) -> None:
        """`variables` are added to the environment of every server."""
        self._directory = directory
        self._variables = variables
        self._chance = chance
        self._endpoints = [f"{endpoint.region}={endpoint.url}" for endpoint in (home, peer)]
        self._running = [AsyncExitStack() for _ in range(size)]
        self._up: dict[int, Serving] = {}

    @property
    def size(self) -> int:
        return len(self._running)

    def variables(self, number: int) -> dict[str, str]:
        """The environment of a server, and of a command beside it."""
        endpoints = self._endpoints[:: -1 if number % 2 else 1]
        own = {"DROPZERO_ENDPOINTS": ",".join(endpoints), "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN}
        return {**own, **CREDENTIALS, **self._variables}

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.TaskGroup() as starting:
                for number in range(self.size):
                    starting.create_task(self.start(number))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(running.aclose() for running in self._running))

    async def start(self, number: int) -> None:
        """Start a server, and wait until it accepts connections."""
        variables = self.variables(number)
        serving = dropzero_serve(self._directory / f"server-{number}", **variables)
        self._up[number] = await self._running[number].enter_async_context(serving)

    async def kill(self, number: int) -> None:
        """Kill a server with SIGKILL."""
        await self._up.pop(number).stop(signal.SIGKILL)
        await self._running[number].aclose()

    def another(self, than: Serving | None = None) -> Serving:
        """Return a server by chance, but another `than` the one that was used before, if there is another. It is none
        that was killed, since another program may have its port by now."""
        up = list(self._up.values())
        return self._chance.choice([server for server in up if server is not than] or up)

    @property
    def tracebacks(self) -> int:
        """How many defects the servers have logged. A fault of the database is logged without a traceback."""
        logs = [(self._directory / f"server-{number}.log").read_text() for number in range(self.size)]
        return sum(log.count("Traceback") for log in logs)
