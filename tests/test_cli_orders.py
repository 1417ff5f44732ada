"""`dropzero orders` before a server that runs, and the JSON of audit, load and race."""

import csv
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from api.client.orders import FIELDS
from tests.command import dropzero, operator
from tests.listener import running
from tests.server import ADMIN_TOKEN, Server

COLUMNS = list(FIELDS)


async def lines(server: Server, *arguments: str) -> list[dict[str, Any]]:
    """Run a command, and return the JSON lines that it prints."""
    run = await operator(server, "orders", *arguments, "--json")
    assert (run.status, run.err) == (0, ""), run
    return [json.loads(line) for line in run.out.splitlines()]


async def document(server: Server, *arguments: str) -> dict[str, Any]:
    [found] = await lines(server, *arguments)
    return found


def files(folder: Path) -> dict[str, str]:
    """The files of a folder with their texts."""
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


async def test_orders_are_found_counted_and_cancelled(server: Server) -> None:
    tee, cap = await server.create_product(), await server.create_product(name="Cap")
    first, second = [(await server.purchase(tee, buyer, quantity=2))["order"]["id"] for buyer in ("ada", "bob")]
    await server.purchase(cap, "ada")
    order = await document(server, "show", first)
    assert list(order) == COLUMNS
    assert (order["id"], order["productName"], order["quantity"]) == (first, "Tee", 2)
    assert await document(server, "show", order["reference"].lower()) == order
    assert re.search(rf"^reference +{order['reference']}$", (await operator(server, "orders", "show", first)).out, re.M)

    async def found(*arguments: str) -> list[str]:
        return [order["id"] for order in await lines(server, "list", *arguments)]

    assert await found("--product", tee) == [second, first]
    assert await found("--product", tee, "--limit", "1") == [second]
    assert await found("--buyer", "ada", "--product", tee) == [first]
    assert await found("--reference", order["reference"]) == [first]
    assert await found("--until", order["createdAt"]) == []
    table = (await operator(server, "orders", "list", "--product", tee)).out
    assert re.search(rf"^{first} +{order['reference']} +Tee +ada +CONFIRMED +\S+ +2$", table, re.M)

    assert (await document(server, "cancel", order["reference"]))["status"] == "CANCELLED"
    assert await found("--product", tee, "--status", "cancelled") == [first]
    counted = {"orders": 1, "units": 2}
    none = {"orders": 0, "units": 0}
    expected = {"held": none, "confirmed": counted, "cancelled": counted, "lapsed": none}
    assert await document(server, "counts", tee) == expected
    assert re.search(r"^cancelled +1 +2$", (await operator(server, "orders", "counts", tee)).out, re.M)

    log = await lines(server, "log", "--product", tee)
    assert [(entry["action"], entry["orderId"]) for entry in log] == [
        ("ORDER_CANCELLED", first),
        ("PRODUCT_CREATED", None),
    ]
    assert re.search(rf"operator +ORDER_CANCELLED +{first}", (await operator(server, "orders", "log")).out)


async def test_an_order_that_is_not_there_is_one_line(server: Server) -> None:
    for name in ("6f1c0d0e-3c57-4c5a-9d57-0d8f4c1b2a3e", "K7QM-2XRD-9HTV"):
        for command in ("show", "cancel"):
            run = await operator(server, "orders", command, name)
            assert (run.status, run.out, run.err) == (1, "", f"dropzero: there is no order {name}\n")
    run = await operator(server, "orders", "show", "12")
    assert run.err.startswith("dropzero: reference must be the code of an order, such as K7QM-2XRD-9HTV")
    run = await operator(server, "orders", "list", "--status", "LAPSED")
    assert run.err == "dropzero: the status LAPSED needs a productId or a userRef as well: add one\n"


async def test_an_export_is_a_file_that_balances(server: Server, tmp_path: Path) -> None:
    product_id = await server.create_product()
    await server.create_product()
    ids = [(await server.purchase(product_id, f'"{n}, é', quantity=n))["order"]["id"] for n in (1, 2, 3)]
    await operator(server, "orders", "cancel", ids[0])
    file = tmp_path / "orders.csv"

    exported = await document(server, "export", "--product", product_id, "--output", str(file))
    at = exported.pop("at")
    assert exported == {"orders": 3, "units": 5, "stocked": 10, "stock": 5, "balanced": True}
    header, *rows = csv.reader(io.StringIO(file.read_text(encoding="utf-8"), newline=""))
    assert header == COLUMNS
    assert [row[0] for row in rows] == ids
    assert files(tmp_path) == {file.name: file.read_text(encoding="utf-8")}

    run = await operator(server, "orders", "export", "--format", "jsonl", "--output", str(file))
    assert (run.status, run.err) == (0, "")
    assert re.search(rf"^3 orders, as they were at \S+: {re.escape(str(file))}\n$", run.out)
    assert {json.loads(line)["id"] for line in file.read_text().splitlines()} == set(ids)
    one = await document(server, "export", "--status", "CANCELLED", "--until", at, "--output", str(file))
    assert (one["orders"], one["units"], one["balanced"]) == (1, 0, None)

    # To standard output, as a process: it is a stream of bytes.
    there = {"DROPZERO_URL": server.url, "DROPZERO_ADMIN_TOKEN": ADMIN_TOKEN}
    piped = await dropzero("orders", "export", "--format", "jsonl", **there)
    assert (piped.status, piped.err) == (0, "")
    assert {json.loads(line)["id"] for line in piped.out.splitlines()} == set(ids)


async def test_books_that_do_not_balance_end_an_export_with_status_1(server: Server, tmp_path: Path) -> None:
    product_id = await server.create_product()
    await server.purchase(product_id, quantity=3)
    connection = await asyncpg.connect(server.settings.endpoints[0].url)
    await connection.execute(
        "UPDATE stock_shards SET stock = stock - 1 WHERE product_id = $1 AND shard = 9", product_id
    )
    await connection.close()
    for ending in ("csv", "jsonl"):
        output = ("--output", str(tmp_path / "orders"))
        run = await operator(server, "orders", "export", "--format", ending, *output, "--json")
        assert run.status == 1
        assert json.loads(run.out)["balanced"] is False
        assert run.err == (
            "dropzero: the books do not balance: 4 units have left the stock, and 3 are in the held and the confirmed "
            "orders of the export; run dropzero audit\n"
        )


HEADERS = {"x-dropzero-at": "2026-12-01T10:00:00+00:00", "x-dropzero-stocked": "1", "x-dropzero-stock": "0"}
ORDER = json.dumps({"status": "CONFIRMED", "quantity": 1}).encode() + b"\n"


@asynccontextmanager
async def exporter(*pieces: bytes, end: bool) -> AsyncIterator[str]:
    """A server whose export has these pieces. Without an `end` it closes the connection in the middle."""

    async def respond(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HEADERS)
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        if not end:
            assert request.transport is not None
            request.transport.abort()
        return response

    app = web.Application()
    app.router.add_get("/operator/orders.jsonl", respond)
    async with running(web.AppRunner(app)) as url:
        yield url


@pytest.mark.parametrize(
    ("pieces", "end", "complaint"),
    [
        ((ORDER,), False, r"the answer of \S+ broke off: .*; it is not whole"),
        ((ORDER, ORDER[:5]), True, r"\S+ sent a part of a line at the end of the export"),
        ((b"<html>\n",), True, r"\S+ answered with data that has another shape; is it a dropzero of this version\?"),
    ],
    ids=["broken off", "half a line", "no order"],
)
async def test_an_export_that_is_not_whole_leaves_the_file_as_it_was(
    server: Server, tmp_path: Path, pieces: tuple[bytes, ...], end: bool, complaint: str
) -> None:
    file = tmp_path / "orders.jsonl"
    for before in (None, "the export of yesterday"):
        if before is not None:
            file.write_text(before)
        async with exporter(*pieces, end=end) as url:
            output = ("--format", "jsonl", "--output", str(file))
            run = await operator(server, "orders", "export", *output, DROPZERO_URL=url)
        assert (run.status, run.out) == (1, "")
        assert re.fullmatch(f"dropzero: {complaint}\n", run.err)
        assert files(tmp_path) == ({} if before is None else {file.name: before})


async def test_an_order_in_two_pieces_is_counted_once(server: Server, tmp_path: Path) -> None:
    async with exporter(ORDER[:7], ORDER[7:], end=True) as url:
        output = ("--format", "jsonl", "--output", str(tmp_path / "orders"))
        run = await operator(server, "orders", "export", *output, "--json", DROPZERO_URL=url)
    assert (run.status, json.loads(run.out)["balanced"]) == (0, True), run.err


async def test_an_export_that_is_refused_is_one_line(server: Server, tmp_path: Path) -> None:
    output = ("--output", str(tmp_path / "orders"))
    nobody = {"DROPZERO_ADMIN_TOKEN": "", "DROPZERO_DATA": str(tmp_path / "nobody's")}
    for arguments, variables, complaint in (
        (("--product", "12", *output), {}, "dropzero: productId must be a UUID"),
        (("--output", str(tmp_path)), {}, f"dropzero: {tmp_path} is a folder; name a file with --output"),
        (("--output", str(tmp_path / "no" / "file")), {}, f"dropzero: cannot write {tmp_path}/no/file: No such file"),
        (output, nobody, "dropzero: this is for the operator and for support: send the operator's token"),
        (output, {"DROPZERO_URL": "http://127.0.0.1:9"}, "dropzero: no answer from http://127.0.0.1:9: Connection ref"),
    ):
        run = await operator(server, "orders", "export", *arguments, **variables)
        assert (run.status, run.out) == (1, "")
        assert run.err.startswith(complaint)
        assert run.err.count("\n") == 1
    assert "set DROPZERO_ADMIN_TOKEN" in (await operator(server, "orders", "export", *output, **nobody)).err
    assert files(tmp_path) == {}
    assert (await operator(server, "orders", "export", "--json")).status == 2


async def test_the_reports_are_json_for_programs(server: Server) -> None:
    load = await operator(server, "load", "--purchases", "8", "--units", "5", "--buyers", "4", "--json")
    report = json.loads(load.out)
    assert (load.status, report["exact"], report["finalStock"]) == (0, True, 0)
    assert report["outcomes"] == {"CONFIRMED": 5, "SOLD_OUT": 3}
    assert report["latencyMs"]["p50"] > 0

    race = await operator(server, "race", "--rounds", "2", "--json")
    report = json.loads(race.out)
    assert (race.status, report["exact"], report["rounds"], len(report["regions"])) == (0, True, 2, 2)
    assert sum(region["confirmed"] for region in report["regions"]) == 2

    here = {"DROPZERO_ENDPOINTS": f"here={server.settings.endpoints[0].url}"}
    audited = await operator(server, "audit", "--json", **here)
    books = json.loads(audited.out)
    assert (audited.status, books["balanced"], len(books["products"])) == (0, True, 3)
    assert books["products"][0].keys() >= {"productId", "stocked", "stock", "held", "sold", "objection"}
    connection = await asyncpg.connect(server.settings.endpoints[0].url)
    await connection.execute("UPDATE stock_shards SET stock = stock + 1 WHERE shard = 9")
    await connection.close()
    audited = await operator(server, "audit", "--json", **here)
    assert (audited.status, json.loads(audited.out)["balanced"]) == (1, False)
    assert audited.err.startswith("dropzero: the books do not balance")
