"""Requests for upgrades, with another request in their bodies."""

from tests.protocol.raw import purchase, request

Fields = tuple[bytes, ...]

UPGRADES: dict[str, Fields] = {
    "h2c, as curl asks for it": (
        b"Connection: Upgrade, HTTP2-Settings",
        b"Upgrade: h2c",
        b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
    ),
    "h2c": (b"Connection: Upgrade", b"Upgrade: h2c"),
    "foo": (b"Connection: Upgrade", b"Upgrade: foo"),
    "foo in small letters": (b"connection: upgrade", b"upgrade: foo"),
    "a newer HTTP": (b"Connection: Upgrade", b"Upgrade: HTTP/2.0, SHTTP/1.3"),
    "websocket by POST": (b"Connection: Upgrade", b"Upgrade: websocket"),
    "websocket and another": (b"Connection: Upgrade", b"Upgrade: websocket, foo"),
    "two headers": (b"Connection: Upgrade", b"Upgrade: h2c", b"Upgrade: websocket"),
    "two headers, the other way round": (b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c"),
    "a connection that is kept": (b"Connection: upgrade, keep-alive", b"Upgrade: foo"),
    "a connection that is kept, the other way round": (b"Connection: keep-alive, Upgrade", b"Upgrade: foo"),
    "two headers of the connection": (b"Connection: keep-alive", b"Connection: Upgrade", b"Upgrade: foo"),
    "blanks around the value": (b"Connection: \tUpgrade \t", b"Upgrade:  foo "),
    "the upgrade before the connection": (b"Upgrade: foo", b"Connection: Upgrade"),
    "an empty upgrade": (b"Connection: Upgrade", b"Upgrade:"),
    "an upgrade without a connection": (b"Upgrade: foo",),
    "a connection without an upgrade": (b"Connection: Upgrade",),
}

FRAMINGS = ("a length", "chunks", "small chunks")


def smuggling(
    upgrade: Fields, framing: str, product_id: str, padding: bytes = b"", line: bytes = b"POST /graphql HTTP/1.1"
) -> bytes:
    """Return a request for an upgrade, with a purchase in its body. Empty lines before the purchase make the body so
    long that the server reads it apart."""
    body = padding + request(b"POST /graphql HTTP/1.1", body=purchase(product_id))
    if framing == "a length":
        return request(line, *upgrade, body=body)
    size = len(body) if framing == "chunks" else 100
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in [*parts, b""])
    return request(line, *upgrade, b"Content-Type: application/json", b"Transfer-Encoding: chunked") + chunks
