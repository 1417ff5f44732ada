"""Attacks with bytes: requests, headers, bodies, connections and websocket frames, whatever their content is."""

import os

from bench.abuse.attack import JSON_TYPE, Attack, Manner, Messages, Target, frame, payload, unique

PIECE = 64 * 1024
"""Bytes of one piece of a flood."""

PING, PONG, TEXT, BINARY, CONTINUATION = 0x9, 0xA, 0x1, 0x2, 0x0

CHUNKED = f"{JSON_TYPE}Transfer-Encoding: chunked\r\n"


def trailers(target: Target) -> Messages:
    """One request whose trailers never end."""
    yield target.request("POST /graphql", CHUNKED) + b"2\r\n{}\r\n0\r\n"
    while True:
        yield b"a: b\r\n" * (PIECE // 6)


def one_trailer(target: Target) -> Messages:
    """One request with a trailer whose value never ends."""
    yield target.request("POST /graphql", CHUNKED) + b"2\r\n{}\r\n0\r\na: "
    while True:
        yield b"b" * PIECE


def one_byte_chunks(target: Target) -> Messages:
    """Bodies of 250 kB in chunks of one byte."""
    chunks = b"1\r\n \r\n" * 10_000
    while True:
        yield target.request("POST /graphql", CHUNKED)
        for _ in range(25):
            yield chunks
        yield b"0\r\n\r\n"


def chunk_extensions(target: Target) -> Messages:
    """A chunk whose extension never ends."""
    yield target.request("POST /graphql", CHUNKED) + b"2;a="
    while True:
        yield b"b" * PIECE


def empty_lines(target: Target) -> Messages:
    """Empty lines before a request that never begins."""
    while True:
        yield b"\r\n" * (PIECE // 2)


def endless_head(target: Target) -> Messages:
    yield target.get("/")[:-2]
    while True:
        yield b"a: b\r\n" * (PIECE // 6)


def pages(target: Target) -> Messages:
    while True:
        yield target.get("/") * 100


def page(target: Target) -> Messages:
    while True:
        yield target.get("/")


def queries_unread(target: Target) -> Messages:
    while True:
        yield target.post("{ __typename }") * 100


def queries(target: Target) -> Messages:
    while True:
        yield target.post("{ __typename }")


def heads(target: Target) -> Messages:
    while True:
        yield target.request("HEAD /")


def files(target: Target) -> Messages:
    while True:
        yield target.get("/static/api.js")


def missing_files(target: Target) -> Messages:
    while True:
        yield target.get(f"/static/{unique()}.js")


def languages(target: Target) -> Messages:
    """60 kB of Accept-Language."""
    accepted = ",".join(f"a{number % 10}" for number in range(20_000))
    while True:
        yield target.get("/", f"Accept-Language: {accepted}\r\n")


def parameters(target: Target) -> Messages:
    while True:
        yield target.get(f"/?{'a&' * 30_000}")


def graphql_parameters(target: Target) -> Messages:
    """A document of 60 kB in the query string, every character escaped."""
    while True:
        yield target.get(f"/graphql?query={'%20' * 20_000}")


def accepts(target: Target) -> Messages:
    """60 kB of Accept, different each time."""
    media = ",".join(f"a/{number}" for number in range(7_000))
    while True:
        yield target.get("/graphql?query=%7B__typename%7D", f"Accept: {media},b/{unique()}\r\n")


def many_headers(target: Target) -> Messages:
    """9,000 headers in one request."""
    while True:
        yield target.get("/", "a: b\r\n" * 9_000)


def cookies(target: Target) -> Messages:
    while True:
        yield target.get("/", f"Cookie: {'; '.join(f'a{number}=b' for number in range(7_000))}\r\n")


def metrics(target: Target) -> Messages:
    while True:
        yield target.get("/metrics", f"Authorization: Bearer {unique()}\r\n")


def wrong_tokens(target: Target) -> Messages:
    while True:
        yield target.post("{ orders { edges { node { id } } } }", headers=f"Authorization: Bearer {unique()}\r\n")


def health(target: Target) -> Messages:
    while True:
        yield target.get("/readyz")


def upgrades(target: Target) -> Messages:
    while True:
        yield target.request("POST /graphql", f"{JSON_TYPE}Connection: Upgrade\r\nUpgrade: h2c\r\n", b"{}")


def garbage(target: Target) -> Messages:
    yield os.urandom(1024) + b"\r\n\r\n"


def nothing(target: Target) -> Messages:
    yield b""


def handshake(target: Target) -> Messages:
    yield target.handshake()


def refused_handshake(target: Target) -> Messages:
    """A handshake with 9 kB of cookies, more than the websocket parser accepts."""
    yield target.handshake(f"Cookie: a={'b' * 9_000}\r\n")


def half_a_request(target: Target) -> Messages:
    yield target.get("/")[:-2]


def endless_stream(target: Target) -> Messages:
    """An event stream that is closed at its first event."""
    watched = {"ids": [target.product_id]}
    document = "subscription($ids: [ID!]!){stockChanged(productIds: $ids){stock}}"
    yield target.post(document, watched, "Accept: text/event-stream\r\n")


def empty_fragments(target: Target) -> Messages:
    yield frame(TEXT, final=False)
    while True:
        yield frame(CONTINUATION, final=False) * (PIECE // 6)


def small_fragments(target: Target) -> Messages:
    """Messages of 30,000 fragments of one space each, and a last fragment with a pong."""
    while True:
        yield frame(TEXT, b" ", final=False)
        for _ in range(30):
            yield frame(CONTINUATION, b" ", final=False) * 1_000
        yield frame(CONTINUATION, b'{"type":"pong"}')


def pings(target: Target) -> Messages:
    while True:
        yield frame(PING) * (PIECE // 6)


def pings_and_messages(target: Target) -> Messages:
    """A message after the pings of each piece that the server reads."""
    message = frame(TEXT, b'{"type":"pong"}')
    while True:
        yield frame(PING) * ((1024 - len(message)) // 6) + message


def fragmented_messages(target: Target) -> Messages:
    """Messages of 150 fragments, most of them empty."""
    while True:
        yield (
            frame(TEXT, b'{"type":', final=False)
            + frame(CONTINUATION, final=False) * 150
            + frame(CONTINUATION, b'"pong"}')
        )


def large_pings(target: Target) -> Messages:
    while True:
        yield frame(PING, b"x" * 125) * (PIECE // 131)


def pongs(target: Target) -> Messages:
    while True:
        yield frame(PONG) * (PIECE // 6)


def protocol_pings(target: Target) -> Messages:
    """Pings of graphql-transport-ws, each of which is answered."""
    while True:
        yield frame(TEXT, b'{"type":"ping"}') * 1_000


def unread_pings(target: Target) -> Messages:
    while True:
        yield frame(TEXT, b'{"type":"ping","payload":{"a":"' + b"x" * 1000 + b'"}}') * 60


def long_messages(target: Target) -> Messages:
    """Messages of 32,000 bytes that are answered with an error."""
    document = payload("{" + "a " * 15_900 + "}")
    number = 0
    while True:
        number += 1
        yield frame(TEXT, b'{"id":"%d","type":"subscribe","payload":%b}' % (number, document))


def wrong_text(target: Target) -> Messages:
    """A text that is not UTF-8, which closes the socket. The next socket follows."""
    yield frame(TEXT, b"\xff\xfe")


def completes(target: Target) -> Messages:
    """Completes operations that do not exist."""
    while True:
        yield frame(TEXT, b'{"id":"1","type":"complete"}') * 1_000


WIRE_ATTACKS = (
    Attack("trailers", "trailers without end", trailers, manner=Manner.FLOOD, count=0, usual=True),
    Attack("trailer", "one trailer without end", one_trailer, manner=Manner.FLOOD, count=0),
    Attack("chunks", "bodies in chunks of one byte", one_byte_chunks, manner=Manner.FLOOD, count=0),
    Attack("chunk-extension", "a chunk extension without end", chunk_extensions, manner=Manner.FLOOD, count=0),
    Attack("empty-lines", "line ends before a request", empty_lines, manner=Manner.FLOOD, count=0),
    Attack("endless-head", "headers without end", endless_head, manner=Manner.FLOOD, count=0),
    Attack("unread-pages", "pipelined GET /, never read", pages, manner=Manner.UNREAD, count=100, usual=True),
    Attack("unread-pages-100", "pipelined GET /, never read", pages, 100, Manner.UNREAD, count=100),
    Attack("unread-queries", "pipelined queries, never read", queries_unread, manner=Manner.UNREAD, count=100),
    Attack("pipelined-pages", "pipelined GET /, read", page, manner=Manner.PIPELINE),
    Attack("pipelined-queries", "pipelined queries, read", queries, manner=Manner.PIPELINE),
    Attack("queries-100", "{ __typename }, kept", queries, 100),
    Attack("heads-100", "HEAD /", heads, 100),
    Attack("files-100", "a static file", files, 100),
    Attack("missing-100", "static files that are missing", missing_files, 100),
    Attack("languages", "60 kB of Accept-Language", languages, usual=True),
    Attack("parameters", "60 kB of ?a&a&...", parameters, usual=True),
    Attack("graphql-parameters", "60 kB of escaped document", graphql_parameters),
    Attack("accepts", "60 kB of Accept, unique", accepts),
    Attack("headers", "9,000 headers", many_headers),
    Attack("cookies", "60 kB of cookies", cookies),
    Attack("metrics-100", "/metrics with wrong tokens", metrics, 100),
    Attack("tokens-100", "queries with wrong tokens", wrong_tokens, 100),
    Attack("readyz-100", "GET /readyz", health, 100),
    Attack("upgrades", "Upgrade: h2c with a body", upgrades, 10),
    Attack("garbage", "bytes that are no HTTP", garbage, 100, Manner.CONNECTIONS),
    Attack("connections", "connections, reset at once", nothing, 100, Manner.CONNECTIONS),
    Attack("handshakes", "websocket handshakes, reset after the answer", handshake, 100, Manner.CONNECTIONS),
    Attack("streams", "event streams, reset after the first event", endless_stream, 100, Manner.CONNECTIONS),
    Attack("refused-handshakes", "handshakes with 9 kB of cookies", refused_handshake, 1_000, Manner.HANGING),
    Attack("half-requests", "half a request on each connection", half_a_request, 1_000, Manner.HANGING),
    Attack("fragments", "empty fragments", empty_fragments, manner=Manner.FRAMES, count=PIECE // 6, usual=True),
    Attack("small-fragments", "fragments of one byte", small_fragments, manner=Manner.FRAMES, count=970),
    Attack("pings", "empty pings", pings, manner=Manner.FRAMES, count=PIECE // 6, usual=True),
    Attack("pings-and-messages", "empty pings with a message in each KiB", pings_and_messages, manner=Manner.FRAMES),
    Attack("fragmented-messages", "messages of 150 empty fragments", fragmented_messages, manner=Manner.FRAMES),
    Attack("large-pings", "pings of 125 bytes", large_pings, manner=Manner.FRAMES, count=PIECE // 131),
    Attack("pongs", "empty pongs", pongs, manner=Manner.FRAMES, count=PIECE // 6, usual=True),
    Attack("protocol-pings", "graphql-transport-ws pings", protocol_pings, manner=Manner.FRAMES, count=1_000),
    Attack("long-pings", "the same with 1 kB", unread_pings, manner=Manner.FRAMES, count=60),
    Attack("long-messages", "messages of 32 kB, refused", long_messages, manner=Manner.FRAMES),
    Attack("wrong-text", "text that is not UTF-8", wrong_text, 20, Manner.FRAMES),
    Attack("completes", "completes of nothing", completes, manner=Manner.FRAMES, count=1_000),
    Attack("idle-15000", "idle sockets, pings answered", nothing, 15_000, Manner.IDLE),
)
