"""The race: exactly one of two Regions gets the unit. A race that saw anything else says so and ends with 1."""

import asyncio
import re
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import pytest
from aiohttp import web

from api.client.graphql import RequestFailed, graphql_clients
from api.client.race import RaceReport, run_race
from api.database.endpoint import Endpoint
from api.database.migrations import load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.settings import Settings
from tests.command import DROPZERO, Run, dropzero_here, environment
from tests.dsql.cluster import Cluster
from tests.engines import DSQL, on_both_engines
from tests.faults import Faulty, FaultyEndpoint
from tests.listener import running
from tests.patience import PATIENCE, PATIENT_TIMES
from tests.regions import HOME, PEER
from tests.server import ADMIN_TOKEN, Server, serving

TOKYO, SEOUL = HOME, PEER

Lie = Callable[[bytes, bytes], bytes]
"""Makes another answer of a request and the server's answer to it."""


async def race(server: str, *arguments: str, **variables: str) -> Run:
    """`dropzero race` against the server, as its operator."""
    return await dropzero_here(
        "race", *arguments, **{"DROPZERO_URL": server, "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN, **variables}
    )


def rows(run: Run) -> dict[str, list[str]]:
    """The rows of the table, a value for each Region."""
    lines = [line.strip("┃│ ") for line in run.out.splitlines() if line.startswith(("┃", "│"))]
    cells = [re.split(r" *[┃│] *", line) for line in lines]
    return {name: values for name, *values in cells}


def counts(run: Run, name: str) -> list[int]:
    return [int(value) for value in rows(run)[name]]


def lying(server: Server, lie: Lie) -> AbstractAsyncContextManager[str]:
    """Run, until the block is left, at a URL of its own, a proxy that alters the server's answers."""

    async def alter(request: web.Request) -> web.Response:
        asked = await request.read()
        headers = {name: request.headers[name] for name in ("content-type", "authorization")}
        async with server.session.post(f"{server.url}/graphql", data=asked, headers=headers) as answer:
            return web.Response(body=lie(asked, await answer.read()), content_type="application/json")

    app = web.Application()
    app.router.add_post("/graphql", alter)
    return running(web.AppRunner(app))


@pytest.fixture
async def ways(engine: str, postgres_url: str, cluster: Cluster) -> AsyncIterator[tuple[Faulty, Faulty]]:
    """Endpoints in Tokyo and Seoul, equally fast, which fail on demand."""
    if engine == DSQL:
        async with cluster.endpoint(TOKYO) as one, cluster.endpoint(SEOUL) as other:
            yield one, other
        return
    async with FaultyEndpoint(postgres_url).listening() as tokyo, FaultyEndpoint(postgres_url).listening() as seoul:
        yield tokyo, seoul


@pytest.fixture
def seoul(ways: tuple[Faulty, Faulty]) -> Faulty:
    return ways[1]


@pytest.fixture
async def exposed(settings: Settings, ways: tuple[Faulty, Faulty]) -> AsyncIterator[Server]:
    """A server whose endpoints in both Regions can fail."""
    tokyo, seoul = ways
    endpoints = (Endpoint(TOKYO, tokyo.url), Endpoint(SEOUL, seoul.url))
    async with serving(replace(settings, endpoints=endpoints)) as server:
        yield server


@on_both_engines
@pytest.mark.slow
async def test_the_unit_goes_to_exactly_one_of_two_regions_in_every_round(server: Server) -> None:
    races, won, attempts = 0, [0, 0], 0.0
    async with asyncio.timeout(2 * PATIENCE):
        while min(won) == 0 or attempts <= 1:  # until each Region has won, and they have met in the database
            run = await race(server.url, "--rounds", "20")
            assert_exact(run, 20)
            races += 1
            won = [before + now for before, now in zip(won, counts(run, "confirmed"), strict=True)]
            attempts = max(float(value.split(",")[0]) for value in rows(run)["attempts, mean and most"])
    home = server.settings.endpoints[0]
    audited = await dropzero_here("audit", DROPZERO_ENDPOINTS=f"{home.region}={home.url}")
    assert audited.status == 0
    assert len(re.findall(r" +1 +0 +0 +1 +yes\n", audited.out)) == 20 * races


def assert_exact(run: Run, rounds: int) -> None:
    """Check that all rounds were exact, and that nothing was sent a second time."""
    assert (run.status, run.err) == (0, "")
    assert f"{rounds} rounds of 1 unit, a purchase through each Region at once" in run.out
    assert rows(run)["through"] == [TOKYO, SEOUL]
    confirmed, sold_out = counts(run, "confirmed"), counts(run, "sold out")
    assert sum(confirmed) == sum(sold_out) == rounds
    assert sold_out == [rounds - won for won in confirmed]
    assert rows(run)["then read"] == ["0", "0"]
    for name in ("errors", "busy, and asked for again", "answers lost and asked for again"):
        assert counts(run, name) == [0, 0]
    for name, numbers in (("confirmed, p50", confirmed), ("sold out, p99", sold_out)):
        for latency, number in zip(rows(run)[name], numbers, strict=True):
            assert re.fullmatch(r"[\d,]+\.\d ms" if number else "-", latency), latency
    assert run.out.endswith("\nEach unit went to exactly one buyer, and both endpoints then read 0.\n")


async def test_every_region_races_through_the_server_whose_home_it_is(settings: Settings) -> None:
    tokyo_first, seoul_first = settings, replace(settings, endpoints=settings.endpoints[::-1])
    async with serving(tokyo_first) as tokyo, serving(seoul_first) as seoul:
        asked: dict[str, set[str]] = {TOKYO: set(), SEOUL: set()}

        def overhear(at: str) -> Lie:
            def listen(asked_now: bytes, answer: bytes) -> bytes:
                asked[at].update(re.findall(r'"region":"([^"]+)"', asked_now.decode()))
                return answer

            return listen

        async with lying(tokyo, overhear(TOKYO)) as tokyo_url, lying(seoul, overhear(SEOUL)) as seoul_url:
            run = await race(tokyo_url, "--rounds", "3", "--url", tokyo_url, "--url", seoul_url)
        assert run.status == 0, run.err
        assert asked == {TOKYO: {TOKYO}, SEOUL: {SEOUL}}


async def test_a_product_is_read_through_the_region_that_is_named(exposed: Server, seoul: Faulty) -> None:
    product_id = await exposed.create_product(3)
    query = """query ($id: ID!, $seoul: String!) {
      home: product(id: $id) { stock } tokyo: product(id: $id, region: "ap-northeast-1") { stock }
      seoul: product(id: $id, region: $seoul) { stock }
    }"""
    variables = {"id": product_id, "seoul": SEOUL}
    read = await exposed.data(query, variables)
    assert read == {"home": {"stock": 3}, "tokyo": {"stock": 3}, "seoul": {"stock": 3}}
    seoul.down()
    answer = await exposed.ask(query, variables)
    assert answer["data"] == {"home": {"stock": 3}, "tokyo": {"stock": 3}, "seoul": None}
    assert [error["extensions"]["code"] for error in answer["errors"]] == ["SERVICE_UNAVAILABLE"]
    code, message = await exposed.refusal(query, {**variables, "seoul": "mars"})
    assert (code, message) == (
        "BAD_USER_INPUT",
        f"unknown region 'mars'; name {TOKYO}, {SEOUL}, or leave region out",
    )


@on_both_engines
@pytest.mark.slow
async def test_commits_whose_answers_are_lost_leave_the_race_exact(exposed: Server, seoul: Faulty) -> None:
    seoul.cut_before_commit, seoul.cut_after_commit = 1, 10
    async with asyncio.timeout(2 * PATIENCE):
        while seoul.cut_before_commit or seoul.cut_after_commit > 8:  # Seoul is first in half of the rounds, or so
            run = await race(exposed.url, "--rounds", "10")
            assert run.status == 0, run.err
            assert sum(counts(run, "confirmed")) == 10


async def test_a_busy_purchase_is_sent_again_until_it_is_decided(server: Server) -> None:
    turned_away: set[bytes] = set()

    def busy_at_first(asked: bytes, answer: bytes) -> bytes:
        if b"RacePurchase" not in asked or asked in turned_away:
            return answer
        turned_away.add(asked)
        return b'{"data":{"purchase":{"status":"BUSY","region":"x","attempts":1,"retryAfterMs":1}}}'

    async with lying(server, busy_at_first) as url:
        run = await race(url, "--rounds", "3")
    assert run.status == 0, run.err
    assert counts(run, "busy, and asked for again") == [3, 3]
    assert sum(counts(run, "confirmed")) == 3


def replacing(before: bytes, after: bytes, operation: bytes = b"RacePurchase", region: str = "") -> Lie:
    """Put `after` in place of `before` in the answers to one operation, about one Region or about any."""

    def lie(asked: bytes, answer: bytes) -> bytes:
        return answer.replace(before, after) if operation in asked and region.encode() in asked else answer

    return lie


@pytest.mark.parametrize(
    ("lie", "complaint"),
    [
        (replacing(b'"SOLD_OUT"', b'"CONFIRMED"'), f"2 purchases of 1 unit confirmed ({TOKYO}, {SEOUL})"),
        (replacing(b'"CONFIRMED"', b'"SOLD_OUT"'), "0 purchases of 1 unit confirmed (none)"),
        (replacing(b'"SOLD_OUT"', b'"NOT_OPEN"'), " ended with NOT_OPEN"),
        (replacing(b'"stock":0', b'"stock":1', b"query Stock", SEOUL), f"{SEOUL} then read 1"),
        (replacing(b'"stock":0', b'"stock":null', b"query Stock", TOKYO), f"{TOKYO} then read nothing"),
        (replacing(b'"stock":1', b'"stock":0', b"query Stock", TOKYO), f"{TOKYO} read 0 before it"),
        (
            replacing(f'"region":"{SEOUL}"'.encode(), f'"region":"{TOKYO}"'.encode(), region=SEOUL),
            f"by {TOKYO}, another Region",
        ),
    ],
    ids=["oversold", "undersold", "another outcome", "stale", "unread", "not there", "moved"],
)
@pytest.mark.slow
async def test_a_race_that_is_not_exact_says_why_and_ends_with_1(server: Server, lie: Lie, complaint: str) -> None:
    async with lying(server, lie) as url:
        run = await race(url, "--rounds", "7")
    assert run.status == 1
    assert "7 rounds of 1 unit" in run.out
    assert "exactly one" not in run.out
    *complaints, verdict = run.err.splitlines()
    assert verdict == "dropzero: 7 of 7 rounds were not exact"
    assert len(complaints) == 5
    assert all(complaint in line for line in complaints), complaints
    assert re.match(r"round 1, product [0-9a-f-]{36}: ", complaints[0])


async def test_a_race_that_cannot_begin_is_one_line(server: Server) -> None:
    for arguments, complaint in [
        (["--region", TOKYO], f"a race takes two Regions or more, and there is only {TOKYO}; give the server a second"),
        (["--region", TOKYO, "--region", TOKYO], f"a race takes two Regions or more, and there is only {TOKYO}; give"),
        (["--region", "mars"], f"no server that was named reaches the region 'mars', only {TOKYO}, {SEOUL}"),
        (["--url", "http://127.0.0.1:9"], "no answer from http://127.0.0.1:9: Connection refused; is the server runn"),
    ]:
        run = await race(server.url, *arguments)
        assert (run.status, run.out) == (1, "")
        assert run.err.startswith(f"dropzero: {complaint}")
        assert run.err.count("\n") == 1
    run = await race(server.url, DROPZERO_ADMIN_TOKEN="x" * 16)
    assert (run.status, run.out) == (1, "")
    assert "set DROPZERO_ADMIN_TOKEN to the server's token" in run.err


async def test_servers_of_two_databases_cannot_race(server: Server, empty_database_url: str) -> None:
    elsewhere = Endpoint(SEOUL, empty_database_url)
    async with Pool(elsewhere, size=1, times=PATIENT_TIMES.pool) as pool:
        await migrate(pool, load_migrations(migrations_directory()))
    async with serving(replace(server.settings, endpoints=(elsewhere,))) as other:
        run = await race(server.url, "--url", server.url, "--url", other.url)
    complaint = (
        f"dropzero: {SEOUL} does not know the product that was just created; do the servers share one database?\n"
    )
    assert (run.status, run.out, run.err) == (1, "", complaint)


async def test_a_race_that_fails_reports_the_rounds_that_it_finished(exposed: Server, seoul: Faulty) -> None:
    report = RaceReport()

    def seoul_goes_down() -> None:
        if len(report.rounds) == 4:
            seoul.down()

    async with graphql_clients([exposed.url], ADMIN_TOKEN, connections=4) as clients:
        with pytest.raises(RequestFailed, match="The database cannot be reached right now"):
            await run_race(clients, 20, None, report, seoul_goes_down)
    assert len(report.rounds) == 4
    assert report.objections == []


@pytest.mark.slow
async def test_ctrl_c_ends_a_race_with_the_rounds_that_it_finished(server: Server) -> None:
    seen = asyncio.Event()
    rounds = 0

    def count(asked: bytes, answer: bytes) -> bytes:
        nonlocal rounds
        rounds += b"RaceProduct" in asked
        if rounds == 5:
            seen.set()
        return answer

    async with lying(server, count) as url:
        process = await asyncio.create_subprocess_exec(
            *[*DROPZERO, "race", "--rounds", "1000000", "--url", url],
            env=environment({"DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN}),
            stdout=PIPE,
            stderr=PIPE,
        )
        try:
            async with asyncio.timeout(2 * PATIENCE):
                await seen.wait()
                process.send_signal(signal.SIGINT)
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await asyncio.wait_for(process.wait(), PATIENCE)
    assert (process.returncode, err) == (130, b"")
    run = Run(process.returncode, out.decode(), "")
    assert re.search(r"\b[1-9]\d* rounds of 1 unit", run.out)
    assert sum(counts(run, "confirmed")) >= 4
    assert "exactly one" not in run.out
