"""Requests behind others on one connection: answers come in order, and what waits is bounded."""

import asyncio
import gc
from dataclasses import replace

import orjson
import pytest

from api.cycle import Cycle
from api.http_protocol import BoundedHttp
from api.settings import Settings, SocketTimes
from tests.graphql.subscriptions import WATCH
from tests.patience import PATIENCE, short, until
from tests.protocol.frames import HANDSHAKE, LINE, PING, PONG, Socket, frame
from tests.protocol.raw import PIECES, TYPENAME, connection_to, exchange, pieces_of, purchase, request, stock_of
from tests.server import ADMIN_TOKEN, Server, serving

POST = b"POST /graphql HTTP/1.1"
GET = request(b"GET /healthz HTTP/1.1")
CHUNKS = (b"Content-Type: application/json", b"Transfer-Encoding: chunked")


async def bought(server: Server, number: int) -> bytes:
    """Return so many purchases of one product, as bytes."""
    product_id = await server.create_product(stock=10)
    return request(POST, body=purchase(product_id)) * number


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize(
    ("behind", "status"),
    [
        (b"\0\1\2\3", 400),
        (b"GET / HTTP/1.1\nHost: test\n\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (request(b"CONNECT test:80 HTTP/1.1"), 405),
        (request(POST, *CHUNKS) + b"x\r\n", 400),
        (request(POST, b"Content-Length: 1", b"Content-Length: 2"), 400),
        (request(b"GET /%s HTTP/1.1" % (b"a" * 9_000)), 414),
        (request(LINE, *HANDSHAKE) + frame(PING), 400),
    ],
    ids=["garbage", "LF", "no Host", "CONNECT", "a chunk", "two lengths", "a long target", "a frame"],
)
async def test_an_invalid_request_is_refused_after_the_answers_before_it(
    server: Server, behind: bytes, status: int, pieces: str
) -> None:
    sent = await bought(server, 3) + behind
    # In pieces the frame behind the handshake can arrive after its answer.
    answers = await exchange(server, pieces_of(sent, "whole" if behind.endswith(frame(PING)) else pieces))

    assert [answer.status for answer in answers] == [200, 200, 200, status]
    assert [answer.data["purchase"]["remaining"] for answer in answers[:3]] == [9, 8, 7]


async def test_an_invalid_body_is_refused_although_its_request_has_begun(server: Server) -> None:
    async with connection_to(server) as connection:
        await connection.send(request(POST, *CHUNKS) + b"5\r\n12345\r\n")
        await connection.send(GET)
        assert [answer.status for answer in await connection.answers()] == [400]


@pytest.mark.parametrize("pieces", ["whole", "head, rest"])
async def test_a_handshake_waits_for_the_answers_before_it(server: Server, pieces: str) -> None:
    sent = await bought(server, 2) + request(LINE, *HANDSHAKE)
    async with connection_to(server) as connection:
        await connection.send(*pieces_of(sent, pieces))
        first, second, third = [await connection.answer() for _ in range(3)]
        assert [first.status, second.status, third.status] == [200, 200, 101]
        assert [first.data["purchase"]["remaining"], second.data["purchase"]["remaining"]] == [9, 8]

        await connection.send(frame(PING, b"here"))
        assert await Socket(connection).frame() == (PONG, b"here")


async def test_thousands_of_requests_at_once_are_answered_in_order(server: Server) -> None:
    last = request(b"GET /nothing HTTP/1.1", b"Connection: close")
    answers = await exchange(server, [GET * 3_000 + last])

    assert [answer.status for answer in answers] == [200] * 3_000 + [404]


async def test_requests_behind_an_event_stream_are_not_read(settings: Settings) -> None:
    """The stream goes on until its client disconnects, and no request behind it can be answered."""
    before, times = waiting(), SocketTimes(comment=short(0.2))
    async with serving(replace(settings, socket_times=times)) as server:
        product_id = await server.create_product()
        body = orjson.dumps({"query": WATCH, "variables": {"ids": [product_id]}})
        async with connection_to(server) as connection:
            await connection.send(request(POST, b"Accept: text/event-stream", body=body))
            await asyncio.wait_for(connection.reader.readuntil(b'"stock":10'), PATIENCE)
            connection.writer.write(GET * 100_000)
            await until(lambda: waiting() > before + 1_000 or any(is_held(each) for each in gc.get_objects()))
            assert (await server.purchase(product_id))["status"] == "CONFIRMED"
            assert waiting() < before + 1_000
            connection.writer.transport.abort()
        await server.session.close()
        await until(lambda: waiting() <= before)


def waiting() -> int:
    """Count the requests that this process keeps."""
    return sum(type(each) is Cycle for each in gc.get_objects())


def is_held(each: object) -> bool:
    # Not isinstance, which fails on weak proxies of objects that are gone.
    return type(each) is BoundedHttp and each.flow is not None and each.flow.read_paused


@pytest.mark.parametrize(
    "trailer", [b"Authorization: Bearer " + ADMIN_TOKEN.encode(), b"X: 1"], ids=["a token", "none"]
)
async def test_a_trailer_is_not_read_as_an_authorization_header(server: Server, trailer: bytes) -> None:
    query = 'mutation { createProduct(input: {name: "Tee", dropName: "None", stock: 1}) { id } }'
    body = orjson.dumps({"query": query})
    chunks = b"%x\r\n%s\r\n0\r\n%s\r\n\r\n" % (len(body), body, trailer)
    [answer] = await exchange(server, [request(POST, b"Connection: close", *CHUNKS), chunks])

    assert orjson.loads(answer.body)["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_a_trailer_is_not_read_as_a_content_type_header(server: Server) -> None:
    chunks = b"%x\r\n%s\r\n0\r\nContent-Type: application/json\r\n\r\n" % (len(TYPENAME), TYPENAME)
    [answer] = await exchange(server, [request(POST, b"Connection: close", b"Transfer-Encoding: chunked"), chunks])

    assert answer.status == 415


@pytest.mark.parametrize("line", [b"\r\n", b"\r\n\r\n"], ids=["one", "two"])
async def test_empty_lines_do_not_keep_a_connection_open(settings: Settings, line: bytes) -> None:
    times = SocketTimes(keep_alive=short(0.3))
    async with serving(replace(settings, socket_times=times)) as server, connection_to(server) as connection:
        await connection.send(GET)
        assert (await connection.answer()).status == 200
        await connection.send(line)
        assert await connection.closed() == b""


async def test_the_time_between_requests_does_not_cut_off_a_long_request(settings: Settings) -> None:
    """The time begins when the second request has begun, and is incomplete."""
    times = SocketTimes(keep_alive=short(0.3))
    async with serving(replace(settings, socket_times=times)) as server, connection_to(server) as connection:
        product_id = await server.create_product()
        body = orjson.dumps({"query": WATCH, "variables": {"ids": [product_id]}})
        stream = request(POST, b"Accept: text/event-stream", body=body)
        await connection.send(GET + stream[:50])
        assert (await connection.answer()).status == 200
        await connection.send(stream[50:])
        await asyncio.wait_for(connection.reader.readuntil(b'"stock":10'), PATIENCE)
        async with connection_to(server) as other:  # opened later, it ends when the time is over
            await other.send(GET)
            assert (await other.answer()).status == 200
            assert await other.closed() == b""
        assert (await server.purchase(product_id))["status"] == "CONFIRMED"
        await asyncio.wait_for(connection.reader.readuntil(b'"stock":9'), PATIENCE)


async def test_garbage_leaves_no_line_in_the_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    product_id = await server.create_product()
    for garbage in (b"\0", request(b"CONNECT a:1 HTTP/1.1"), request(LINE, *HANDSHAKE) + b"\0", GET * 2 + b"\0"):
        await exchange(server, [garbage])

    assert await stock_of(server, product_id) == 10
    assert [record for record in caplog.records if record.name != "dropzero.refusals"] == []
