"""Which servers are sent the operator's token: those that the operator chose, and no other server.

0.0.0.0 stands in for another machine: requests to it reach this one, and it is no loopback address.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from api.client.graphql import is_in_the_clear, is_this_machine
from api.operator_token import make_operator_token
from tests.command import Run, dropzero_here
from tests.listener import accepting
from tests.server import ADMIN_TOKEN

WARNING = "dropzero: warning: DROPZERO_ADMIN_TOKEN is sent unencrypted to {url}, and everybody on the way can read it"
EMPTY = b'{"data":{"products":{"edges":[],"pageInfo":{"hasNextPage":false,"endCursor":null}}}}'


@contextlib.asynccontextmanager
async def listening(heads: list[bytes], answer: bytes) -> AsyncIterator[int]:
    """Yield the port of a server that records each request's head, and gives the same answer to every request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.close()

    async with accepting(await asyncio.start_server(serve, "127.0.0.1", 0)) as port:
        yield port


def ok(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (len(body), body)


async def list_products(url: str, data: Path, **variables: str) -> Run:
    return await dropzero_here("product", "list", DROPZERO_URL=url, DROPZERO_DATA=str(data), **variables)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_the_token_of_the_data_folder_is_sent_to_this_machine(tmp_path: Path, host: str) -> None:
    token = make_operator_token(tmp_path)
    heads: list[bytes] = []
    async with listening(heads, ok(EMPTY)) as port:
        run = await list_products(f"http://{host}:{port}", tmp_path)
    assert (run.status, run.err) == (0, "")
    assert len(heads) == 1
    assert f"authorization: bearer {token}".lower() in heads[0].decode().lower()


async def test_the_token_of_the_data_folder_is_sent_to_no_other_machine(tmp_path: Path) -> None:
    token = make_operator_token(tmp_path)
    heads: list[bytes] = []
    async with listening(heads, ok(EMPTY)) as port:
        run = await list_products(f"http://0.0.0.0:{port}", tmp_path)
    assert (run.status, run.err) == (0, "")
    assert len(heads) == 1
    assert b"authorization" not in heads[0].lower()
    assert token.encode() not in heads[0]


async def test_a_token_that_is_named_is_sent_everywhere_and_in_the_clear_with_a_warning(tmp_path: Path) -> None:
    heads: list[bytes] = []
    async with listening(heads, ok(EMPTY)) as port:
        url = f"http://0.0.0.0:{port}"
        away = await list_products(url, tmp_path, DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN)
        here = await list_products(f"http://127.0.0.1:{port}", tmp_path, DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN)
    assert [ADMIN_TOKEN.encode() in head for head in heads] == [True, True]
    assert (away.status, away.err) == (0, f"{WARNING.format(url=url)}; use https://\n")
    assert (here.status, here.err) == (0, "")
    assert ADMIN_TOKEN not in away.err + away.out


async def test_an_operation_that_needs_the_token_says_what_to_do(tmp_path: Path) -> None:
    make_operator_token(tmp_path)
    refusal = b'{"data":null,"errors":[{"message":"not you","extensions":{"code":"UNAUTHENTICATED"}}]}'
    async with listening([], ok(refusal)) as port:
        for command in (["load"], ["race"], ["product", "create", "n", "--drop", "d", "--stock", "1"]):
            url = f"http://0.0.0.0:{port}"
            run = await dropzero_here(*command, DROPZERO_URL=url, DROPZERO_DATA=str(tmp_path))
            assert (run.status, run.out) == (1, "")
            assert run.err == (
                "dropzero: not you; set DROPZERO_ADMIN_TOKEN to that server's token: the token of a data folder is "
                "sent to this machine alone\n"
            )


@pytest.mark.parametrize("token", [None, ADMIN_TOKEN])
async def test_a_redirect_to_another_server_does_not_carry_the_token(tmp_path: Path, token: str | None) -> None:
    make_operator_token(tmp_path)
    first: list[bytes] = []
    second: list[bytes] = []
    async with listening(second, ok(EMPTY)) as other:
        redirect = b"HTTP/1.1 307 There\r\nlocation: http://127.0.0.1:%d/graphql\r\ncontent-length: 0\r\n\r\n" % other
        async with listening(first, redirect) as port:
            variables = {} if token is None else {"DROPZERO_ADMIN_TOKEN": token}
            run = await list_products(f"http://127.0.0.1:{port}", tmp_path, **variables)
    assert run.status == 0, run.err
    assert [b"authorization" in head.lower() for head in (*first, *second)] == [True, False]


async def test_a_password_in_the_address_is_refused_and_not_repeated(tmp_path: Path) -> None:
    run = await list_products("http://ada:hunter2@127.0.0.1:9", tmp_path, DROPZERO_ADMIN_TOKEN=ADMIN_TOKEN)
    assert (run.status, run.out) == (1, "")
    assert run.err == (
        "dropzero: the address of a server has no user and no password; the operator's token is DROPZERO_ADMIN_TOKEN\n"
    )


def test_only_loopback_is_this_machine() -> None:
    for url in (
        "http://localhost:1",
        "http://LOCALHOST/graphql",
        "http://127.0.0.1",
        "https://127.8.9.1",
        "http://[::1]:1",
    ):
        assert is_this_machine(url), url
        assert not is_in_the_clear(url), url
    others = (
        *("http://localhost.evil.example", "http://127.0.0.1.evil.example", "http://localhost@evil.example"),
        *("http://evil.example/localhost", "http://evil.example#@localhost", "http://evil.example\\@localhost"),
        *("http://128.0.0.1", "http://0.0.0.0", "http://[::2]", "http://127.1", "http://2130706433", "http://", ""),
        *("localhost", "garbage", "http://[::1", "http://localhost:port"),
    )
    for url in others:
        assert not is_this_machine(url), url
    assert is_in_the_clear("http://shop.example")
    assert not is_in_the_clear("HTTPS://shop.example")
