"""/metrics of a server with several workers: each worker answers with the figures of all."""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
from prometheus_client.mmap_dict import MmapedDict

from api.database.embedded import running_embedded_url
from tests.command import Serving, dropzero_serve
from tests.patience import PATIENCE, until
from tests.server import PURCHASE

pytestmark = pytest.mark.slow

SAMPLE = "0d509e70-0000-4000-8000-000000000001"


def workers(server: Serving) -> set[int]:
    """The processes that serve: those of the server's children that listen."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return {int(pid) for pid in children if "spawn_main" in command_line(pid)}


def command_line(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # it has ended meanwhile


async def buy(server: Serving, purchases: int) -> list[dict[str, Any]]:
    """Buy, each time on a new connection: the system spreads connections over the workers. Returns the answers."""

    async def one(number: int) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session:
            body = {"query": PURCHASE, "variables": {"input": {"productId": SAMPLE, "userRef": f"b-{number}"}}}
            async with session.post(f"{server.url}/graphql", json=body) as response:
                answer = await response.json()
        assert "errors" not in answer
        purchase: dict[str, Any] = answer["data"]["purchase"]
        return purchase

    answers: list[dict[str, Any]] = []
    for first in range(0, purchases, 20):
        answers += await asyncio.gather(*(one(number) for number in range(first, min(first + 20, purchases))))
    return answers


class Scrapes:
    """Scrapes, each on a new connection, and the counters, which no later scrape may show lower."""

    def __init__(self, server: Serving) -> None:
        self._server = server
        self._counters: dict[str, float] = {}

    async def look(self) -> dict[str, float]:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self._server.url}/metrics") as response,
        ):
            assert response.status == 200
            lines = (await response.text()).splitlines()
        figures = {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}
        assert len(figures) == len([line for line in lines if line[0] != "#"])
        for name, before in self._counters.items():
            assert figures.get(name, 0) >= before, name
        self._counters = {name: value for name, value in figures.items() if re.match(r"\w+_total\b", name)}
        return figures

    async def purchases(self) -> float:
        return total(await self.look(), "dropzero_purchases_total")

    async def shows(self, purchases: int) -> bool:
        """Whether several scrapes, of any workers, all show exactly so many."""
        return [await self.purchases() for _ in range(8)] == [purchases] * 8


def purchases_of_each(server: Serving) -> list[float]:
    """The purchases that each of the two workers has counted, as it has copied them."""
    [folder] = {folder for pid in workers(server) for folder in open_folders(pid)}
    files = sorted(Path(folder).glob("counter_*.db"))
    assert len(files) == 2
    return [
        sum(value for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)) if "purchases_total" in key)
        for file in files
    ]


def total(figures: dict[str, float], metric: str) -> float:
    return sum(value for name, value in figures.items() if name.partition("{")[0] == metric)


@asynccontextmanager
async def two_workers(data: Path) -> AsyncIterator[Serving]:
    async with dropzero_serve(data, "--workers", "2") as server:
        yield server


async def test_every_scrape_is_the_sum_of_the_workers_and_no_counter_goes_down(data: Path) -> None:
    async with two_workers(data) as server:
        scrapes = Scrapes(server)
        buying = asyncio.create_task(buy(server, 200))
        while not buying.done():
            assert await scrapes.purchases() <= 200
        answers = await buying
        await until(lambda: scrapes.shows(200))

        figures = await scrapes.look()
        for outcome, count in Counter(answer["__typename"].removeprefix("Purchase") for answer in answers).items():
            assert figures[f'dropzero_product_purchases_total{{outcome="{outcome}",product="{SAMPLE}"}}'] == count
        attempts = sum(answer["attempts"] for answer in answers)
        assert figures["dropzero_purchase_attempts_sum"] == figures["dropzero_group_size_sum"] == attempts
        assert 0 < figures["dropzero_purchase_seconds_sum"] < 200 * PATIENCE
        transactions = int(total(figures, "dropzero_purchase_transactions_total"))
        for histogram, count in [
            ("purchase_seconds", 200),
            ("purchase_attempts", 200),
            ("transaction_seconds", transactions),
            ("group_size", transactions),
            ("line_length", transactions),
        ]:
            assert figures[f"dropzero_{histogram}_count"] == count, histogram
            assert figures[f'dropzero_{histogram}_bucket{{le="+Inf"}}'] == count, histogram
        assert total(figures, "dropzero_build_info") == 1
        assert all(count > 0 for count in purchases_of_each(server)), "each worker has served some of them"
        assert total(figures, "dropzero_sockets_limit") == 2 * 15_000
        assert figures['dropzero_purchases_waiting{region="ap-northeast-1"}'] == 0
        assert figures['dropzero_region_away{region="ap-northeast-1"}'] == 0
        assert await server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in server.log


async def test_a_worker_that_is_killed_keeps_its_counts_and_loses_its_gauges(data: Path) -> None:
    async with two_workers(data) as server:
        scrapes = Scrapes(server)
        await buy(server, 100)
        await until(lambda: scrapes.shows(100))
        for killed in range(1, 3):
            both = workers(server)
            assert len(both) == 2
            os.kill(min(both), signal.SIGKILL)
            await until(lambda both=both: len(workers(server) - both) == 1)  # type: ignore[misc]
            await until(lambda: limits(scrapes))
            assert await scrapes.shows(100 * killed)
            await buy(server, 100)
            await until(lambda killed=killed: scrapes.shows(100 + 100 * killed))  # type: ignore[misc]
        assert await server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in server.log


async def limits(scrapes: Scrapes) -> bool:
    """Whether the gauges are those of two running workers again."""
    try:
        return total(await scrapes.look(), "dropzero_sockets_limit") == 2 * 15_000
    except aiohttp.ClientError:
        return False  # the killed worker had accepted the connection


async def test_workers_that_are_replaced_on_request_take_their_last_counts_along(data: Path) -> None:
    async with two_workers(data) as server:
        scrapes = Scrapes(server)
        before = workers(server)
        await buy(server, 100)
        server.process.send_signal(signal.SIGHUP)
        await until(lambda: len(workers(server)) == 2 and not workers(server) & before)
        await until(lambda: scrapes.shows(100))
        assert await server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in server.log


async def test_workers_that_are_replaced_count_until_they_have_answered(data: Path) -> None:
    async with dropzero_serve(data, "--workers", "2", DROPZERO_DEADLINE_MS="120000") as server:
        scrapes = Scrapes(server)
        before = workers(server)
        await buy(server, 80)
        await until(lambda: scrapes.shows(80))
        async with locked(data):
            buying = asyncio.create_task(buy(server, 10))
            await until(lambda: waiting(scrapes, 10))
            server.process.send_signal(signal.SIGHUP)
            await until(lambda: "all worker processes are replaced" in server.log)
            assert before & workers(server), "a worker before answers what it has begun; all can have gone to one"
            for _ in range(8):
                assert await waiting(scrapes, 10)
                assert await scrapes.purchases() == 80
        await buying
        await until(lambda: not workers(server) & before)
        await until(lambda: scrapes.shows(90))
        assert await waiting(scrapes, 0)
        assert await limits(scrapes)
        assert await server.stop(signal.SIGTERM) == 0
    assert "Traceback" not in server.log


@asynccontextmanager
async def locked(data: Path) -> AsyncIterator[None]:
    """Let purchases wait in the database until the block is left."""
    connection = await asyncpg.connect(running_embedded_url(data))
    try:
        await connection.execute("BEGIN; SELECT FROM stock_shards FOR UPDATE")
        yield
    finally:
        connection.terminate()


async def waiting(scrapes: Scrapes, number: int) -> bool:
    """Whether so many purchases wait in all workers together."""
    return total(await scrapes.look(), "dropzero_purchases_waiting") == number


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_the_folder_of_the_figures_is_removed_with_the_server(data: Path, how: signal.Signals) -> None:
    async with two_workers(data) as server:
        folders = {Path(path) for path in open_folders(min(workers(server)))}
        assert len(folders) == 1
        assert await server.stop(how) == 0
    assert not any(folder.exists() for folder in folders)


def open_folders(pid: int) -> set[str]:
    """The folders of figures in which a process has files open."""
    opened = (os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir())
    return {os.path.dirname(path) for path in opened if "dropzero-figures-" in path}
