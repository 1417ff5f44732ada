"""A server that is gone ends a load or a race once its patience is over; one that is back before that does not."""

import asyncio
import contextlib
import os
import re
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from api.client.graphql import FIRST_PAUSE, LONGEST_PAUSE, NoAnswer, graphql_clients, pause_before_retry
from api.client.load import Load, LoadReport, run_load
from api.settings import Settings
from tests.client.test_load import answering
from tests.client.test_race import lying
from tests.command import DROPZERO, Run, dropzero_serve, ended, environment, started
from tests.listener import accepting
from tests.patience import PATIENCE, short, until
from tests.server import ADMIN_TOKEN, Server, serving

MANY = 1_000_000
"""Purchases or rounds: so many that no test waits for the last one."""

PRODUCTS = "{ products(first: 100) { edges { node { dropName stock } } } }"


def rows(run: Run) -> dict[str, str]:
    """The rows of a table, each with all of its values."""
    found = re.findall(r"│ ([^│]+) │ (.+) │", run.out)
    return {name.strip(): " ".join(values.replace("│", " ").split()) for name, values in found}


def count_in(run: Run, name: str) -> int:
    return int(rows(run)[name].replace(",", ""))


@contextlib.asynccontextmanager
async def under_way(server: Server, *arguments: str, **variables: str) -> AsyncIterator[Process]:
    """Yield a load or a race that has bought something. A load has also received an answer: it has sold more units than
    its ten buyers can have in flight."""
    command = [*DROPZERO, *arguments, "--url", server.url]
    variables = {"DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN, **variables}

    async def has_bought() -> bool:
        assert process.returncode is None, await ended(process)
        edges = (await server.data(PRODUCTS))["products"]["edges"]
        units = MANY - 10 if arguments[0] == "load" else 1
        return any(edge["node"]["dropName"][:4] in ("Load", "Race") and edge["node"]["stock"] < units for edge in edges)

    async with started(*command, env=environment(variables), stdout=PIPE, stderr=PIPE) as process:
        await until(has_bought)
        yield process


LOAD = ("load", "--purchases", str(MANY), "--units", str(MANY), "--buyers", "10")


@pytest.mark.slow
async def test_a_load_ends_when_its_server_was_killed_and_reports_what_was_confirmed(tmp_path: Path) -> None:
    patience = f"{short(1.5):g}"
    async with (
        dropzero_serve(tmp_path / "data", DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN) as local,
        under_way(local, *LOAD, DROPZERO_LOAD_PATIENCE=patience) as load,
    ):
        local.process.kill()
        run = await ended(load)
    # The database outlives its server, and would wait for the next one.
    postmaster = (tmp_path / "data" / "postgres" / "postmaster.pid").read_text().splitlines()[0]
    os.kill(int(postmaster), signal.SIGQUIT)
    assert run.status == 1
    assert count_in(run, "confirmed") > 0
    assert 10 <= count_in(run, "errors") <= 20, "each buyer has one purchase without an answer, and perhaps a last one"
    assert rows(run)["final stock"] == "unknown"
    sent = count_in(run, "confirmed") + count_in(run, "errors")
    assert re.search(r"no answer from \S+: .*; is the server running there\?", run.err)
    assert run.err.endswith(
        f"dropzero: no purchase had an outcome for {patience} s, so the load stopped after {sent:,} of 1,000,000 "
        "purchases; the final stock could not be read, so it is not known what was sold\n"
    )
    assert "Traceback" not in run.err


class Restarting:
    """A server that can be stopped, and started again where it was."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._port = 0

    async def start(self) -> Server:
        server = await self._stack.enter_async_context(serving(self._settings, self._port))
        self._port = urlsplit(server.url).port or 0
        return server

    async def stop(self) -> None:
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def refused(self, connections: int) -> AsyncIterator[None]:
        """Close every connection to the server's port. When the block is left, `connections` have been closed."""
        closed = 0

        async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal closed
            closed += 1
            writer.close()

        async with accepting(await asyncio.start_server(close, "127.0.0.1", self._port, reuse_address=True)):
            yield
            await until(lambda: closed >= connections)


@pytest.mark.slow
async def test_a_server_that_restarts_ends_no_load(settings: Settings) -> None:
    units = 1_500
    async with AsyncExitStack() as stack:
        restarting = Restarting(settings, stack)
        server = await restarting.start()
        arguments = ["load", "--purchases", str(units), "--units", str(units), "--buyers", "10"]
        async with under_way(server, *arguments, DROPZERO_LOAD_PATIENCE=f"{2 * PATIENCE:g}") as load:
            await restarting.stop()
            async with restarting.refused(30):  # three of each buyer
                pass
            await restarting.start()
            run = await ended(load)
    assert (run.status, run.err) == (0, "")
    assert (count_in(run, "confirmed"), count_in(run, "errors"), count_in(run, "final stock")) == (units, 0, 0)
    assert 0 < count_in(run, "answers lost and asked for again") <= 10


@pytest.mark.slow
async def test_a_server_that_restarts_ends_no_race(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        restarting = Restarting(settings, stack)
        server = await restarting.start()
        async with under_way(server, "race", "--rounds", "60", DROPZERO_RACE_PATIENCE=f"{2 * PATIENCE:g}") as race:
            await restarting.stop()
            async with restarting.refused(3):
                pass
            await restarting.start()
            run = await ended(race)
    assert (run.status, run.err) == (0, "")
    assert "60 rounds of 1 unit" in run.out


@pytest.mark.slow
async def test_a_race_ends_when_its_server_is_gone(settings: Settings) -> None:
    async with AsyncExitStack() as stack:
        restarting = Restarting(settings, stack)
        server = await restarting.start()
        async with under_way(server, "race", "--rounds", str(MANY), DROPZERO_RACE_PATIENCE=f"{short(1):g}") as race:
            await restarting.stop()
            run = await ended(race)
    assert run.status == 1
    assert "rounds of 1 unit" in run.out
    assert re.match(
        rf"dropzero: no answer from {server.url}: .*; is the server running there", run.err.splitlines()[-1]
    )


AWAY = b'{"errors":[{"message":"The database is away.","extensions":{"code":"SERVICE_UNAVAILABLE"}}]}'


async def load_of(url: str, patience: float) -> LoadReport:
    async with graphql_clients([url], ADMIN_TOKEN, connections=4) as clients:
        return await run_load(clients, Load(MANY, 4, MANY, patience), None, lambda: None)


async def test_a_load_ends_when_its_server_answers_nothing_but_errors(server: Server) -> None:
    answered = 0

    def refuse_after_twenty(asked: bytes, answer: bytes) -> bytes:
        nonlocal answered
        answered += b"LoadTestPurchase" in asked
        return AWAY if b"LoadTestPurchase" in asked and answered > 20 else answer

    async with lying(server, refuse_after_twenty) as url:
        report = await load_of(url, short(0.5))
    assert report.outcomes == {"CONFIRMED": 20}
    assert list(report.errors) == ["The database is away."]
    # Each buyer pauses after an error, for longer and longer.
    assert 4 <= report.errors.total() <= 4 * 8
    assert report.objection is not None
    assert report.objection.startswith(f"no purchase had an outcome for {short(0.5):g} s, so the load stopped after ")


async def test_a_load_goes_on_while_some_purchases_have_outcomes(server: Server) -> None:
    turn = 0

    def refuse_most(asked: bytes, answer: bytes) -> bytes:
        nonlocal turn
        turn += b"LoadTestPurchase" in asked
        return AWAY if b"LoadTestPurchase" in asked and turn % 4 else answer

    async with lying(server, refuse_most) as url, graphql_clients([url], ADMIN_TOKEN, connections=4) as clients:
        report = await run_load(clients, Load(40, 4, 40, PATIENCE), None, lambda: None)
    assert not report.stopped
    assert (report.outcomes["CONFIRMED"], report.errors.total(), report.final_stock) == (10, 30, 0)


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
async def test_a_gateways_answer_counts_as_a_lost_answer(status: str) -> None:
    answer = f"HTTP/1.1 {status}\r\ncontent-length: 6\r\n\r\n<html>".encode()
    async with answering(answer) as url, graphql_clients([url], None, connections=1) as [client]:
        losses: list[None] = []
        with pytest.raises(NoAnswer, match=f"answered {status[:3]}, and not as a GraphQL server does"):
            await client.execute_until_answered("{ __typename }", seconds=0.3, on_loss=lambda: losses.append(None))
    assert len(losses) > 1


def test_pauses_grow_to_a_second_and_are_not_the_same_for_all() -> None:
    for failures in (0, 1, 5, 1_000_000):
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 10))
        pauses = {pause_before_retry(failures) for _ in range(50)}
        assert len(pauses) > 1
        assert all(longest / 2 <= pause <= longest for pause in pauses)
