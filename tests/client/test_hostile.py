"""Names and messages of a hostile server: the operator's terminal shows them, and obeys none of their codes."""

import json
import re
import unicodedata
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest
from aiohttp import web

from api.client import orders, products
from tests.command import Run, dropzero_here
from tests.listener import running
from tests.server import ADMIN_TOKEN, Server

TRICKS = (
    *(
        "\x1b[2J\x1b[31m",
        "\x1b]0;title\x07",
        "\x1b]8;;http://evil.example\x1b\\\\link",
        "\x9b1A",
        "\x90q\x9c",
        "\r\b\x7f",
    ),
    *("\u202egnp.exe", "\u2066a\u2069", "\u200b", "\u200d", "\ufeff", "\u00ad", "\u2028", "\u2029", "\ue000"),
    *("\U000e0041\U000e007f", "\U000e0100", "\u3164", "\u115f", "[red]", "[/]", "[link=http://evil.example]", ":fire:"),
)
EVIL = "".join(f"<{number}{trick}>" for number, trick in enumerate(TRICKS))
UUID = "45f33033-1e1c-4ca3-aaf8-60a96cab7c81"

Answer = Callable[[str], dict[str, Any]]


def hostile(answer: Answer) -> AbstractAsyncContextManager[str]:
    """Run, until the block is left, at a URL of its own, a server that answers each operation with `answer(query)`."""

    async def respond(request: web.Request) -> web.Response:
        return web.json_response(answer((await request.json())["query"]))

    app = web.Application()
    app.router.add_post("/graphql", respond)
    return running(web.AppRunner(app))


def lies(query: str) -> dict[str, Any]:
    """An answer to the query with tricks in every text that a server can choose."""
    node = {
        **dict.fromkeys(products.FIELDS, EVIL),
        **dict.fromkeys(orders.FIELDS, EVIL),
        "stock": 1,
        "limitPerBuyer": None,
        "holdSeconds": None,
        "revision": 1,
        "held": 0,
        "price": {"amount": EVIL, "currency": EVIL},
        "images": [{"url": EVIL, "alt": EVIL, "width": 1, "height": 1}],
        "descriptions": [{"language": EVIL, "text": EVIL}],
        "pausedAt": None,
        "archivedAt": None,
        "product": {"id": EVIL, "name": EVIL},
        "at": EVIL,
        "operator": EVIL,
        "action": EVIL,
        "orderId": EVIL,
        "changes": [{"field": EVIL, "before": EVIL, "after": EVIL}],
    }
    regions = [{"name": f"one{EVIL}", "home": True}, {"name": f"two{EVIL}", "home": False}]
    purchase = {"status": EVIL, "region": EVIL, "attempts": 1}
    page = {"edges": [{"node": node}], "pageInfo": {"hasNextPage": False, "endCursor": None}}
    answers = {"regions": regions, "products": page, "purchase": purchase, "createProduct": node, "product": node}
    changed = dict.fromkeys(("restock", "updateProduct", "pauseProduct", "order", "cancelOrder"), node)
    return {"data": {**answers, **changed, "orders": page, "operatorLog": page}}


def assert_harmless(run: Run) -> None:
    """Check that no printed character controls the terminal or is invisible, and that the tricks can be read."""
    text = run.out + run.err
    assert {each for each in text if unicodedata.category(each) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp")} <= {"\n"}
    assert re.search("[\u3164\u115f\U000e0100]", text) is None
    assert "Traceback" not in text
    for escape in (r"\x1b[2J", r"\x1b]0;title\x07", r"\x9b1A", r"\u202egnp.exe", r"\U000e0041", r"\u200d", r"\u3164"):
        assert escape in text
    for markup in ("[red]", "[/]", "[link=http://evil.example]", ":fire:"):
        assert markup in text


@pytest.mark.parametrize(
    "command",
    [
        ("product", "list"),
        ("product", "create", "n", "--drop", "d", "--stock", "1"),
        ("product", "restock", UUID, "1"),
        ("product", "show", UUID),
        ("product", "update", UUID, "--no-limit"),
        ("product", "pause", UUID),
        ("orders", "list"),
        ("orders", "show", UUID),
        ("orders", "cancel", "K7QM-2XRD-9HTV"),
        ("orders", "log"),
        ("load", "--purchases", "3"),
        ("race", "--rounds", "1"),
        ("load", "--region", "mars"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("is_error", [False, True])
async def test_the_terminal_shows_tricks_and_obeys_none(command: tuple[str, ...], is_error: bool) -> None:
    errors = {"errors": [{"message": EVIL, "extensions": {"code": EVIL}}], "data": None}
    async with hostile((lambda query: errors) if is_error else lies) as url:
        run = await dropzero_here(*command, DROPZERO_URL=url, DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN)
    assert_harmless(run)


async def test_a_message_is_one_line_whatever_it_has(server: Server) -> None:
    errors = {"errors": [{"message": "one\r\ntwo\n\n\tthree \x0b\x85four"}], "data": None}
    async with hostile(lambda query: errors) as url:
        run = await dropzero_here("product", "list", DROPZERO_URL=url, DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN)
    assert (run.status, run.out, run.err) == (1, "", "dropzero: one two three \\x0b\\x85four\n")


async def test_tricks_in_our_own_database_are_harmless_too(server: Server) -> None:
    product_id = await server.create_product()
    connection = await asyncpg.connect(server.settings.endpoints[0].url)
    name = "".join(TRICKS)
    await connection.execute("UPDATE products SET name = $2, drop_name = $2 WHERE id = $1", product_id, name)
    await connection.close()
    here = f"here={server.settings.endpoints[0].url}"
    audited = await dropzero_here("audit", DROPZERO_ENDPOINTS=here)
    listed = await dropzero_here("product", "list", DROPZERO_URL=server.url)
    for run in (audited, listed):
        assert run.status == 0, run.err
        assert_harmless(run)


@pytest.mark.parametrize(
    "command",
    [
        *[("product", "list"), ("product", "show", UUID), ("orders", "list"), ("orders", "counts", UUID)],
        *[("orders", "log"), ("load", "--purchases", "3"), ("race", "--rounds", "1")],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize(
    "data",
    [
        {},
        {"products": None, "regions": None},
        {"products": {"edges": [{}]}, "regions": [{}]},
        {"products": [1], "regions": [{"name": {}, "home": 1}, {"name": 2, "home": 0}], "createProduct": None},
        {"products": {"edges": [{"node": {"id": 1, "name": 2, "dropName": 3, "stock": "x"}}]}, "regions": "abc"},
    ],
    ids=json.dumps,
)
async def test_data_of_another_shape_ends_a_command_with_one_line(
    command: tuple[str, ...], data: dict[str, Any]
) -> None:
    async with hostile(lambda query: {"data": data}) as url:
        run = await dropzero_here(*command, DROPZERO_URL=url, DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN)
    assert (run.status, run.out) == (1, "")
    assert run.err == (
        f"dropzero: {url} answered with data that has another shape; is it a dropzero of this version?\n"
    )


async def test_a_list_without_end_ends(server: Server) -> None:
    page = {"edges": [], "pageInfo": {"hasNextPage": True, "endCursor": "x"}}
    async with hostile(lambda query: {"data": {"products": page}}) as url:
        run = await dropzero_here("product", "list", DROPZERO_URL=url, DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN)
    assert run.status == 0
