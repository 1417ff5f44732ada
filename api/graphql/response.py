"""Responses: what an execution returned, encoded once for everyone who gets it."""

import gzip
from dataclasses import dataclass
from functools import cached_property

COMPRESSION_LEVEL = 1
"""gzip's fastest level. Compressing 100 products (32.6 kB) takes 0.3 ms with it, and with the default level 1.2 ms for
a tenth fewer bytes."""

LEAST_COMPRESSED = 1024
"""Bytes of the smallest body that is compressed. A smaller one fits into one packet as it is."""

MOST_COMPRESSED = 100 * 1024
"""Bytes of the largest body that is compressed. It takes 1 ms, as long as a turn, and everything else waits. The
page of 100 products has 12 to 33 kB."""


@dataclass(frozen=True)
class Response:
    """The response of an executed operation. `body` is JSON in UTF-8, with `data` and perhaps `errors`."""

    body: bytes

    @property
    def compressible(self) -> bool:
        """Whether the body has a size that is compressed."""
        return LEAST_COMPRESSED <= len(self.body) <= MOST_COMPRESSED

    @cached_property
    def compressed(self) -> bytes:
        """The body, compressed with gzip."""
        return gzip.compress(self.body, COMPRESSION_LEVEL, mtime=0)
