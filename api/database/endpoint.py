"""Regional endpoints: the address of the database in a Region, and the Region's name."""

import re
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from api.database.url_parameters import ESCAPES, read_address

_REGION = re.compile(r"[a-z][a-z0-9-]{0,62}")
_URL = "postgresql://user:password@host:5432/database"
_DSQL_URL = "dsql://role@CLUSTER.dsql.us-east-1.on.aws"
_EXPECTED = (
    f"expected REGION=URL entries separated by commas, such as us-east-1={_DSQL_URL} or us-east-1={_URL}; a Region is "
    f"written in lower-case letters, digits and hyphens, and {ESCAPES}"
)

# Public endpoints, and those of AWS PrivateLink. The second label of the latter has a suffix.
_DSQL_HOST = re.compile(r"[a-z0-9]{26}\.dsql(?:-[a-z0-9]+)?\.(?P<region>[a-z0-9-]+)\.on\.aws")


@dataclass(frozen=True, slots=True)
class DsqlAddress:
    """An endpoint of an Aurora DSQL cluster. `role` is the database role. `sslrootcert` names a file of certificate
    authorities, which are trusted instead of the system's."""

    host: str
    port: int = 5432
    role: str = "admin"
    database: str = "postgres"
    sslrootcert: str | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One regional endpoint of the database. `url` begins with postgresql:// or dsql://. It can hold a password, so
    `repr` leaves it out."""

    region: str
    url: str = field(repr=False)

    @property
    def dsql(self) -> DsqlAddress | None:
        """Its address on Aurora DSQL; None on any other PostgreSQL. Raises ValueError."""
        parts = urlsplit(self.url)
        return _dsql_address(self.region, parts) if parts.scheme == "dsql" else None


def parse_endpoints(text: str) -> tuple[Endpoint, ...]:
    """Read `REGION=URL,REGION=URL`. Raises ValueError with a message that says what was expected. The message never
    repeats `text`, which can hold a password."""
    endpoints: dict[str, Endpoint] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        region, _, url = entry.partition("=")
        if not _REGION.fullmatch(region) or not url:
            raise ValueError(_EXPECTED)
        if region in endpoints:
            raise ValueError(f"the Region {region} is named twice; give each Region one endpoint")
        endpoints[region] = _checked(Endpoint(region, url))
    if not endpoints:
        raise ValueError(_EXPECTED)
    if len({endpoint.dsql is None for endpoint in endpoints.values()}) == 2:
        raise ValueError("all endpoints are one database: give either dsql:// URLs or postgresql:// URLs, not both")
    return tuple(endpoints.values())


def _checked(endpoint: Endpoint) -> Endpoint:
    try:
        parts = urlsplit(endpoint.url)
        host = parts.hostname or "host" in parse_qs(parts.query)  # a Unix socket is named in the query
        port = parts.port is None or parts.port > 0  # urlsplit parses the port only here, and raises ValueError
    except ValueError:
        host = port = False
    if not host or not port or parts.scheme not in ("dsql", "postgresql", "postgres"):
        raise ValueError(
            f"the URL of {endpoint.region} cannot be used; expected something like {_DSQL_URL} or {_URL}; {ESCAPES}"
        )
    if parts.scheme == "dsql":
        _dsql_address(endpoint.region, parts)
    else:
        read_address(endpoint.region, endpoint.url)
    return endpoint


def _dsql_address(region: str, parts: SplitResult) -> DsqlAddress:
    if parts.password is not None:
        raise ValueError(
            f"the URL of {region} has a password, and Aurora DSQL takes none: a token is made from the AWS credentials "
            "of this machine; leave the password out"
        )
    options = parse_qs(parts.query, keep_blank_values=True)
    unknown = options.keys() - {"sslrootcert"}
    if unknown or parts.fragment:
        raise ValueError(
            f"the URL of {region} has something after its host that dsql:// does not know; expected at "
            "most /postgres?sslrootcert=FILE"
        )
    sslrootcert = options.get("sslrootcert", [None])[-1] or None
    host = parts.hostname or ""
    match = _DSQL_HOST.fullmatch(host)
    if match is None and sslrootcert is None:
        raise ValueError(
            f"the host of {region} is not an endpoint of Aurora DSQL; expected the 26 characters of the cluster's id "
            f"and .dsql.{region}.on.aws, as `dropzero cluster status` or the console shows it"
        )
    if match is not None and match["region"] != region:
        raise ValueError(
            f"the endpoint of {region} is in {match['region']} by its host; name it {match['region']}=dsql://..., or "
            f"take the cluster's endpoint in {region}"
        )
    return DsqlAddress(
        host=host,
        port=parts.port or 5432,
        role=unquote(parts.username or "admin"),
        database=unquote(parts.path.lstrip("/")) or "postgres",
        sslrootcert=sslrootcert,
    )
