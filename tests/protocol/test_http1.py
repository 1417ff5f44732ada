"""HTTP/1.1 as RFC 9112 defines it, on raw sockets: what is answered, what is refused, and that no body is executed.

Each case ends with the server closing the connection: a request that is valid asks for it.
"""

import pytest

from api.refusal import MAX_FIELDS, MAX_HEAD, MAX_TARGET
from tests.protocol.conftest import STOCK
from tests.protocol.raw import ANYTHING, PIECES, TYPENAME, exchange, pieces_of, purchase, request, stock_of
from tests.server import Server

CLOSE = b"Connection: close"
JSON = b"Content-Type: application/json"
CHUNKED = b"Transfer-Encoding: chunked"
GET = b"GET /healthz HTTP/1.1"
POST = b"POST /graphql HTTP/1.1"
LAST = request(GET, CLOSE)
BUY = purchase()
HIDDEN = request(POST, CLOSE, body=BUY)
"""A whole request. As a body, or behind the last request, it must not run."""


def get(*headers: bytes) -> bytes:
    return request(GET, CLOSE, *headers)


def bare(*lines: bytes) -> bytes:
    """Return a head of exactly these lines."""
    return b"\r\n".join([*lines, b"", b""])


def chunked(body: bytes, *headers: bytes) -> bytes:
    return request(POST, CLOSE, JSON, CHUNKED, *headers) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def sized(length: bytes, body: bytes = TYPENAME) -> bytes:
    return request(POST, CLOSE, JSON, b"Content-Length: " + length) + body


END = b"0\r\n\r\n"

VALID: dict[str, tuple[bytes, list[int]]] = {
    "a GET": (get(), [200]),
    "names in capitals": (bare(GET, b"HOST: test", b"CONNECTION: CLOSE"), [200]),
    "no blank behind the colon": (bare(GET, b"Host:test", b"Connection:close"), [200]),
    "blanks around a value": (bare(GET, b"Host: \t test \t ", b"Connection:  close "), [200]),
    "empty lines before the line": (b"\r\n\r\n" + get(), [200]),
    "an empty value": (get(b"X:"), [200]),
    "a value in Latin-1": (get(b"X: \xe4\xff"), [200]),
    "an empty Host": (bare(GET, b"Host:", CLOSE), [200]),
    "a Host that is an IPv6 address": (bare(GET, b"Host: [::1]:8000", CLOSE), [200]),
    "HTTP/1.0": (bare(b"GET /healthz HTTP/1.0"), [200]),
    "HTTP/1.0 with a Host": (bare(b"GET /healthz HTTP/1.0", b"Host: test"), [200]),
    "HTTP/1.0 that wants to stay": (bare(b"GET /healthz HTTP/1.0", b"Connection: keep-alive"), [200]),
    "a target that is a URL": (request(b"GET http://test/healthz HTTP/1.1", CLOSE), [200]),
    "a URL without a path": (request(b"GET http://test HTTP/1.1", CLOSE), [200]),
    "a URL with a query alone": (request(b"GET http://test?a=b HTTP/1.1", CLOSE), [200]),
    "a URL without a path behind others": (
        100 * request(GET) + request(b"GET http://test HTTP/1.1", CLOSE),
        [200] * 101,
    ),
    "a target with an escape": (request(b"GET /he%61lthz HTTP/1.1", CLOSE), [200]),
    "a target for all of the server": (request(b"OPTIONS * HTTP/1.1", CLOSE), [404]),
    "a method that the path has not": (request(b"DELETE /healthz HTTP/1.1", CLOSE), [405]),
    "a path that is not there": (request(b"GET /nothing HTTP/1.1", CLOSE), [404]),
    "a POST": (request(POST, CLOSE, body=TYPENAME), [200]),
    "a length with zeros before it": (sized(b"000%d" % len(TYPENAME)), [200]),
    "a length with a blank behind it": (sized(b"%d " % len(TYPENAME)), [200]),
    "a GET with a length of 0": (get(b"Content-Length: 0"), [200]),
    "a GET with a body": (request(GET, CLOSE, body=HIDDEN), [200]),
    "one chunk": (chunked(chunk(TYPENAME) + END), [200]),
    "chunks of one byte": (chunked(b"".join(chunk(bytes([each])) for each in TYPENAME) + END), [200]),
    "the coding in capitals": (
        request(POST, CLOSE, JSON, b"Transfer-Encoding: CHUNKED") + chunk(TYPENAME) + END,
        [200],
    ),
    "chunk sizes with zeros and capitals": (chunked(b"0001A\r\n" + TYPENAME + b"\r\n000\r\n\r\n"), [200]),
    "a chunk's extensions": (chunked(b'1a;a;b=c;d="e"\r\n' + TYPENAME + b"\r\n0;f\r\n\r\n"), [200]),
    "trailers": (chunked(chunk(TYPENAME) + b"0\r\nX-Sum: 1\r\nY: 2\r\n\r\n"), [200]),
    "Expect: 100-continue": (request(POST, CLOSE, b"Expect: 100-continue", body=TYPENAME), [100, 200]),
    "two requests": (request(GET) + LAST, [200, 200]),
    "five requests": (request(GET) + 3 * request(POST, body=TYPENAME) + LAST, [200] * 5),
    "an empty line between two requests": (request(GET) + b"\r\n" + LAST, [200, 200]),
    "a chunked body and a request": (
        request(POST, JSON, CHUNKED) + chunk(TYPENAME) + END + LAST,
        [200, 200],
    ),
    "a request in a body": (request(POST, body=HIDDEN) + LAST, [400, 200]),
    "a request in a chunk": (request(POST, JSON, CHUNKED) + chunk(HIDDEN) + END + LAST, [400, 200]),
    "a request behind the last": (get() + HIDDEN, [200]),
    "a request behind HTTP/1.0": (bare(b"GET /healthz HTTP/1.0") + HIDDEN, [200]),
    "a request behind HTTP/1.0 that wants to stay": (
        bare(b"GET /healthz HTTP/1.0", b"Connection: keep-alive") + HIDDEN,
        [200],
    ),
    "garbage behind the last": (get() + b"\0\1\2\3", [200]),
    "as many headers as there may be": (get(*[b"X: 1"] * (MAX_FIELDS - 2)), [200]),
    "a target as long as it may be": (request(b"GET /healthz?%s HTTP/1.1" % (b"a" * (MAX_TARGET - 9)), CLOSE), [200]),
    "a head as long as it may be": (get(b"X: " + b"a" * (MAX_HEAD - len(get()) - 5)), [200]),
}

REFUSED: dict[str, tuple[bytes, list[int]]] = {
    "no Host": (bare(GET, CLOSE), [400]),
    "two Hosts": (get(b"Host: other"), [400]),
    "two Hosts that are the same": (get(b"Host: test"), [400]),
    "two Hosts in HTTP/1.0": (bare(b"GET /healthz HTTP/1.0", b"Host: a", b"Host: b"), [400]),
    "a Host with a path": (bare(GET, b"Host: test/a", CLOSE), [400]),
    "a Host with a name of a user": (bare(GET, b"Host: a@test", CLOSE), [400]),
    "two names in a Host": (bare(GET, b"Host: a, b", CLOSE), [400]),
    "a blank in a Host": (bare(GET, b"Host: a b", CLOSE), [400]),
    "HTTP/0.9": (b"GET /healthz\r\n\r\n", [505]),
    "HTTP/0.9 by name": (request(b"GET /healthz HTTP/0.9"), [505]),
    "HTTP/1.2": (request(b"GET /healthz HTTP/1.2"), [505]),
    "HTTP/2.0": (request(b"GET /healthz HTTP/2.0"), [505]),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [505]),
    "a version without a dot": (request(b"GET /healthz HTTP/11"), [400]),
    "a version in small letters": (request(b"GET /healthz http/1.1"), [400]),
    "something behind the version": (request(b"GET /healthz HTTP/1.1 x"), [400]),
    "RTSP": (request(b"DESCRIBE /healthz RTSP/1.0"), [405]),
    "ICE": (request(b"SOURCE /healthz ICE/1.0"), [405]),
    "CONNECT": (request(b"CONNECT test:80 HTTP/1.1") + HIDDEN, [405]),
    "CONNECT with a body": (request(b"CONNECT test:80 HTTP/1.1", body=HIDDEN), [405]),
    "a method of WebDAV": (request(b"PROPFIND /healthz HTTP/1.1"), [405]),
    "a method of nobody": (request(b"BUY /healthz HTTP/1.1"), [400]),
    "a method in small letters": (request(b"get /healthz HTTP/1.1"), [400]),
    "a tab in the line": (request(b"GET\t/healthz HTTP/1.1"), [400]),
    "a blank in the target": (request(b"GET /a b HTTP/1.1"), [400]),
    "a NUL in the target": (request(b"GET /\0 HTTP/1.1"), [400]),
    "a target beyond ASCII": (request(b"GET /\xff HTTP/1.1"), [400]),
    "a target without a slash": (request(b"GET healthz HTTP/1.1"), [400]),
    "a length of thousands of zeros": (sized(b"0" * 5_000), [400]),
    "no target": (request(b"GET  HTTP/1.1"), [400]),
    "a TLS handshake": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 30, [400]),
    "lines that end with LF": (b"GET /healthz HTTP/1.1\nHost: test\n\n", [400]),
    "lines that end with CR": (b"GET /healthz HTTP/1.1\rHost: test\r\r", [400]),
    "a header that ends with LF": (b"GET /healthz HTTP/1.1\r\nHost: test\nX: 1\r\n\r\n", [400]),
    "a CR in a header": (get(b"X: 1\rY: 2"), [400]),
    "a NUL in a header": (get(b"X: 1\0"), [400]),
    "DEL in a header": (get(b"X: 1\x7f"), [400]),
    "a folded header": (get(b"X: 1\r\n 2"), [400]),
    "a folded header with a tab": (get(b"X: 1\r\n\t2"), [400]),
    "a blank before the first header": (bare(GET, b" Host: test"), [400]),
    "a blank before the colon": (get(b"X : 1"), [400]),
    "no colon": (get(b"X"), [400]),
    "no name": (get(b": 1"), [400]),
    "a name beyond ASCII": (get(b"\xe4: 1"), [400]),
    "brackets in a name": (get(b"X(y): 1"), [400]),
    "a length with a plus": (sized(b"+26"), [400]),
    "a length with a minus": (sized(b"-26"), [400]),
    "a length in hexadecimal": (sized(b"0x1a"), [400]),
    "a length with a fraction": (sized(b"26.0"), [400]),
    "a length that is empty": (sized(b""), [400]),
    "a length that overflows": (sized(b"18446744073709551642"), [400]),
    "a length beyond ASCII": (sized(b"2\xb2"), [400]),
    "a list of lengths": (sized(b"26, 26"), [400]),
    "two numbers in a length": (sized(b"2 6"), [400]),
    "two lengths": (request(POST, b"Content-Length: 0", body=HIDDEN), [400]),
    "two lengths that are the same": (sized(b"26\r\nContent-Length: 26"), [400]),
    "a length and chunks": (request(POST, JSON, b"Content-Length: 5", CHUNKED) + END + HIDDEN, [400]),
    "chunks and a length": (request(POST, JSON, CHUNKED, b"Content-Length: 5") + END + HIDDEN, [400]),
    "gzip": (request(POST, JSON, b"Transfer-Encoding: gzip") + HIDDEN, [501]),
    "gzip and chunks": (request(POST, JSON, b"Transfer-Encoding: gzip, chunked") + chunk(HIDDEN) + END, [501]),
    "identity and chunks": (request(POST, JSON, b"Transfer-Encoding: identity, chunked") + END + HIDDEN, [501]),
    "identity": (request(POST, JSON, b"Transfer-Encoding: identity") + HIDDEN, [501]),
    "a comma before the coding": (request(POST, JSON, b"Transfer-Encoding: ,chunked") + END + HIDDEN, [501]),
    "a coding that ends like chunked": (request(POST, JSON, b"Transfer-Encoding: xchunked") + END + HIDDEN, [501]),
    "a coding with a parameter": (request(POST, JSON, b"Transfer-Encoding: chunked;a=1") + END + HIDDEN, [501]),
    "a coding in quotes": (request(POST, JSON, b'Transfer-Encoding: "chunked"') + END + HIDDEN, [501]),
    "chunks in gzip": (request(POST, JSON, b"Transfer-Encoding: chunked, gzip") + END + HIDDEN, [400]),
    "chunks twice": (request(POST, JSON, b"Transfer-Encoding: chunked, chunked") + END + HIDDEN, [400]),
    "chunks in two headers": (request(POST, JSON, CHUNKED, CHUNKED) + END + HIDDEN, [400]),
    "no coding": (request(POST, JSON, b"Transfer-Encoding:") + END + HIDDEN, [400]),
    "chunks in HTTP/1.0": (request(b"POST /graphql HTTP/1.0", JSON, CHUNKED) + END + HIDDEN, [400]),
    "a chunk size with a minus": (chunked(b"-1\r\n" + HIDDEN), [400]),
    "a chunk size with a plus": (chunked(b"+1a\r\n" + TYPENAME + b"\r\n" + END), [400]),
    "a chunk size with 0x": (chunked(b"0x1a\r\n" + TYPENAME + b"\r\n" + END), [400]),
    "a chunk size with an underscore": (chunked(b"1_a\r\n" + TYPENAME + b"\r\n" + END), [400]),
    "a chunk size with a blank behind it": (chunked(b"1a \r\n" + TYPENAME + b"\r\n" + END), [400]),
    "a chunk size with a blank before it": (chunked(b" 1a\r\n" + TYPENAME + b"\r\n" + END), [400]),
    "a chunk size that overflows": (chunked(b"1000000000000001a\r\n" + TYPENAME + b"\r\n" + END), [400]),
    "no chunk size": (chunked(b"\r\n" + HIDDEN), [400]),
    "a chunk size that ends with LF": (chunked(b"1a\n" + TYPENAME + b"\r\n" + END), [400]),
    "a chunk size that ends with CR": (chunked(b"1a\r" + TYPENAME + b"\r\n" + END), [400]),
    "a chunk that is longer than its size": (chunked(b"19\r\n" + TYPENAME + b"\r\n" + END), [400]),
    "a chunk that ends with LF": (chunked(b"1a\r\n" + TYPENAME + b"\n" + END), [400]),
    "a chunk without an end": (chunked(b"1a\r\n" + TYPENAME + b"0\r\n\r\n"), [400]),
    "an LF in a chunk's extension": (chunked(b"1a;a\n\r\n" + TYPENAME + b"\r\n" + END), [400]),
    "a quote without an end in a chunk's extension": (chunked(b'1a;a="\r\n' + TYPENAME + b"\r\n" + END), [400]),
    "a folded trailer": (chunked(chunk(TYPENAME) + b"0\r\nX: 1\r\n 2\r\n\r\n"), [400]),
    "a trailer that ends with LF": (chunked(chunk(TYPENAME) + b"0\r\nX: 1\n\r\n"), [400]),
    "a trailer without a colon": (chunked(chunk(TYPENAME) + b"0\r\nX\r\n\r\n"), [400]),
    "too many headers": (get(*[b"X: 1"] * (MAX_FIELDS - 1)), [431]),
    "a target that is too long": (request(b"GET /%s HTTP/1.1" % (b"a" * MAX_TARGET)), [414]),
    "a head that is too long": (get(b"X: " + b"a" * MAX_HEAD), [431]),
    "many headers that are too long": (get(*[b"X: " + b"a" * 300] * 60), [431]),
    "a name that is too long": (get(b"a" * MAX_HEAD + b": 1"), [431]),
    "a head that has no end": (GET + b"\r\nX: " + b"a" * MAX_HEAD, [431]),
    "chunk sizes that are too long": (chunked(b"0" * (MAX_HEAD + 1024)), [400]),
    "chunk extensions that are too long": (chunked(b"1a;" + b"a" * (MAX_HEAD + 1024)), [400]),
    "chunks that are too small": (chunked(MAX_HEAD // 4 * chunk(b" ") + chunk(TYPENAME) + END), [400]),
    "trailers that are too long": (chunked(chunk(TYPENAME) + b"0\r\n" + b"a: b\r\n" * (MAX_HEAD // 5)), [400]),
    "a trailer that has no end": (chunked(chunk(TYPENAME) + b"0\r\na: " + b"b" * MAX_HEAD), [400]),
    "a trailer's name that has no end": (chunked(chunk(TYPENAME) + b"0\r\n" + b"a" * (MAX_HEAD + 1024)), [400]),
    "empty lines and no request": (b"\r\n" * MAX_HEAD, [431]),
}


@pytest.mark.parametrize("pieces", PIECES)
@pytest.mark.parametrize("case", [*VALID, *REFUSED])
async def test_a_request_is_answered_as_rfc_9112_requires(
    server: Server, product_id: str, case: str, pieces: str
) -> None:
    data, statuses = (VALID | REFUSED)[case]
    sent = data.replace(ANYTHING.encode(), product_id.encode())
    answers = await exchange(server, pieces_of(sent, pieces))

    assert [answer.status for answer in answers] == statuses
    assert await stock_of(server, product_id) == STOCK
    if case in REFUSED:
        assert answers[-1].headers["connection"] == "close"
        assert answers[-1].headers["content-type"].startswith(("text/plain", "application/json"))
        assert answers[-1].body.startswith((b"Send ", b"This server does not implement"))
