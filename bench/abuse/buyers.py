"""The honest buyers: each buys one unit after the other, with a key that no other purchase has."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from api.client.load import percentile
from bench.abuse.attack import Target
from bench.abuse.guests import HONEST, token_of
from bench.client import Answer, purchase

BUYERS = 50
WAIT = 60.0
"""Seconds that a buyer waits for an answer."""

ERROR_PAUSE = 0.05
"""Seconds between a failed purchase and the next one of the same buyer."""


@dataclass(frozen=True)
class Window:
    """The buyers' results in some seconds. `p99` is in milliseconds, and counts those who still waited at the end."""

    per_s: float
    p99: float
    unsold: Counter[str]


class Buyers:
    """All buyers of one product."""

    def __init__(self, url: str, target: Target, most_per_s: float) -> None:
        self.order_ids: set[str] = set()
        self.lost = 0
        """Purchases without an answer, which may have been sold."""
        self._url = url
        self._target = target
        self._interval = BUYERS / most_per_s
        self._answers: list[Answer] = []
        self._waiting: dict[int, float] = {}
        self._closed = False

    async def window(self, seconds: float) -> Window:
        """Measure the results of some seconds."""
        self._answers, begun = [], time.perf_counter()
        await asyncio.sleep(seconds)
        now = time.perf_counter()
        answers = self._answers
        latencies = [answer.latency_ms for answer in answers] + [(now - due) * 1000 for due in self._waiting.values()]
        statuses = Counter(answer.status for answer in answers)
        sold = statuses.pop("CONFIRMED", 0)
        return Window(sold / (now - begun), percentile(latencies, 99) if latencies else 0.0, statuses)

    async def buy(self, session: aiohttp.ClientSession, number: int) -> None:
        """Purchase until the buyers are stopped."""
        guest = f"{HONEST}{number}"
        user_ref, token = (guest, token_of(guest)) if self._target.guests else (None, "")
        while not self._closed:
            due = self._waiting[number] = time.perf_counter()
            answer = await purchase(session, self._url, self._target.product_id, due, user_ref=user_ref, token=token)
            del self._waiting[number]
            self._answers.append(answer)
            if answer.order_id is not None:
                self.order_ids.add(answer.order_id)
            else:
                self.lost += answer.status.startswith("error")
                await asyncio.sleep(ERROR_PAUSE)
            early = due + self._interval - time.perf_counter()
            if early > 0:
                await asyncio.sleep(early)

    def close(self) -> None:
        """Let every buyer finish the current purchase, and send no other."""
        self._closed = True


@asynccontextmanager
async def buyers(url: str, target: Target, most_per_s: float) -> AsyncIterator[Buyers]:
    """Yield buyers who purchase while the block runs, all together at most `most_per_s` times a second. When the block
    ends, every purchase has been answered."""
    timeout = aiohttp.ClientTimeout(total=WAIT)
    crowd = Buyers(url, target, most_per_s)
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        for number in range(BUYERS):
            group.create_task(crowd.buy(session, number))
        try:
            yield crowd
        finally:
            crowd.close()
