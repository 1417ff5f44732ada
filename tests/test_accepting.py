"""Connections that arrive together are accepted together. The tests count rounds of uvloop's event loop."""

import asyncio
import math
import os
import socket
from collections.abc import Coroutine
from contextlib import ExitStack
from typing import Any

import uvicorn
import uvloop

from api.server import bind
from api.serving import ACCEPTED_IN_ROUND, ServingProcess, _copies
from tests.patience import PATIENCE

CONNECTIONS = 10 * ACCEPTED_IN_ROUND


async def application(scope: Any, receive: Any, send: Any) -> None: ...


async def nothing() -> None: ...


async def rounds_until_accepted(started: asyncio.Event, serving: ServingProcess, listening: socket.socket) -> int:
    """Connect many clients before the server can run, and count the rounds until it has accepted all of them."""
    await started.wait()
    where = listening.getsockname()
    rounds = 0
    with ExitStack() as clients:
        for _ in range(CONNECTIONS):
            clients.enter_context(socket.create_connection(where))
        while len(serving.server_state.connections) < CONNECTIONS:
            await asyncio.sleep(0)
            rounds += 1
            assert rounds < 10 * CONNECTIONS, "connections are not accepted"
    return rounds


async def serve_and_count() -> int:
    started = asyncio.Event()
    config = uvicorn.Config(application, lifespan="off", log_config=None, access_log=False)
    serving = ServingProcess(config, 0.0, {}, nothing, started.set)
    listening = bind("127.0.0.1", 0)
    running = asyncio.create_task(serving.serve([listening]))
    try:
        async with asyncio.timeout(PATIENCE):
            return await rounds_until_accepted(started, serving, listening)
    finally:
        serving.should_exit = True
        await running


def run(counting: Coroutine[Any, Any, int]) -> int:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(counting)


def test_connections_that_wait_are_accepted_in_few_rounds() -> None:
    assert run(serve_and_count()) <= 2 * math.ceil(CONNECTIONS / ACCEPTED_IN_ROUND)


def test_a_worker_that_starts_lets_no_other_worker_block() -> None:
    with (
        bind("127.0.0.1", 0) as listening,
        socket.socket(fileno=socket.dup(listening.fileno())) as received,
        ExitStack() as stack,
    ):
        listening.setblocking(False)  # by the first worker; the second receives the socket without a timeout

        copies = [stack.enter_context(copy) for copy in _copies([received], 3)]

        assert [os.get_blocking(each.fileno()) for each in (listening, *copies)] == [False] * (1 + len(copies))
