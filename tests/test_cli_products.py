"""`dropzero product` before a server that runs: changes of products, and what is printed of them."""

import json
import re
from typing import Any

import pytest

from tests.command import Run, operator
from tests.server import ADMIN_TOKEN, Server


async def product(server: Server, *arguments: str) -> dict[str, Any]:
    """Run a command, and return the product that it prints as JSON."""
    run = await operator(server, "product", *arguments, "--json")
    assert (run.status, run.err) == (0, ""), run
    found: dict[str, Any] = json.loads(run.out)
    return found


async def test_a_product_is_changed_field_by_field(shared_server: Server) -> None:
    created = await product(
        shared_server,
        *["create", "Tée", "--drop", "Night", "--stock", "5", "--limit", "2", "--hold-seconds", "60"],
        *["--opens-at", "2026-12-01T10:00+01:00", "--closes-at", "2026-12-02T10:00+01:00", "--description", "Black"],
    )
    product_id = created["id"]
    assert created["opensAt"] == "2026-12-01T09:00:00+00:00"
    assert (created["description"], created["closesAt"]) == ("Black", "2026-12-02T09:00:00+00:00")

    changed = await product(
        shared_server, "update", product_id, "--name", "Cap", "--limit", "3", "--hold-seconds", "90"
    )
    new = {"name": "Cap", "limitPerBuyer": 3, "holdSeconds": 90, "revision": created["revision"] + 1}
    assert changed == {**created, **new}
    options = ["--no-limit", "--no-hold", "--no-opening", "--no-closing", "--no-description"]
    removed = await product(shared_server, "update", product_id, *options)
    none = dict.fromkeys(("limitPerBuyer", "holdSeconds", "opensAt", "closesAt", "description"))
    assert removed == {**changed, **none, "revision": changed["revision"] + 1}
    closes = ["--closes-at", "2030-01-01T00:00:00.250Z"]
    assert (await product(shared_server, "update", product_id, *closes))[
        "closesAt"
    ] == "2030-01-01T00:00:00.250000+00:00"

    listed = await operator(shared_server, "product", "list", "--drop", "Night", "--json")
    [line] = map(json.loads, listed.out.splitlines())
    shown = await product(shared_server, "show", product_id)
    assert shown == {**line, "held": 0}
    fields = (await operator(shared_server, "product", "show", product_id)).out
    assert re.search(r"^name +Cap$", fields, re.M)
    assert re.search(r"^limitPerBuyer$", fields, re.M)


async def test_a_sale_is_paused_resumed_and_archived(shared_server: Server) -> None:
    product_id = await shared_server.create_product(dropName="Pause")

    async def listed(*arguments: str) -> Run:
        return await operator(shared_server, "product", "list", "--drop", "Pause", *arguments)

    assert (await product(shared_server, "pause", product_id))["pausedAt"] is not None
    assert (await shared_server.purchase(product_id))["status"] == "PAUSED"
    assert re.search(rf"^{product_id} .* paused +10 *$", (await listed()).out, re.M)
    assert (await product(shared_server, "resume", product_id))["pausedAt"] is None
    assert (await shared_server.purchase(product_id))["status"] == "CONFIRMED"
    assert (await product(shared_server, "archive", product_id))["archivedAt"] is not None
    assert (await listed()).out.count(product_id) == 0
    assert re.search(rf"^{product_id} .* archived +9 *$", (await listed("--archived")).out, re.M)


async def test_a_change_on_an_older_revision_names_the_changes_of_others(shared_server: Server) -> None:
    product_id = await shared_server.create_product()
    revision = (await product(shared_server, "show", product_id))["revision"]
    stock = (await product(shared_server, "restock", product_id, "-1"))["stock"]
    assert (await product(shared_server, "restock", product_id, "1"))["stock"] == stock + 1
    await product(shared_server, "update", product_id, "--name", "Cap")
    await product(shared_server, "update", product_id, "--limit", "3")
    run = await operator(shared_server, "product", "update", product_id, "--limit", "5", "--revision", str(revision))
    assert (run.status, run.out) == (1, "")
    at = r"at \S+ operator changed it: "
    assert re.search(rf"read it again.*; {at}name 'Tee' -> 'Cap'; {at}limitPerBuyer '3'\n$", run.err)
    assert run.err.count("\n") == 1
    assert (await product(shared_server, "show", product_id))["limitPerBuyer"] == 3


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        ((), 2, "name at least one value to change"),
        (("--limit", "5", "--no-limit"), 2, "--limit and --no-limit exclude each other"),
        (("--limit", "0"), 1, "dropzero: limitPerBuyer must be between 1 and"),
        (
            ("--closes-at", "2026-12-01T10:00"),
            2,
            "write a date, a time and a UTC offset, such as 2026-12-01T10:00+01:00",
        ),
        (("--opens-at", "tomorrow"), 2, "such as 2026-12-01T10:00+01:00, not 'tomorrow'"),
    ],
)
async def test_a_change_that_cannot_be_made_says_why(
    shared_server: Server, arguments: tuple[str, ...], status: int, complaint: str
) -> None:
    product_id = await shared_server.create_product()
    run = await operator(shared_server, "product", "update", product_id, *arguments)
    assert (run.status, run.out) == (status, "")
    assert complaint in " ".join(re.sub("[│╭╮╰╯─]", " ", run.err).split())


async def test_an_unknown_product_is_one_line(shared_server: Server) -> None:
    nobody = "6f1c0d0e-3c57-4c5a-9d57-0d8f4c1b2a3e"
    for command in (("show", nobody), ("update", nobody, "--name", "Cap"), ("pause", nobody, "--json")):
        run = await operator(shared_server, "product", *command)
        assert (run.status, run.out, run.err) == (1, "", f"dropzero: there is no product {nobody}\n")
    assert ADMIN_TOKEN not in run.err
