"""Regional endpoints: where a database is, and under which Region's name it is offered."""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

_REGION = re.compile(r"[a-z][a-z0-9-]{0,62}")
_URL = "postgresql://user:password@host:5432/database"
_ESCAPES = "a comma, @ or / within a password is written as %2C, %40 or %2F"
_EXPECTED = (
    f"expected REGION=URL entries separated by commas, such as us-east-1={_URL}; a Region is written in lower-case "
    f"letters, digits and hyphens, and {_ESCAPES}"
)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One regional endpoint of the database. The URL can hold a password and is kept out of `repr`."""

    region: str
    url: str = field(repr=False)


def parse_endpoints(text: str) -> tuple[Endpoint, ...]:
    """Read `REGION=URL,REGION=URL`. Raises ValueError with a message that says what was expected; it never
    repeats what was given, which may carry a password."""
    endpoints: dict[str, Endpoint] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        region, _, url = entry.partition("=")
        if not _REGION.fullmatch(region) or not url:
            raise ValueError(_EXPECTED)
        if region in endpoints:
            raise ValueError(f"the Region {region} is named twice; give each Region one endpoint")
        endpoints[region] = Endpoint(region, _checked_url(region, url))
    if not endpoints:
        raise ValueError(_EXPECTED)
    return tuple(endpoints.values())


def _checked_url(region: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        host = parts.hostname or "host" in parse_qs(parts.query)  # a Unix socket is named in the query
        port = parts.port is None or parts.port > 0  # parsed only now; a bad one is a ValueError
    except ValueError:
        host = port = False
    if not host or not port or parts.scheme not in ("postgresql", "postgres"):
        raise ValueError(f"the URL of {region} cannot be used; expected something like {_URL}; {_ESCAPES}")
    return url
