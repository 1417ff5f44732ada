"""A second signal to stop: the server ends at once, and leaves nothing behind."""

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
import asyncpg
import orjson
import pytest
import websockets

from api.database.embedded import running_embedded_url
from tests.command import Serving, dropzero, dropzero_serve
from tests.patience import PATIENCE, until
from tests.server import PURCHASE

pytestmark = pytest.mark.slow

SAMPLE = "0d509e70-0000-4000-8000-000000000001"
WATCH = f'subscription {{ stockChanged(productIds: ["{SAMPLE}"]) {{ stock }} }}'
AGAIN = "WARNING dropzero.server: signalled to stop a second time: what was in flight is broken off"
DEADLINE = {"DROPZERO_DEADLINE_MS": "120000"}
"""Longer than the test waits: without a second signal the server would wait for what is in flight."""


def left(data: Path) -> list[str]:
    """The processes that name the data folder: those of its PostgreSQL, and the server itself."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            variables = (path / "environ").read_bytes().split(b"\0")
            over = (path / "stat").read_text().rpartition(") ")[2].startswith("Z")
        except OSError:
            continue
        if not over and (str(data) in command or f"DROPZERO_DATA={data}".encode() in variables):
            found.append(command)
    return found


@asynccontextmanager
async def stuck(server: Serving, data: Path, buyers: int = 10) -> AsyncIterator[None]:
    """Hold purchases that the database does not answer, an event stream and a websocket, until the block is left."""
    connection = await asyncpg.connect(running_embedded_url(data))
    await connection.execute("BEGIN; LOCK TABLE stock_shards")
    watching, streaming = asyncio.Event(), asyncio.Event()

    async def purchase(number: int) -> None:
        variables = {"input": {"productId": SAMPLE, "userRef": f"buyer-{number}"}}
        with pytest.raises(aiohttp.ClientError):
            await server.ask(PURCHASE, variables)

    async def stream() -> None:
        headers = {"accept": "text/event-stream"}
        with suppress(aiohttp.ClientError):  # the stream may have ended
            async with server.session.post(f"{server.url}/graphql", json={"query": WATCH}, headers=headers) as response:
                streaming.set()
                await response.read()

    async def socket() -> None:
        async with websockets.connect(
            server.websocket_url, subprotocols=[websockets.Subprotocol("graphql-transport-ws")]
        ) as watcher:
            await watcher.send('{"type": "connection_init"}')
            await watcher.recv()
            payload = {"query": PURCHASE, "variables": stuck_input()}
            await watcher.send(orjson.dumps({"id": "1", "type": "subscribe", "payload": payload}).decode())
            watching.set()
            with pytest.raises(websockets.ConnectionClosed):
                await watcher.recv()

    def stuck_input() -> dict[str, object]:
        return {"input": {"productId": SAMPLE, "userRef": "ada"}}

    tasks = [asyncio.create_task(purchase(number)) for number in range(buyers)]
    tasks += [asyncio.create_task(stream()), asyncio.create_task(socket())]
    await asyncio.gather(watching.wait(), streaming.wait())
    waiting = 'dropzero_purchases_waiting{region="ap-northeast-1"} '
    await until(lambda: figure_at_least(server, waiting, buyers))
    yield
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE)
    connection.terminate()


async def figure_at_least(server: Serving, name: str, number: int) -> bool:
    async with server.session.get(f"{server.url}/metrics") as response:
        text = await response.text()
    return float(text.partition(f"\n{name}")[2].partition("\n")[0] or 0) >= number


async def until_stopping(server: Serving) -> None:
    await until(lambda: "stopping; what is in flight" in server.log)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_ctrl_c_breaks_off_what_is_in_flight(data: Path, workers: int, first: signal.Signals) -> None:
    async with dropzero_serve(data, "--workers", str(workers), **DEADLINE) as server, stuck(server, data):
        server.process.send_signal(first)
        await until_stopping(server)
        assert server.process.returncode is None
        server.process.send_signal(signal.SIGINT)
        async with asyncio.timeout(PATIENCE):
            assert await server.process.wait() == 130
    assert server.log.count(AGAIN) == 1
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log
    await until(lambda: not left(data))
    audited = await dropzero("audit", DROPZERO_DATA=str(data))
    assert re.search(rf"{SAMPLE} +Aurora Tee +100 +100 +0 +0 +yes\n", audited.out)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("skipped", [True, False])
async def test_ctrl_c_first_skips_the_drain_and_then_breaks_off_what_is_in_flight(
    data: Path, workers: int, skipped: bool
) -> None:
    variables = {**DEADLINE, "DROPZERO_DRAIN_S": str(int(2 * PATIENCE)) if skipped else "1"}
    async with dropzero_serve(data, "--workers", str(workers), **variables) as server, stuck(server, data):
        server.process.send_signal(signal.SIGTERM)
        await until(lambda: server.log.count("draining for") == workers)
        if skipped:
            server.process.send_signal(signal.SIGINT)
        await until(lambda: server.log.count("stopping; what is in flight") == workers)
        assert server.process.returncode is None
        assert AGAIN not in server.log
        server.process.send_signal(signal.SIGINT)
        assert await server.end() == 130
    assert server.log.count(AGAIN) == 1
    assert "Traceback" not in server.log
    await until(lambda: not left(data))


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_terminals_ctrl_c_reaches_all_processes_and_can_come_often(data: Path, workers: int) -> None:
    async with dropzero_serve(data, "--workers", str(workers), **DEADLINE) as server, stuck(server, data):
        processes = [server.process.pid, *worker_pids(server)]
        while server.process.returncode is None:
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGINT)
            await asyncio.sleep(0.01)
        assert await server.process.wait() == 130
    assert server.log.count(AGAIN) == 1
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log
    await until(lambda: not left(data))


def worker_pids(server: Serving) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [int(pid) for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]


async def test_the_terminals_first_ctrl_c_leaves_workers_the_time_to_answer(data: Path) -> None:
    async with dropzero_serve(data, "--workers", "2", DROPZERO_COMMIT_DELAY_MS="100") as server:
        purchases = [asyncio.create_task(server.purchase(SAMPLE, f"buyer-{number}")) for number in range(20)]
        await asyncio.wait(purchases, return_when=asyncio.FIRST_COMPLETED)
        for pid in (*worker_pids(server), server.process.pid):
            os.kill(pid, signal.SIGINT)
        assert await server.process.wait() == 0
        assert {outcome["status"] for outcome in await asyncio.gather(*purchases)} == {"CONFIRMED"}
    assert "Traceback" not in server.log
    await until(lambda: not left(data))


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_second_sigterm_changes_nothing(data: Path, workers: int) -> None:
    """Some supervisors send SIGTERM to a group of processes, each of which passes it on: it arrives more than once."""
    async with dropzero_serve(data, "--workers", str(workers), DROPZERO_COMMIT_DELAY_MS="100") as server:
        purchases = [asyncio.create_task(server.purchase(SAMPLE, f"buyer-{number}")) for number in range(20)]
        await asyncio.wait(purchases, return_when=asyncio.FIRST_COMPLETED)
        for _ in range(3):
            for pid in (*worker_pids(server), server.process.pid):
                os.kill(pid, signal.SIGTERM)
        assert await server.process.wait() == 0
        assert {outcome["status"] for outcome in await asyncio.gather(*purchases)} == {"CONFIRMED"}
    assert AGAIN not in server.log
    assert "Traceback" not in server.log
    await until(lambda: not left(data))
