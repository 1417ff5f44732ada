"""Content negotiation: the media type of an answer, by the Accept header (RFC 9110, section 12.5.1), and whether it is
compressed, by the Accept-Encoding header (section 12.5.3)."""

import re
from functools import lru_cache

from api.graphql.event_stream import MEDIA_TYPE as EVENT_STREAM
from api.graphql.requests import BLANKS, Refusal

MAX_ACCEPT = 1_000
"""Characters of an Accept header; browsers send 150. A longer header is refused. If it was ignored, a client that
requests the newer media type would silently get the older one. RFC 9110 requires a 4xx when a server will not process a
field (section 5.4)."""

GRAPHQL_RESPONSE = "application/graphql-response+json"
JSON = "application/json"

_OFFERED = (JSON, GRAPHQL_RESPONSE, EVENT_STREAM)
_QUALITY = re.compile(r";[ \t]*q=(0(?:\.[0-9]*)?|1(?:\.0*)?)[ \t]*(?:;|$)")


def negotiate(accept: str) -> str:
    """The media type to answer in: of highest quality, then named most exactly, then named first (RFC 9110, section
    12.5.1). Raises Refusal when the header accepts none, and when it has more than MAX_ACCEPT characters."""
    if len(accept) > MAX_ACCEPT:
        raise Refusal(431, f"the accept header is too long; {MAX_ACCEPT} characters are allowed")
    return _negotiate(accept)


@lru_cache(maxsize=256)
def _negotiate(accept: str) -> str:
    ranges = _ranges(accept)
    order = list(ranges)

    def rank(media_type: str) -> tuple[float, int, int]:
        for exactness, name in ((2, media_type), (1, f"{media_type.partition('/')[0]}/*"), (0, "*/*")):
            if name in ranges:
                return ranges[name], exactness, -order.index(name)
        return 0.0, 0, 0

    best = max(_OFFERED, key=rank)
    if rank(best)[0] == 0.0:
        raise Refusal(406, f"this is answered as {GRAPHQL_RESPONSE}, {JSON} or {EVENT_STREAM}; accept one of them")
    return best


def takes_events(accept: str) -> bool:
    """Whether the header names the media type of event streams. A client that accepts `*/*` expects an answer that
    ends."""
    return _ranges(accept).get(EVENT_STREAM, 0.0) > 0.0


@lru_cache(maxsize=256)
def takes_gzip(accept_encoding: str) -> bool:
    """Whether the header accepts gzip, and does not prefer an answer that is not compressed. A client without the
    header gets no compressed answer, and neither does one whose header has more than MAX_ACCEPT characters."""
    if not accept_encoding.strip(BLANKS) or len(accept_encoding) > MAX_ACCEPT:
        return False
    codings = _ranges(accept_encoding)
    quality = codings.get("gzip", codings.get("x-gzip", codings.get("*", 0.0)))
    return quality > 0 and quality >= codings.get("identity", 0.0)


def _ranges(accept: str) -> dict[str, float]:
    """The media types, or the codings, and wildcards of a header in their order, and their qualities."""
    ranges: dict[str, float] = {}
    for entry in accept.split(",") if accept.strip(BLANKS) else ["*/*"]:
        name, _, parameters = entry.partition(";")
        quality = _QUALITY.search(f";{parameters}")
        ranges.setdefault(name.strip(BLANKS).lower(), float(quality[1]) if quality else 1.0)
    return ranges
