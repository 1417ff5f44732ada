"""The head of a request, and the rules for it (RFC 9110, RFC 9112) that llhttp does not check."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from urllib.parse import unquote

import httptools

from api.graphql.headers import Headers, by_name
from api.refusal import HEAD_TOO_LARGE, MAX_HEAD, Field, Refusal, Refused, serialize

METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE"))
"""The methods of RFC 9110 without CONNECT, which is for proxies. llhttp accepts 38 others, of WebDAV and RTSP."""

MAX_DIGITS = 100
"""Digits of a Content-Length. llhttp rejects a number that is too large, but any number of leading zeros passes. Python
converts 4,300 digits at most."""

KEPT_TARGETS = 128
"""Targets whose parts are kept, each of at most MAX_TARGET bytes."""

_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%-]*(:[0-9]*)?|\[[0-9A-Fa-f:.]+\](:[0-9]*)?")
_UPGRADES = (b"upgrade", b"http2-settings")


def path_of(target: bytes) -> bytes:
    """Return the path and query of a request's target, which may also be a URL (RFC 9112, section 3.2.2), with or
    without a path. Raises HttpParserError."""
    if target.startswith(b"/") or b"://" not in target:
        return target
    url = httptools.parse_url(target)
    path = url.path or b"/"
    return path if url.query is None else b"%s?%s" % (path, url.query)


@lru_cache(KEPT_TARGETS)
def parts_of(target: bytes) -> tuple[str, bytes, bytes]:
    """Return the path, the path as it was sent, and the query of a target. Raises HttpParserError."""
    url = httptools.parse_url(target)
    path = url.path.decode("ascii")
    return unquote(path) if "%" in path else path, url.path, url.query or b""


@dataclass(frozen=True, slots=True)
class Head:
    """A method, target, version ("1.1" for HTTP/1.1) and header fields; and the values of the fields by name."""

    method: bytes
    target: bytes
    version: str
    fields: Sequence[Field]
    headers: Headers

    def values(self, name: bytes) -> list[bytes]:
        return [value.strip(b" \t") for value in self.headers.get(name, ())]

    @property
    def expects_continue(self) -> bool:
        """Whether the client waits for 100 Continue before it sends the body."""
        expected = self.headers.get(b"expect")
        return expected is not None and b"100-continue" in [value.lower() for value in expected]

    def check(self) -> None:
        """Raise Refused when the size, the version, the method or the framing is not supported."""
        if sum(map(len, chain.from_iterable(self.fields))) + 4 * len(self.fields) > MAX_HEAD:
            raise Refused(HEAD_TOO_LARGE)
        if self.version not in ("1.0", "1.1"):
            raise Refused(Refusal("version", 505, "Send the request as HTTP/1.1."))
        if self.method not in METHODS:
            message = "Send GET, HEAD or POST: this server does not implement the method of the request."
            raise Refused(Refusal("method", 405, message, ((b"allow", b"GET, HEAD, POST"),)))
        self._check_framing()

    def _check_framing(self) -> None:
        """Check what says where the body ends: a proxy and this server must agree on it. Raises Refused."""
        hosts = self.values(b"host")
        lengths = self.values(b"content-length")
        codings = self.values(b"transfer-encoding")
        if len(hosts) > 1 or not (hosts or self.version == "1.0"):
            raise Refused(Refusal("host", 400, f"Send one Host header, not {len(hosts)}."))
        if hosts and not _HOST.fullmatch(hosts[0]):
            raise Refused(Refusal("host", 400, "Send a Host header that is a name or an address, and a port."))
        if len(lengths) > 1 or not all(length.isdigit() and len(length) <= MAX_DIGITS for length in lengths):
            raise Refused(Refusal("length", 400, "Send one Content-Length, a number of bytes."))
        if codings:
            _check_coding(self.version, codings, lengths)

    def opens_websocket(self) -> bool:
        """Whether the request opens a websocket. Raises Refused when it tries to, and cannot."""
        upgrades = [value.lower() for value in self.values(b"upgrade")]
        if upgrades != [b"websocket"] or self.method != b"GET" or self.version != "1.1":
            return False
        if self.values(b"transfer-encoding") or any(length.strip(b"0") for length in self.values(b"content-length")):
            raise Refused(Refusal("handshake", 400, "Send the handshake of a websocket without a body."))
        versions = self.values(b"sec-websocket-version")
        if versions and versions != [b"13"]:
            supported = ((b"sec-websocket-version", b"13"), (b"upgrade", b"websocket"))
            raise Refused(Refusal("handshake", 426, "Send Sec-WebSocket-Version: 13.", supported))
        return True

    def without_upgrade(self) -> bytes:
        """Return the head without its upgrade, which a server may ignore (RFC 9110, section 7.8)."""
        return self._serialize(self._fields_without_upgrade())

    def for_websocket(self) -> bytes:
        """Return the head without cookies: nothing reads them, and websockets refuses lines of 8 KiB."""
        return self._serialize(field for field in self.fields if field[0] != b"cookie")

    def _fields_without_upgrade(self) -> Iterator[Field]:
        for name, value in self.fields:
            if name in _UPGRADES:
                continue
            if name == b"connection":
                options = [option.strip(b" \t") for option in value.split(b",")]
                value = b", ".join(option for option in options if option.lower() not in _UPGRADES)
            if value or name != b"connection":
                yield name, value

    def _serialize(self, fields: Iterable[Field]) -> bytes:
        return serialize(b"%s %s HTTP/%s" % (self.method, self.target, self.version.encode()), fields)


def head_of(method: bytes, target: bytes, version: str, fields: Sequence[Field]) -> Head:
    """Return a head that has been checked. Raises Refused, HttpParserError."""
    head = Head(method, path_of(target), version, fields, by_name(fields))
    head.check()
    return head


def _check_coding(version: str, codings: list[bytes], lengths: list[bytes]) -> None:
    if version == "1.0":
        raise Refused(Refusal("length", 400, "Send Transfer-Encoding in HTTP/1.1 only, not in HTTP/1.0."))
    if lengths:
        raise Refused(Refusal("length", 400, "Send either Content-Length or Transfer-Encoding, not both."))
    if [coding.lower() for coding in codings] != [b"chunked"]:
        raise Refused(Refusal("length", 501, "Send the body with Transfer-Encoding: chunked, or with Content-Length."))
