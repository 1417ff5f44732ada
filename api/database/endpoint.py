"""Regional endpoints: where a database is, and under which Region's name it is offered."""

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_REGION = re.compile(r"[a-z][a-z0-9-]{0,62}")
_EXAMPLE = "us-east-1=postgresql://user@host/database,us-east-2=postgresql://user@otherhost/database"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One regional endpoint of the database. The URL can hold a password and is kept out of `repr`."""

    region: str
    url: str = field(repr=False)


def parse_endpoints(text: str, home: str | None = None) -> tuple[Endpoint, ...]:
    """Read `REGION=URL,REGION=URL`, the home Region first.

    `home` names another Region than the first one as home. Raises ValueError with a message that says what
    was expected; it never repeats a URL, which may carry a password.
    """
    endpoints: dict[str, Endpoint] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        region, equals, url = entry.partition("=")
        if not equals or not _REGION.fullmatch(region):
            raise ValueError(f"expected REGION=URL entries, separated by commas, such as {_EXAMPLE}")
        if region in endpoints:
            raise ValueError(f"the Region {region} is named twice; give each Region one endpoint")
        endpoints[region] = Endpoint(region, _checked_url(region, url))
    if not endpoints:
        raise ValueError(f"it is set but names no endpoint; expected something like {_EXAMPLE}")
    if home is None:
        return tuple(endpoints.values())
    if home not in endpoints:
        raise ValueError(f"the home Region {home} is not among the endpoints: {', '.join(endpoints)}")
    return (endpoints.pop(home), *endpoints.values())


def _checked_url(region: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # parsed lazily; a bad port is a ValueError
    except ValueError:
        raise ValueError(f"the URL of {region} cannot be parsed; expected {_EXAMPLE}") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError(f"the URL of {region} must start with postgresql://, not with {parts.scheme or 'no scheme'!r}")
    return url
