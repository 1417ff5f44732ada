"""The life of a server, as the real command: how it starts, how it stops, and what it prints when something fails."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import tempfile
import time
from asyncio.subprocess import PIPE
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import websockets

from api.database.embedded import embedded_postgres
from api.database.endpoint import Endpoint
from api.database.migrations import load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.identity.guests import GuestTokens
from api.process import CannotServe
from api.server import address, bind
from tests.command import DROPZERO, Serving, dropzero, dropzero_here, dropzero_serve, ended, environment, started
from tests.patience import PATIENCE, PATIENT_TIMES, until
from tests.server import ADMIN_TOKEN, PURCHASE

SAMPLE = "0d509e70-0000-4000-8000-000000000001"
STOCK = f'{{ product(id: "{SAMPLE}") {{ stock }} }}'
DROPPED = "Traceback"
ATTEMPTS = "5"
"""Attempts of a purchase: so few that it fails before its deadline when the database is away."""


def processes_on(data: Path) -> list[str]:
    """The command lines of the PostgreSQL processes whose data is in the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(data) in command and "postgres" in command.split()[0]:
            found.append(command)
    return found


def postmaster(data: Path) -> int:
    return int((data / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def is_running(pid: str) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def kill_database(data: Path) -> None:
    """Kill the postmaster, and wait until its processes, which answer a bit longer, have ended."""
    pid = postmaster(data)
    processes = children(pid)
    assert processes
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not any(is_running(process) for process in processes))


@pytest.fixture
async def stack() -> AsyncIterator[contextlib.AsyncExitStack]:
    """Context managers that are left at the end of the test, so that they can overlap in any order."""
    async with contextlib.AsyncExitStack() as stack:
        yield stack


async def buy(server: Serving, user_ref: str = "ada") -> dict[str, Any]:
    return await server.ask(PURCHASE, {"input": {"productId": SAMPLE, "userRef": user_ref}})


async def status_of(server: Serving, path: str) -> int:
    async with server.session.get(f"{server.url}{path}") as response:
        return response.status


async def until_not_ready(server: Serving) -> None:
    """Wait until the server has noticed that its database is away."""

    async def is_not_ready() -> bool:
        status = await status_of(server, "/readyz")
        assert status in (200, 503)
        return status == 503

    await until(is_not_ready)


@pytest.mark.slow
async def test_it_announces_itself_stops_cleanly_and_finds_the_data_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with dropzero_serve(data) as server:
        assert server.announced.startswith("DROPZERO is open. Ctrl-C stops it.\n")
        assert f"GraphiQL    {server.url}/graphql\n" in server.announced
        assert f"Data        {data} (embedded PostgreSQL 16, and the operator's token)\n" in server.announced
        assert await status_of(server, "/") == 200
        assert (data / "operator-token").stat().st_mode & 0o777 == 0o600
        assert (data / "operator-token").read_text() == f"{server.token}\n"
        restocked = f'mutation {{ restock(input: {{ productId: "{SAMPLE}", delta: 5 }}) {{ stock }} }}'
        assert await server.data(restocked, token=server.token) == {"restock": {"stock": 105}}
        first_token = server.token
        assert (data / "guest-key").stat().st_mode & 0o777 == 0o600
        guest = GuestTokens([(data / "guest-key").read_text().strip()]).issue(time.time()).token
        assert (await server.refusal(restocked, token=guest))[0] == "FORBIDDEN"  # a buyer that is known

        second = await dropzero("serve", "--port", "0", DROPZERO_DATA=str(data))
        assert (second.status, second.out) == (1, "")
        assert second.err.startswith(
            f"dropzero: {data} is in use by another dropzero (process {server.process.pid}); stop"
        )
        assert await server.data(STOCK) == {"product": {"stock": 105}}

        assert await server.stop(signal.SIGINT) == 0
        assert processes_on(data) == []
        assert "created the sample drop First Light: Aurora Tee, 5 x S, 25 x M, 50 x L, 100 x XL" in server.log
        assert re.search(r"stopping; .*\n.*stopped\n$", server.log)

    async with dropzero_serve(data) as server:
        assert await server.data(STOCK) == {"product": {"stock": 105}}
        assert server.token != first_token
        assert (await server.refusal(restocked, token=first_token))[0] == "UNAUTHENTICATED"
        assert (await server.refusal(restocked, token=guest))[0] == "FORBIDDEN"
        assert await server.stop(signal.SIGTERM) == 0
        assert processes_on(data) == []
        assert server.log.count("created the sample drop") == 1
        assert "ended by itself" not in server.log
        assert DROPPED not in server.log


@pytest.mark.slow
async def test_a_stop_answers_purchases_in_flight_and_closes_watchers_sockets(
    tmp_path: Path, postgres_url: str, behind: Pool
) -> None:
    there = {"DROPZERO_ENDPOINTS": f"here={postgres_url}", "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN}
    async with dropzero_serve(tmp_path / "unused", **there) as server:
        product_id = await server.create_product(stock=100)
        async with (
            websockets.connect(
                server.websocket_url,
                subprotocols=[websockets.Subprotocol("graphql-transport-ws")],
                open_timeout=PATIENCE,
            ) as watcher,
            asyncio.timeout(PATIENCE),
        ):
            await watcher.send('{"type": "connection_init"}')
            await watcher.recv()
            query = f'subscription {{ stockChanged(productIds: ["{product_id}"]) {{ stock }} }}'
            await watcher.send(orjson.dumps({"id": "1", "type": "subscribe", "payload": {"query": query}}).decode())
            assert orjson.loads(await watcher.recv())["payload"]["data"] == {"stockChanged": {"stock": 100}}

            async with behind.begin(timeout=PATIENCE) as holding:
                await holding.execute("SELECT stock FROM stock_shards WHERE product_id = $1 FOR UPDATE", product_id)
                purchases = [asyncio.create_task(server.purchase(product_id, f"buyer-{n}")) for n in range(20)]
                await until(lambda: has_waiting(server, 20))
                server.process.send_signal(signal.SIGTERM)
                with pytest.raises(websockets.ConnectionClosed) as closed:
                    await watcher.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1012
        assert Counter(outcome["status"] for outcome in await asyncio.gather(*purchases)) == {"CONFIRMED": 20}
        assert await server.end() == 0
        assert DROPPED not in server.log
    audited = await dropzero_here("audit", DROPZERO_ENDPOINTS=there["DROPZERO_ENDPOINTS"])
    assert re.search(rf"{product_id} +Tee +100 +80 +0 +20 +yes\n", audited.out)


async def has_waiting(server: Serving, number: int) -> bool:
    """Whether so many purchases are in line or in a transaction."""
    async with server.session.get(
        f"{server.url}/metrics", headers={"authorization": f"Bearer {ADMIN_TOKEN}"}
    ) as response:
        return f'dropzero_purchases_waiting{{region="here"}} {number:.1f}\n' in await response.text()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["owner.lock", "operator-token"])
@pytest.mark.parametrize(("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
async def test_it_can_be_stopped_while_it_starts(tmp_path: Path, stage: str, how: signal.Signals, status: int) -> None:
    data = tmp_path / "data"
    serve = [*DROPZERO, "serve", "--port", "0"]
    async with started(*serve, env=environment({"DROPZERO_DATA": str(data)}), stdout=PIPE, stderr=PIPE) as process:
        await until(lambda: process.returncode is not None or any(data.glob(stage)))
        assert process.returncode is None
        process.send_signal(how)
        run = await ended(process)
    # A start that was nearly complete ends as a stop.
    assert run.status == (0 if "open" in run.out else status), run.err
    assert DROPPED not in run.err
    assert processes_on(data) == []


@pytest.mark.slow
async def test_a_port_in_use_ends_the_start_with_one_line_and_no_database(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        run = await dropzero("serve", "--port", str(port), DROPZERO_DATA=str(tmp_path / "data"))
    assert (run.status, run.out) == (1, "")
    assert run.err == (
        f"dropzero: cannot listen on 127.0.0.1:{port}: Address already in use; choose another with --port or --host\n"
    )
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["nowhere.invalid", "256.0.0.1", "a" * 70])
def test_a_host_that_is_not_ours_is_named(host: str) -> None:
    with pytest.raises(CannotServe, match=rf"^cannot listen on {host}:0: .*; choose another with --port or --host$"):
        bind(host, 0)


@pytest.mark.parametrize(("host", "url"), [("127.0.0.1", r"http://127\.0\.0\.1:\d+"), ("::1", r"http://\[::1\]:\d+")])
def test_the_address_of_a_socket_is_a_url(host: str, url: str) -> None:
    with bind(host, 0) as listening:
        assert re.fullmatch(url, address(listening))
        # asyncio disables Nagle's algorithm only for a socket with its protocol named.
        assert listening.proto == socket.IPPROTO_TCP


@pytest.mark.slow
async def test_a_server_whose_database_dies_logs_it_and_can_be_restarted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with dropzero_serve(data, DROPZERO_ATTEMPTS=ATTEMPTS) as server:
        assert (await buy(server))["data"]["purchase"]["status"] == "CONFIRMED"
        await kill_database(data)
        await until_not_ready(server)
        [error] = (await buy(server))["errors"]
        assert error["extensions"]["code"] == "SERVICE_UNAVAILABLE"
        assert str(data) not in error["message"]
        assert (await server.refusal(STOCK))[0] == "SERVICE_UNAVAILABLE"
        assert await status_of(server, "/healthz") == 200
        assert await server.stop() == 0
        assert "the embedded PostgreSQL ended by itself, with status -9; nothing can be bought until" in server.log
        assert f"its log is {data}/postgres.log\n" in server.log
        assert DROPPED not in server.log
    assert processes_on(data) == []

    async with dropzero_serve(data) as server:
        assert await server.data(STOCK) == {"product": {"stock": 99}}


@pytest.mark.slow
async def test_a_database_that_comes_back_is_used_again(tmp_path: Path, stack: contextlib.AsyncExitStack) -> None:
    # A short path, so that the database has its socket at the same place after its restart.
    database = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dropzero-"))) / "elsewhere"
    token = "the-operators-token"
    with embedded_postgres(database) as url:
        async with Pool(Endpoint("here", url), size=1, times=PATIENT_TIMES.pool) as pool:
            await migrate(pool, load_migrations(migrations_directory()))
        variables = {"DROPZERO_ENDPOINTS": f"here={url}", "DROPZERO_ADMIN_TOKEN": token, "DROPZERO_ATTEMPTS": ATTEMPTS}
        server = await stack.enter_async_context(dropzero_serve(tmp_path / "unused", **variables))
        assert server.announced.endswith(f"GraphQL     {server.url}/graphql\nRegions")
        create = 'mutation { createProduct(input: { name: "Tee", dropName: "Drop", stock: 9 }) { id } }'
        product_id = (await server.data(create, token=token))["createProduct"]["id"]
        assert (await server.purchase(product_id))["status"] == "CONFIRMED"
        await kill_database(database)
        await until_not_ready(server)
        wanted = {"productId": product_id, "userRef": "ada"}
        code, _ = await server.refusal(PURCHASE, {"input": wanted}, token=token)
        assert code == "SERVICE_UNAVAILABLE"

    with embedded_postgres(database):
        assert await status_of(server, "/readyz") == 200
        assert (await server.purchase(product_id))["remaining"] == 7
        assert await server.stop() == 0
    assert DROPPED not in server.log
    assert not (tmp_path / "unused").exists()
