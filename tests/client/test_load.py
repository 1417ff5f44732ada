"""The load test reports honestly: a purchase whose answer is lost is sent again, and never counted as a sale."""

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest

from api.client.graphql import NoAnswer, Refused, RequestFailed, graphql_clients
from api.client.load import Load, LoadReport, run_load
from tests.listener import accepting
from tests.patience import PATIENCE, short
from tests.server import ADMIN_TOKEN, Server


class LosingWay:
    """A proxy that loses the server's answers to the first `to_lose` purchases, once or always."""

    def __init__(self, server: Server) -> None:
        self._port = urlsplit(server.url).port
        self.url = ""
        self.to_lose = 0
        self.always = False
        self._lost: set[bytes] = set()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator["LosingWay"]:
        async with accepting(await asyncio.start_server(self._serve, "127.0.0.1", 0)) as port:
            self.url = f"http://127.0.0.1:{port}"
            yield self

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        keys: list[bytes] = []

        async def ask() -> None:
            while request := await reader.read(65536):
                keys.extend(re.findall(rb'"idempotencyKey":"([^"]+)"', request))
                server_writer.write(request)

        asking = asyncio.create_task(ask())
        while answer := await server_reader.read(65536):
            if keys and self._loses(keys[-1]):
                break
            writer.write(answer)
        asking.cancel()
        writer.close()
        server_writer.close()

    def _loses(self, key: bytes) -> bool:
        if key in self._lost:
            return self.always
        if len(self._lost) == self.to_lose:
            return False
        self._lost.add(key)
        return True


@pytest.fixture
async def way(server: Server) -> AsyncIterator[LosingWay]:
    async with LosingWay(server).open() as way:
        yield way


async def buy_out(way: LosingWay, *, purchases: int, units: int, patience: float = PATIENCE) -> LoadReport:
    async with graphql_clients([way.url], ADMIN_TOKEN, connections=4) as clients:
        return await run_load(clients, Load(purchases, 4, units, patience), None, lambda: None)


@pytest.mark.slow
async def test_a_purchase_whose_answer_is_lost_is_sent_again_and_sells_once(way: LosingWay) -> None:
    way.to_lose = 5
    report = await buy_out(way, purchases=40, units=30)
    assert report.outcomes == {"CONFIRMED": 30, "SOLD_OUT": 10}
    assert (report.resent, report.errors, report.final_stock) == (5, Counter(), 0)
    assert report.objection is None


async def test_answers_that_stay_lost_are_errors_and_the_units_are_missed(way: LosingWay) -> None:
    way.to_lose, way.always = 3, True  # the fourth buyer sends all other purchases
    report = await buy_out(way, purchases=10, units=30, patience=short(1))
    assert report.outcomes["CONFIRMED"] == 30 - 3 - 20
    assert report.errors.total() == 3
    assert report.final_stock == 20
    assert report.objection == "3 of 30 units are neither confirmed nor left; 3 purchases have no known outcome"


async def test_when_all_answers_stay_lost_the_load_stops_and_the_units_are_missed(way: LosingWay) -> None:
    way.to_lose, way.always = 1000, True
    report = await buy_out(way, purchases=1000, units=30, patience=short(0.3))
    assert (report.outcomes, report.purchases_per_second) == ({}, 0)
    sent = report.errors.total()
    assert 4 <= sent <= 8
    assert report.final_stock == 30 - sent
    assert report.objection == (
        f"no purchase had an outcome for {short(0.3):g} s, so the load stopped after {sent} of 1,000 purchases; "
        f"{sent} of 30 units are neither confirmed nor left; {sent} purchases have no known outcome"
    )


async def test_progress_is_reported_once_per_purchase(way: LosingWay) -> None:
    told: list[None] = []
    async with graphql_clients([way.url], ADMIN_TOKEN, connections=4) as clients:
        await run_load(clients, Load(25, 4, 10), None, lambda: told.append(None))
    assert len(told) == 25


async def test_an_operation_that_the_server_refuses_is_not_sent_again(server: Server) -> None:
    async with graphql_clients([server.url], None, connections=1) as [client]:
        with pytest.raises(Refused, match="operator") as refused:
            await client.execute('mutation { restock(input: { productId: "x", delta: 1 }) { id } }')
        assert refused.value.code == "UNAUTHENTICATED"
        with pytest.raises(Refused, match="Cannot query field 'prodcts'"):
            await client.execute("{ prodcts }")


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>",
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull",
        b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\n{\"data\":null}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\n{\"errors\":1}",
        b"HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"errors\":[1]}",
    ],
)  # fmt: skip
async def test_an_answer_of_no_graphql_server_is_refused_as_such(answer: bytes) -> None:
    async with answering(answer) as url, graphql_clients([url], None, connections=1) as [client]:
        with pytest.raises(RequestFailed, match=rf"^{url} answered (200|502), and not as a GraphQL server does$"):
            await client.execute("{ __typename }")


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{", b"SSH-2.0-OpenSSH_9.2\r\n"]
)
async def test_an_answer_that_breaks_off_is_a_lost_answer(answer: bytes) -> None:
    async with answering(answer) as url, graphql_clients([url], None, connections=1) as [client]:
        with pytest.raises(NoAnswer, match=rf"^no answer from {url}: .*; is the server running there\?$"):
            await client.execute("{ __typename }")


@contextlib.asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[str]:
    """Yield the URL of a server that answers every connection with the same bytes and closes it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        writer.close()

    async with accepting(await asyncio.start_server(serve, "127.0.0.1", 0)) as port:
        yield f"http://127.0.0.1:{port}"
