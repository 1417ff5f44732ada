"""Content: the body of a page or a file, as it is and compressed."""

import gzip
import hashlib
import secrets
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from starlette.responses import Response

from api.graphql.headers import Headers, text_of
from api.graphql.negotiation import takes_gzip
from api.graphql.response import LEAST_COMPRESSED

KEY_MARK = secrets.token_hex(16).encode()
"""Where a page has its key. It is random, so that no text of a product can be it."""

_GZIP_HEADER = b"\x1f\x8b\x08\0\0\0\0\0\x02\xff"
"""Of a stream without name and time (RFC 1952)."""


@dataclass(frozen=True)
class Content:
    """A body that never changes. It is compressed at first use, and kept: a page of 11 kB takes 0.3 ms."""

    body: bytes
    media_type: str | None

    @cached_property
    def _etag(self) -> str:
        return hashlib.sha256(self.body).hexdigest()[:32]

    @cached_property
    def _compressed(self) -> bytes:
        return gzip.compress(self.body, mtime=0)

    def response(self, sent: Headers, headers: Mapping[str, str], status: int = 200) -> Response:
        """The answer to a request with these headers: compressed if the client takes it and the body is not small, and
        304 where the client has it already. Each of the two representations has an ETag of its own."""
        is_small = len(self.body) < LEAST_COMPRESSED
        compressed = not is_small and takes_gzip(text_of(sent, b"accept-encoding"))
        etag = f'"{self._etag}-gzip"' if compressed else f'"{self._etag}"'
        headers = {"etag": etag, **headers}
        if not is_small:
            headers["vary"] = ", ".join(filter(None, ("accept-encoding", headers.get("vary"))))
        if status == 200 and etag in text_of(sent, b"if-none-match"):
            return Response(status_code=304, headers=headers)
        if compressed:
            headers["content-encoding"] = "gzip"
        body = self._compressed if compressed else self.body
        return Response(body, status_code=status, media_type=self.media_type, headers=headers)


class KeyedContent:
    """A page that has a key of its own in each response, where its body has KEY_MARK.

    What is around the key is compressed once. So a response costs a checksum, and the length of its compressed body
    does not depend on the key.
    """

    def __init__(self, body: bytes, media_type: str) -> None:
        """`body` has KEY_MARK once."""
        self._head, mark, self._tail = body.partition(KEY_MARK)
        assert mark
        self._media_type = media_type

    @cached_property
    def _compressed(self) -> tuple[bytes, bytes]:
        """The compressed data before and behind the key. No data behind it refers to data before it."""
        head = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
        tail = zlib.compressobj(level=9, wbits=-zlib.MAX_WBITS)
        return (
            head.compress(self._head) + head.flush(zlib.Z_FULL_FLUSH),
            tail.compress(self._tail) + tail.flush(),
        )

    def response(self, sent: Headers, key: str, headers: Mapping[str, str], status: int = 200) -> Response:
        """The answer to a request with these headers. It has no ETag: a browser that has the page already gets another
        key with it."""
        between = key.encode("ascii")
        headers = {**headers, "vary": ", ".join(filter(None, ("accept-encoding", headers.get("vary"))))}
        if not takes_gzip(text_of(sent, b"accept-encoding")):
            body = self._head + between + self._tail
            return Response(body, status_code=status, media_type=self._media_type, headers=headers)
        head, tail = self._compressed
        stored = struct.pack("<BHH", 0, len(between), len(between) ^ 0xFFFF) + between  # RFC 1951, section 3.2.4
        checksum = zlib.crc32(self._tail, zlib.crc32(between, zlib.crc32(self._head)))
        length = len(self._head) + len(between) + len(self._tail)
        body = b"".join((_GZIP_HEADER, head, stored, tail, struct.pack("<II", checksum, length)))
        headers["content-encoding"] = "gzip"
        return Response(body, status_code=status, media_type=self._media_type, headers=headers)
