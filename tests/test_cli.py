"""The operator's commands, as processes before a server that runs: what they print, and how they end."""

import re
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from api.client.load import Load, LoadReport, percentile
from api.graphql.schema import sdl
from tests.command import (
    DROPZERO,
    Run,
    dropzero,
    dropzero_here,
    dropzero_serve,
    ended,
    environment,
    operator,
    started,
)
from tests.patience import short, until
from tests.server import ADMIN_TOKEN, Server

UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
NOBODY = "http://127.0.0.1:9"


def rows(run: Run) -> dict[str, str]:
    """The rows of the table of a load test, by their names."""
    return {name.strip(): value.strip() for name, value in re.findall(r"│ ([^│]+) │ ([^│]+) │", run.out)}


async def test_a_product_is_created_restocked_and_listed(server: Server) -> None:
    created = await operator(
        server,
        *["product", "create", "Tee [XL] :fire: [/]", "--drop", "First Light", "--stock", "5", "--limit", "2"],
        *["--opens-at", "2026-12-01T10:00+01:00", "--hold-seconds", "600"],
    )
    assert (created.status, created.err) == (0, "")
    [product_id] = re.findall(UUID, created.out)
    assert re.search(
        rf"^{product_id} +Tee \[XL\] :fire: \[/\] +First Light +2026-12-01T09:00:00Z +5 +2 +600$",
        created.out,
        re.M,
    )
    assert re.search(
        rf"{product_id} .* 12 +2 +600$", (await operator(server, "product", "restock", product_id, "7")).out, re.M
    )
    restocked = await operator(server, "product", "restock", "--", product_id, "-12")
    assert re.search(rf"{product_id} .* 0 +2 +600$", restocked.out, re.M)

    later = await server.create_product(dropName="Last Light")
    assert re.findall(UUID, (await operator(server, "product", "list")).out) == [later, product_id]
    assert re.findall(UUID, (await operator(server, "product", "list", "--limit", "1")).out) == [later]
    assert re.findall(UUID, (await operator(server, "product", "list", "--drop", "First Light")).out) == [product_id]


async def test_what_the_server_refuses_is_one_line(server: Server) -> None:
    for arguments, complaint in {
        ("create", "", "--drop", "d", "--stock", "1"): "name must have 1 to 200 characters, not 0",
        ("create", "n", "--drop", "d", "--stock", "-1"): "stock must be between 0 and 2147483647, not -1",
        ("restock", "nope", "1"): "productId must be a UUID",
    }.items():
        run = await operator(server, "product", *arguments)
        assert (run.status, run.out) == (1, "")
        assert run.err.startswith(f"dropzero: {complaint}")
        assert run.err.count("\n") == 1


async def test_every_option_is_read_from_the_environment_too(server: Server) -> None:
    created = await operator(
        server, "product", "create", "Tee", DROPZERO_PRODUCT_CREATE_DROP="Night", DROPZERO_PRODUCT_CREATE_STOCK="3"
    )
    assert re.search(rf"^{UUID} +Tee +Night +3 *$", created.out, re.M)
    load = await operator(
        server,
        "load",
        DROPZERO_LOAD_PURCHASES="7",
        DROPZERO_LOAD_BUYERS="3",
        DROPZERO_LOAD_UNITS="5",
        DROPZERO_LOAD_REGION="ap-northeast-2",
        DROPZERO_URL=f"{server.url} {server.url}/graphql",
    )
    assert load.status == 0, load.err
    assert "7 purchases, 3 buyers at a time, 5 units" in load.out
    assert (rows(load)["confirmed"], rows(load)["sold out"]) == ("5", "2")
    assert "through ap-northeast-2 " in load.out


@pytest.mark.slow
async def test_the_published_load_sells_exactly_the_stock(server: Server) -> None:
    run = await dropzero("load", DROPZERO_URL=server.url, DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN)
    assert (run.status, run.err) == (0, "")
    assert "3,000 purchases, 50 buyers at a time, 100 units" in run.out
    assert "through ap-northeast-1, ap-northeast-2" in run.out
    assert {name: rows(run)[name] for name in ("confirmed", "sold out", "busy", "errors", "final stock")} == {
        "confirmed": "100",
        "sold out": "2,900",
        "busy": "0",
        "errors": "0",
        "final stock": "0",
    }
    assert {"purchases/s", "p50", "p95", "p99", "own lateness, p50, p99, most", "attempts, mean and most"} <= rows(
        run
    ).keys()
    audited = await dropzero_here("audit", DROPZERO_ENDPOINTS=f"here={server.settings.endpoints[0].url}")
    assert audited.status == 0
    assert re.search(r" +100 +0 +0 +100 +yes\n", audited.out)


@pytest.mark.parametrize(("units", "confirmed", "sold_out", "left"), [("0", "0", "60", "0"), ("80", "60", "0", "20")])
async def test_nothing_to_sell_and_more_than_is_bought_are_exact_too(
    server: Server, units: str, confirmed: str, sold_out: str, left: str
) -> None:
    run = await operator(server, "load", "--units", units, "--purchases", "60", "--buyers", "20", "--url", server.url)
    assert run.status == 0, run.err
    assert [rows(run)[name] for name in ("confirmed", "sold out", "final stock")] == [confirmed, sold_out, left]


async def test_a_load_that_cannot_begin_is_one_line(server: Server, tmp_path: Path) -> None:
    nobody = str(tmp_path / "nobody's")
    for arguments, variables, complaint in [
        ([], {"DROPZERO_URL": NOBODY}, f"no answer from {NOBODY}: Connection refused; is the server running there?"),
        (["--url", "garbage"], {}, "garbage is not the address of a server, such as http://127.0.0.1:8000"),
        (["--url", "localhost:1"], {}, "localhost:1 is not the address of a server, such as http://127.0.0.1:8000"),
        (
            ["--url", f"{server.url}/healthz"],
            {},
            f"{server.url}/healthz answered 405, and not as a GraphQL server does",
        ),
        (["--region", "mars"], {}, f"{server.url} does not reach the region 'mars', only ap-northeast-1, ap-nor"),
        ([], {"DROPZERO_ADMIN_TOKEN": "x" * 16}, "the token that was sent is not the operator's token of this server"),
        ([], {"DROPZERO_ADMIN_TOKEN": "", "DROPZERO_DATA": nobody}, "this is for the operator: send the operator's"),
    ]:
        run = await operator(server, "load", *arguments, **variables)
        assert (run.status, run.out) == (1, "")
        assert run.err.startswith(f"dropzero: {complaint}")
        assert run.err.count("\n") == 1
        if "token" in complaint:
            assert "set DROPZERO_ADMIN_TOKEN to the server's token, or DROPZERO_DATA to its data folder" in run.err


async def test_a_variable_that_cannot_be_used_is_one_line_and_status_2() -> None:
    unusable = {"DROPZERO_ENDPOINTS": "postgresql://app:hunter2@db.example/shop"}
    for command in (["migrate"], ["audit"], ["load"], ["product", "list"], ["serve"]):
        run = await dropzero_here(*command, **unusable)
        assert (run.status, run.out) == (2, "")
        assert run.err.startswith("dropzero: DROPZERO_ENDPOINTS: expected REGION=URL entries")
        assert run.err.count("\n") == 1
        assert "hunter2" not in run.err


async def test_the_audit_names_the_product_whose_books_do_not_balance(server: Server) -> None:
    here = {"DROPZERO_ENDPOINTS": f"here={server.settings.endpoints[0].url}"}
    good, wrong = await server.create_product(), await server.create_product()
    await server.purchase(good, quantity=2)
    await server.purchase(wrong)
    audited = await dropzero_here("audit", **here)
    assert (audited.status, audited.err) == (0, "")
    assert audited.out.endswith("2 products: every unit is in stock, held or sold.\n")

    connection = await asyncpg.connect(server.settings.endpoints[0].url)
    await connection.execute("UPDATE stock_shards SET stock = stock - 1 WHERE product_id = $1 AND shard = 9", wrong)
    await connection.execute(
        "INSERT INTO orders SELECT gen_random_uuid(), gen_random_uuid(), 'eve', 1, 'CONFIRMED', 'x'"
    )
    [orphan] = await connection.fetch("SELECT product_id::text FROM orders WHERE user_ref = 'eve'")
    await connection.close()
    audited = await dropzero_here("audit", **here)
    assert audited.status == 1
    assert re.search(rf"^{good} +Tee +10 +8 +0 +2 +yes$", audited.out, re.M)
    assert re.search(rf"^{wrong} +Tee +10 +8 +0 +1 +NO$", audited.out, re.M)
    assert re.search(rf"^{orphan['product_id']} +\(no such product\) +0 +1 +NO$", audited.out, re.M)
    assert audited.err == (
        f"dropzero: the books do not balance; {wrong}: 10 units were put in, and there are 8 in stock, 0 held and 1 "
        f"sold; {orphan['product_id']}: there is no stock of it, and 0 units are held and 1 sold\n"
    )


async def test_the_schema_is_printed_as_it_is() -> None:
    run = await dropzero_here("schema")
    assert (run.status, run.out, run.err) == (0, sdl(), "")


@pytest.mark.slow
async def test_without_a_server_the_commands_start_the_local_database_themselves(tmp_path: Path) -> None:
    data = {"DROPZERO_DATA": str(tmp_path / "data")}
    migrated = await dropzero("migrate", **data)
    assert (migrated.status, migrated.out.splitlines()[-1]) == (0, "The schema is up to date.")
    audited = await dropzero_here("audit", **data)
    assert (audited.status, audited.out.splitlines()[-1]) == (0, "0 products: every unit is in stock, held or sold.")
    assert not (tmp_path / "data" / "operator-token").exists()
    assert not (tmp_path / "data" / "postgres" / "postmaster.pid").exists()


@asynccontextmanager
async def load_that_has_sold(server: Server, units: int, **variables: str) -> AsyncIterator[Process]:
    """A load test of as many purchases as units, that is under way and has been told of sales."""
    arguments = ["load", "--purchases", str(units), "--units", str(units), "--url", server.url]
    query = '{ products(first: 1, dropName: "Load test") { edges { node { stock } } } }'

    async def has_sold() -> bool:
        assert load.returncode is None
        return any(edge["node"]["stock"] < units - 100 for edge in (await server.data(query))["products"]["edges"])

    async with started(*DROPZERO, *arguments, env=environment(variables), stdout=PIPE, stderr=PIPE) as load:
        await until(has_sold)
        yield load


@pytest.mark.slow
async def test_a_server_that_is_killed_under_load_ends_the_load_with_errors(tmp_path: Path) -> None:
    data = tmp_path / "data"
    # The commands find the server's token in its data folder.
    async with (
        dropzero_serve(data) as local,
        load_that_has_sold(
            local, units=1_500, DROPZERO_DATA=str(data), DROPZERO_LOAD_PATIENCE=f"{short(1.5):g}"
        ) as load,
    ):
        local.process.kill()
        run = await ended(load)
    assert run.status == 1
    confirmed, errors = (int(rows(run)[name].replace(",", "")) for name in ("confirmed", "errors"))
    assert confirmed > 0
    assert errors > 0
    assert rows(run)["final stock"] == "unknown"
    assert "Connection refused; is the server running there?" in run.err
    assert run.err.endswith("; the final stock could not be read, so it is not known what was sold\n")
    assert "Traceback" not in run.err
    # The audit takes over the database that was left behind, and stops it.
    pid_file = data / "postgres" / "postmaster.pid"
    assert pid_file.exists()
    audited = await dropzero_here("audit", DROPZERO_DATA=str(data))
    assert audited.status == 0, audited.err
    assert not pid_file.exists()


@pytest.mark.slow
async def test_ctrl_c_ends_a_load_at_once_and_the_server_stays(server: Server) -> None:
    async with load_that_has_sold(server, units=1_000_000, DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN) as load:
        load.send_signal(signal.SIGINT)
        assert await ended(load) == Run(130, "", "")
    audited = await dropzero_here("audit", DROPZERO_ENDPOINTS=f"here={server.settings.endpoints[0].url}")
    assert audited.status == 0, audited.err


def test_a_report_says_what_does_not_add_up() -> None:
    def report(confirmed: int, left: int | None, **more: int) -> str | None:
        told = LoadReport(Load(purchases=10, buyers=2, units=5), "id", ["here"], final_stock=left)
        told.outcomes.update(CONFIRMED=confirmed, SOLD_OUT=more.get("sold_out", 0))
        told.errors.update({"away": more["errors"]} if "errors" in more else {})
        return told.objection

    assert report(5, 0, sold_out=5) is None
    assert report(3, 2) is None
    assert report(6, 0) == "oversold: 6 confirmed and 0 left of 5 units"
    assert report(4, 0, errors=1) == "1 of 5 units are neither confirmed nor left; 1 purchases have no known outcome"
    assert report(4, 1, sold_out=6) == "undersold: buyers got SOLD_OUT, and 1 of 5 units are left"
    assert report(5, 0, errors=2) == "2 purchases ended in errors"
    assert report(5, None) == "the final stock could not be read, so it is not known what was sold"


def test_percentiles_are_latencies_that_were_measured() -> None:
    report = LoadReport(Load(1, 1, 1), "id", [])
    assert percentile(report.latencies, 50) == 0.0
    report.latencies = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(report.latencies, percent) for percent in (50, 75, 99)] == [2.0, 3.0, 4.0]
