"""What strangers send to a server: bytes that are no HTTP, no UTF-8, no websocket and no GraphQL."""

from tests.protocol.frames import BINARY, CLOSE, CONTINUATION, HANDSHAKE, LINE, PING, TEXT, close, frame
from tests.protocol.raw import TYPENAME, request

POST = b"POST /graphql HTTP/1.1"
LAST = b"Connection: close"
NOT_UTF8 = b"\xff\xfe\x80"
PATHS = (
    *(b"/%ff", b"/static/%ff", b"/static/%00", b"/static/..%2f..%2fapp.py", b"/%ed%a0%80", b"/" + NOT_UTF8),
    *(b"/graphql?query=%ff", b"/graphql?query=" + NOT_UTF8, b"/graphql?" + b"a=1&" * 100, b"/drops/%ff", b"//", b"/\\"),
    *(b"/metrics?%ff", b"/readyz%ff", b"/demo/pay?%ff", b"/orders/%ff%00", b"http://[/graphql", b"/%", b"/%zz"),
)
HEADERS = (
    *(b"Accept", b"Accept-Language", b"Accept-Encoding", b"Authorization", b"Content-Type", b"Cookie", b"Origin"),
    *(b"If-None-Match", b"Range", b"Traceparent", b"User-Agent", b"X-Forwarded-For", b"X-Request-Id", b"Expect"),
    *(b"Sec-WebSocket-Protocol", b"Access-Control-Request-Headers", b"If-Modified-Since", b"Referer", b"Host"),
)
VALUES = (NOT_UTF8, b"Bearer " + NOT_UTF8, b"a" * 7_000, b";,=;q=\xe9,", b'"')

UNFINISHED: tuple[bytes, ...] = (
    b"POST /graphql HTTP/1.1\r\nHost: test\r\nContent-Length: 50\r\n\r\n{",
    b"GET / HTTP/1.1\r\nX: " + NOT_UTF8,
    request(LINE, *HANDSHAKE) + b"\x81",
    b"",
)
"""Behind them, the client closes its side."""

HTTP: tuple[bytes, ...] = (
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2,  # a TLS hello
    b"\x80\x2e\x01\x03\x01",  # an SSL 2 hello
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.6\r\n",
    b"\r\n\r\n\0\0\0",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET  HTTP/1.1\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: test\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
    request(b"CONNECT a:1 HTTP/1.1"),
    request(b"POST /demo/pay HTTP/1.1", LAST, body=NOT_UTF8),
    *(request(b"GET %s HTTP/1.1" % path, LAST) for path in PATHS),
    *(
        request(b"%s %s HTTP/1.1" % (method, path), b"%s: %s" % (name, value), LAST, body=body)
        for name in HEADERS
        for value in VALUES
        for method, path, body in (
            (b"POST", b"/graphql", TYPENAME),
            (b"GET", b"/", None),
            (b"GET", b"/metrics", None),
            (b"OPTIONS", b"/graphql", None),
        )
    ),
    *(
        request(POST, LAST, body=body)
        for body in (NOT_UTF8, b'{"query":"\xff"}', b"[" * 100_000, b'{"query":"{ \\ud800 }"}', b"null", b"1e999", b"")
    ),
)

HANDSHAKES: tuple[bytes, ...] = tuple(
    request(LINE, *HANDSHAKE, b"%s: %s" % (name, value))
    for name in (b"Origin", b"Sec-WebSocket-Key", b"Sec-WebSocket-Extensions", b"Cookie", b"Authorization")
    for value in VALUES
)
"""Some of them are accepted."""

INIT = frame(TEXT, b'{"type":"connection_init"}')
FRAMES: tuple[bytes, ...] = (
    frame(TEXT, NOT_UTF8),
    frame(BINARY, NOT_UTF8),
    frame(3),
    frame(TEXT, b"{}", mask=None),
    frame(TEXT, b"{}", reserved=4),
    frame(TEXT, b"{}", length=1 << 40),
    frame(CONTINUATION, b"{}"),
    frame(PING, b"a" * 126),
    frame(PING, b"", fin=False),
    frame(CLOSE, b"\x03"),
    close(1005),
    close(1000, NOT_UTF8),
    close(65_000),
    frame(TEXT, b"[" * 30_000),
    frame(TEXT, b'{"type":"ping","payload":' + b'{"a":' * 400 + b"1" + b"}" * 401),
    INIT + INIT,
    INIT + frame(TEXT, b'{"id":"1","type":"subscribe","payload":{"query":"\\ud800"}}'),
    frame(TEXT, b'{"type":"connection_init","payload":{"authorization":"Bearer \\ud800"}}'),
    INIT + frame(TEXT, b'{"id":"1","type":"subscribe","payload":{"query":"{ now }","extensions":{"traceparent":[]}}}'),
)
