"""How a server leaves its load balancer: /readyz answers 503, every request is answered, and only then it stops."""

import asyncio
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from api.app import CLOSE_GRACE
from api.database.pool import TRANSACTION_TIMEOUT
from api.environment_variables import DRAIN
from api.identity.gate import PATIENCE as PATIENCE_AT_THE_GATE
from api.server import shutdown_timeout
from api.serving import LINGER
from api.settings import read_settings
from tests.command import Serving, dropzero_serve
from tests.graphql.transport import connected
from tests.patience import PATIENCE, until
from tests.server import PURCHASE

SAMPLE = "0d509e70-0000-4000-8000-000000000001"
WATCH = "subscription ($ids: [ID!]!) { stockChanged(productIds: $ids) { stock } }"
LONG = str(int(PATIENCE) * 2)
"""Seconds of a drain, longer than any test waits."""

pytestmark = pytest.mark.slow


async def buy(server: Serving, buyer: str, session: aiohttp.ClientSession | None = None) -> tuple[str, str]:
    """Buy one. Returns the status, and the Connection header of the answer."""
    body = {"query": PURCHASE, "variables": {"input": {"productId": SAMPLE, "userRef": buyer}}}
    async with (session or server.session).post(f"{server.url}/graphql", json=body) as response:
        answer = await response.json()
        return answer["data"]["purchase"]["status"], response.headers.get("connection", "")


async def readiness(server: Serving) -> tuple[int, Any]:
    async with server.session.get(f"{server.url}/readyz") as response:
        return response.status, await response.json()


async def is_refused(server: Serving) -> bool:
    """Whether connections to the server's address are refused."""
    address = urlsplit(server.url)
    try:
        _, writer = await asyncio.open_connection(address.hostname, address.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def until_draining(server: Serving) -> None:
    async def is_draining() -> bool:
        return await readiness(server) == (503, {"draining": True})

    await until(is_draining)


@asynccontextmanager
async def kept_connection(server: Serving) -> AsyncIterator[aiohttp.ClientSession]:
    """A client with one connection, used and kept open."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1, keepalive_timeout=PATIENCE)) as session:
        assert await buy(server, "early", session) == ("CONFIRMED", "")
        yield session


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_server_that_drains_is_not_ready_and_goes_on_selling(data: Path, workers: str) -> None:
    variables = {"DROPZERO_DRAIN_S": LONG, "DROPZERO_WORKERS": workers}
    async with (
        dropzero_serve(data, **variables) as server,
        kept_connection(server) as kept,
        connected(server) as watcher,
    ):
        await watcher.subscribe(WATCH, {"ids": [SAMPLE]})
        assert await watcher.next() == {"stockChanged": {"stock": 99}}
        assert (await readiness(server))[0] == 200

        server.process.send_signal(signal.SIGTERM)
        await until(lambda: server.log.count("draining for") == int(workers))
        assert await readiness(server) == (503, {"draining": True})
        async with server.session.get(f"{server.url}/healthz") as response:
            assert response.status == 200, "it is alive, and must not be killed"
        assert await buy(server, "on a kept connection", kept) == ("CONFIRMED", "close")
        assert await buy(server, "on the next one", kept) == ("CONFIRMED", "close")
        while (await watcher.next())["stockChanged"]["stock"] != 97:
            pass

        assert await server.stop(signal.SIGTERM) == 0, "the second signal does not wait"
        assert (await watcher.closed())[0] == 1012
        assert "Traceback" not in server.log


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_when_it_has_drained_it_stops_listening_and_ends(data: Path, workers: str) -> None:
    variables = {"DROPZERO_DRAIN_S": "1", "DROPZERO_WORKERS": workers}
    async with dropzero_serve(data, **variables) as server:
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: is_refused(server))
        async with asyncio.timeout(PATIENCE):
            assert await server.process.wait() == 0
        said = [line.partition("dropzero.server: ")[2].partition(" ")[0] for line in server.log.splitlines()]
        assert [word for word in said if word in ("draining", "no", "stopping;", "stopped")] == [
            *["draining"] * int(workers),
            *[word for word in said if word in ("no", "stopping;")],
            "stopped",
        ]
        assert said.count("no") == said.count("stopping;") == int(workers)
        assert "Traceback" not in server.log


async def test_ctrl_c_skips_the_drain_and_a_laptop_has_none(data: Path) -> None:
    for how, drain in ((signal.SIGINT, LONG), (signal.SIGTERM, "0")):
        async with dropzero_serve(data, DROPZERO_DRAIN_S=drain) as server:
            async with asyncio.timeout(PATIENCE):
                assert await server.stop(how) == 0
            assert "draining" not in server.log


async def test_a_request_on_its_way_when_the_listening_socket_closes_is_answered(data: Path) -> None:
    """A request on an open connection is answered, and no new connection is accepted."""
    async with dropzero_serve(data, DROPZERO_DRAIN_S="1") as server:
        address = urlsplit(server.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        await buy(server, "so that the connection before is accepted")
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: "no more connections are taken" in server.log)
        assert await is_refused(server)
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        async with asyncio.timeout(PATIENCE):
            answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK")
        assert b"connection: close" in answer
        writer.close()
        assert await server.process.wait() == 0


async def test_workers_that_are_replaced_one_by_one_lose_no_purchase(data: Path) -> None:
    """Buyers keep their connections and buy without a pause, while SIGHUP replaces both workers."""
    async with dropzero_serve(data, "--workers", "2") as server:
        replaced = asyncio.Event()
        outcomes: Counter[str] = Counter()

        async def buy_until_replaced(buyer: int) -> None:
            connector = aiohttp.TCPConnector(limit=1, keepalive_timeout=PATIENCE)
            async with aiohttp.ClientSession(connector=connector) as session:
                while not replaced.is_set():
                    status, _ = await buy(server, f"buyer-{buyer}", session)
                    outcomes[status] += 1

        async with asyncio.TaskGroup() as buyers:
            for buyer in range(3):
                buyers.create_task(buy_until_replaced(buyer))
            await until(lambda: outcomes.total() > 100)
            server.process.send_signal(signal.SIGHUP)
            await until(lambda: "all worker processes are replaced" in server.log)
            await until(lambda: server.log.count("stopping; ") == 2)
            assert (await readiness(server))[0] == 200
            replaced.set()

        assert outcomes["CONFIRMED"] == 100
        assert outcomes["SOLD_OUT"] == outcomes.total() - 100
        assert "draining" not in server.log
        assert await server.stop() == 0
        assert "Traceback" not in server.log


def test_a_stop_is_given_the_time_for_the_drain_too() -> None:
    page = (Path(__file__).parent.parent / "docs" / "deployment.md").read_text(encoding="utf-8")
    graces = re.findall(r"`stopTimeout` to (\d+)|terminationGracePeriodSeconds` to (\d+)|--time (\d+)", page)
    needed = DRAIN + LINGER + shutdown_timeout(read_settings({})) + CLOSE_GRACE + 5
    assert len(graces) == 3
    assert all(int("".join(grace)) >= needed for grace in graces)


def test_a_stop_waits_for_a_purchase_that_takes_all_its_times() -> None:
    settings = read_settings({"DROPZERO_DEADLINE_MS": "60000"})
    longest = PATIENCE_AT_THE_GATE + 60 + TRANSACTION_TIMEOUT + settings.region_times.pool.commit
    assert longest < shutdown_timeout(settings) < longest + 5


def test_a_laptop_stops_at_once_and_a_server_with_endpoints_drains() -> None:
    endpoints = {"DROPZERO_ENDPOINTS": "here=postgresql://app@a.example/shop"}
    assert read_settings({}).drain == 0
    assert read_settings(endpoints).drain == DRAIN
    assert read_settings({**endpoints, "DROPZERO_DRAIN_S": "30"}).drain == 30
