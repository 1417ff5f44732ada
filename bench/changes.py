"""Changes of stock at a steady pace, and how long each took to arrive at the watchers."""

import asyncio
import random
import statistics
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import aiohttp

from api.client.load import percentile
from bench.audience import Deliveries
from bench.client import purchase
from bench.servers import Process
from bench.watching_socket import Watch

PHASE = 20.0
"""Seconds of changes. It is the interval of pings, so that every phase has equally many pings."""


@dataclass(frozen=True)
class Change:
    """A new version of a product's stock. `sent` is when its purchase was sent, by time.perf_counter(). The commit came
    later, by as long as a purchase takes."""

    product_id: str
    version: int
    sent: float


async def buy(server: Process, product_ids: Sequence[str], per_second: int, *, scattered: bool = False) -> list[Change]:
    """Purchases of one product after the other, through the server. If `scattered`, their moments have no
    fixed relation to those at which a server polls."""
    changes = []
    async with aiohttp.ClientSession(headers=server.authorization) as session:
        async for number in _pace(per_second):
            if scattered:
                await asyncio.sleep(random.uniform(0, 0.3 / per_second))  # noqa: S311
            product_id, sent = product_ids[number % len(product_ids)], time.perf_counter()
            answer = await purchase(session, server.url, product_id, sent, with_version=True)
            if answer.status != "CONFIRMED":
                raise SystemExit(f"a purchase was answered with {answer.status}")
            changes.append(Change(product_id, answer.version, sent))
    return changes


async def buy_once(server: Process, product_id: str) -> None:
    """One purchase."""
    async with aiohttp.ClientSession(headers=server.authorization) as session:
        await purchase(session, server.url, product_id, time.perf_counter())


async def post(url: str, messages: Sequence[tuple[int, str]], product_id: str, per_second: int) -> list[Change]:
    """Messages with their versions, for the bare server to send. An empty message is not sent."""
    changes = []
    async with aiohttp.ClientSession() as session:
        async for number in _pace(per_second):
            version, text = messages[number]
            sent = time.perf_counter()
            async with session.post(f"{url}/send", data=text.encode()) as response:
                response.raise_for_status()
            changes.append(Change(product_id, version, sent))
    return changes


def latencies(changes: Sequence[Change], arrived: Deliveries, watches: Sequence[Watch]) -> dict[str, float]:
    """Milliseconds until the first, the median and the last watcher had a change or a later one, over all changes."""
    seen: dict[int, tuple[list[int], list[float]]] = {
        number: ([], []) for number, watch in enumerate(watches) if not watch.stalls
    }
    for watcher, version, moment in zip(arrived.watchers, arrived.versions, arrived.times, strict=True):
        versions, moments = seen[watcher]
        versions.append(version)
        moments.append(moment)
    watching = defaultdict(list)
    for number, columns in seen.items():
        watching[watches[number].product_id].append(columns)
    reached: dict[str, list[float]] = {"first": [], "median": [], "last": []}
    for change in changes:
        took = [
            (moments[bisect_left(versions, change.version)] - change.sent) * 1000
            for versions, moments in watching[change.product_id]
        ]
        for name, value in (("first", min(took)), ("median", statistics.median(took)), ("last", max(took))):
            reached[name].append(value)
    return {
        f"{name}_p{percent}_ms": percentile(values, percent) for name, values in reached.items() for percent in (50, 99)
    }


async def _pace(per_second: int) -> AsyncIterator[int]:
    """Numbers at a steady pace, for the length of a phase. A number that is late delays no other."""
    start = time.perf_counter()
    for number in range(int(PHASE * per_second)):
        await asyncio.sleep(max(0.0, start + number / per_second - time.perf_counter()))
        yield number
    await asyncio.sleep(max(0.0, start + PHASE - time.perf_counter()))
