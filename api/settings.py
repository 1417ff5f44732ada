"""Settings: everything that the environment says, read once and refused with a clear message when wrong."""

import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

import orjson

from api.database.endpoint import Endpoint, parse_endpoints
from api.database.monitor import RegionTimes
from api.database.retry import RetryBudget
from api.drops.group_commit import GroupPolicy
from api.drops.stock import PollingTimes
from api.hosts import parse_hosts
from api.identity.clients import Network

EMBEDDED_REGIONS = ("ap-northeast-1", "ap-northeast-2")
"""The two names of the one embedded database, so that all that speaks of Regions works on a laptop."""

DRAIN = 10
"""Seconds that a load balancer is given to send its requests elsewhere. Kubernetes and ECS take a server out of their
load balancers at the moment when they stop it, and seconds pass until all of the balancer knows; one that asks /readyz
every 5 s and wants two answers of 503 knows after 10 s."""

LOCALHOST = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"

_ONE_LETTER_APART = {"DROPZERO_HOST"}
"""Variables of the commands' options that are spelled like a variable of the settings, and are meant."""

T = TypeVar("T")


class InvalidSettings(Exception):
    """A variable of the environment cannot be used; the message names it and says what was expected."""


@dataclass(frozen=True, slots=True)
class OidcFederation:
    """AWS credentials for an OIDC token of Vercel: the role to assume, the first token where the environment has one,
    and whether tokens come with the requests."""

    role_arn: str
    token: str | None = field(repr=False)
    from_requests: bool


@dataclass(frozen=True, slots=True)
class SocketTimes:
    """How long a client's connection may wait, in seconds.

    `keep_alive`: from an answer to the next request on its connection. Whatever keeps connections to this server must
    close them sooner, or it sends a request to a connection that is just being closed. Load balancers keep them for
    60 s (ALB, nginx, CloudFront's most by default) to 90 s (Go's net/http, on which Traefik is built).
    `receive`: from a connection, or from a request's first byte, until the request is complete.
    `send`: a client that has not taken what it was sent by then is disconnected. uvicorn would wait for ever for both.
    `close`: for a websocket's client to answer a close frame.
    `initialise`: a websocket that has not sent connection_init by then is closed with 4408.
    `ping`: from one websocket ping to the next, and from a ping to its pong.
    `comment`: between the comments of an event stream, for proxies that end a stream without traffic.
    """

    keep_alive: float = 120.0
    receive: float = 30.0
    send: float = 10.0
    close: float = 3.0
    initialise: float = 10.0
    ping: float = 20.0
    comment: float = 12.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What a server needs to know. No endpoints means the embedded PostgreSQL, kept in `data_directory` and
    offered as `embedded_regions`. Home is the first of either. `hosts` are the host names to answer to beside those of
    every server. `drain` in seconds, from SIGTERM until the server takes no more connections."""

    endpoints: tuple[Endpoint, ...]
    embedded_regions: tuple[str, ...]
    data_directory: Path
    commit_delay_ms: int
    connections: int
    admin_token: str | None = field(repr=False)
    allowed_origins: re.Pattern[str]
    hosts: tuple[str, ...]
    graphiql: bool
    race: bool
    open_metrics: bool
    group: GroupPolicy
    budget: RetryBudget
    polling: PollingTimes
    sockets: int
    trusted_proxies: tuple[Network, ...]
    trusted_documents: tuple[str, ...] | None
    drain: float
    federation: OidcFederation | None
    region_times: RegionTimes = RegionTimes()
    socket_times: SocketTimes = SocketTimes()

    @property
    def embedded(self) -> bool:
        return not self.endpoints

    def with_embedded(self, url: str, admin_token: str | None) -> "Settings":
        """The settings once the embedded database runs."""
        endpoints = tuple(Endpoint(region, url) for region in self.embedded_regions)
        return replace(self, endpoints=endpoints, admin_token=admin_token)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the DROPZERO_ variables. Raises InvalidSettings.

    What is open on a laptop is closed as soon as an endpoint is configured: GraphiQL, the race on the page about the
    architecture, which buys of real drops, the metrics, and pages of localhost.
    """
    known = set()

    def read(name: str, default: T, parse: Callable[[str], T]) -> T:
        known.add(name)
        text = environment.get(name, "")
        if not text.strip():
            return default
        try:
            return parse(text.strip())
        except ValueError as error:
            raise InvalidSettings(f"{name}: {error}") from None

    endpoints: tuple[Endpoint, ...] = read("DROPZERO_ENDPOINTS", (), parse_endpoints)
    if not endpoints and "DROPZERO_ENDPOINTS" in environment:
        raise InvalidSettings("DROPZERO_ENDPOINTS: it is set but empty; name a database, or unset it for a local one")
    regions = tuple(endpoint.region for endpoint in endpoints) or EMBEDDED_REGIONS
    home = read("DROPZERO_REGION", regions[0], _one_of(regions))
    laptop = not endpoints
    one_by_one = read("DROPZERO_GROUP_COMMIT", True, _switch) is False
    connections = read("DROPZERO_CONNECTIONS", 10, _whole(1, 1000))
    hosts: tuple[str, ...] = read("DROPZERO_HOSTS", (), parse_hosts)
    settings = Settings(
        endpoints=tuple(sorted(endpoints, key=lambda endpoint: endpoint.region != home)),
        embedded_regions=tuple(sorted(EMBEDDED_REGIONS, key=lambda region: region != home)),
        data_directory=read("DROPZERO_DATA", Path(".dropzero"), lambda text: Path(text).expanduser()),
        commit_delay_ms=read("DROPZERO_COMMIT_DELAY_MS", 0, _whole(0, 100)),
        connections=connections,
        admin_token=read("DROPZERO_ADMIN_TOKEN", None, _token),
        allowed_origins=read("DROPZERO_ALLOWED_ORIGINS", re.compile(LOCALHOST if laptop else "(?!)"), _origins),
        hosts=(*hosts, *_vercel_hosts(environment)),
        graphiql=read("DROPZERO_GRAPHIQL", laptop, _switch),
        race=read("DROPZERO_RACE", laptop, _switch),
        open_metrics=laptop,
        group=GroupPolicy(size=1, in_flight=connections) if one_by_one else GroupPolicy(),
        budget=RetryBudget(
            attempts=read("DROPZERO_ATTEMPTS", 40, _whole(1, 1000)),
            seconds=read("DROPZERO_DEADLINE_MS", 15_000, _whole(100, 120_000)) / 1000,
        ),
        polling=PollingTimes(interval=read("DROPZERO_POLL_INTERVAL_MS", 250, _whole(10, 60_000)) / 1000),
        sockets=read("DROPZERO_SOCKETS", 15_000, _whole(1, 1_000_000)),
        trusted_proxies=read("DROPZERO_TRUSTED_PROXIES", _vercel_proxies(environment), _networks),
        trusted_documents=read("DROPZERO_DOCUMENTS", None, _documents),
        drain=read("DROPZERO_DRAIN_S", 0 if laptop else DRAIN, _whole(0, 600)),
        federation=_federation(environment),
        socket_times=SocketTimes(
            keep_alive=read("DROPZERO_KEEP_ALIVE_S", SocketTimes().keep_alive, _whole(1, 7200)),
        ),
    )
    _require_spelling(environment.keys() - known, known)
    return settings


def _require_spelling(others: Set[str], known: Set[str]) -> None:
    """Raises InvalidSettings: with one letter less in DROPZERO_ENDPOINTS, the drop would run on an empty database of
    its own."""
    for name in others - _ONE_LETTER_APART:
        meant = get_close_matches(name, known, n=1, cutoff=0.95)
        if meant:
            raise InvalidSettings(f"{name} is not a variable of dropzero; is {meant[0]} meant?")


def _federation(environment: Mapping[str, str]) -> OidcFederation | None:
    """Vercel's own variables, and AWS's name for the role. A token in a file is left to botocore's own chain."""
    role_arn, on_vercel = environment.get("AWS_ROLE_ARN"), environment.get("VERCEL") == "1"
    token = environment.get("VERCEL_OIDC_TOKEN") or None
    if not role_arn or environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") or not (on_vercel or token):
        return None
    return OidcFederation(role_arn, token, from_requests=on_vercel)


def _vercel_proxies(environment: Mapping[str, str]) -> tuple[Network, ...]:
    """On Vercel every connection comes from its own network, which writes X-Forwarded-For anew."""
    return (ip_network("0.0.0.0/0"), ip_network("::/0")) if environment.get("VERCEL") == "1" else ()


def _vercel_hosts(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The names that Vercel itself gives to a deployment: its own, its branch's and the project's."""
    hosts: list[str] = []
    if environment.get("VERCEL") == "1":
        for name in ("VERCEL_URL", "VERCEL_BRANCH_URL", "VERCEL_PROJECT_PRODUCTION_URL"):
            try:
                hosts += parse_hosts(environment.get(name, ""))
            except ValueError as error:
                raise InvalidSettings(f"{name}: {error}") from None
    return tuple(hosts)


def _one_of(choices: Sequence[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"expected one of {', '.join(choices)}, not {text[:40]!r}")
        return text

    return parse


def _whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or not least <= int(text) <= most:
            raise ValueError(f"expected a whole number from {least} to {most}, not {text[:40]!r}")
        return int(text)

    return parse


def _switch(text: str) -> bool:
    known = {"1": True, "true": True, "on": True, "yes": True, "0": False, "false": False, "off": False, "no": False}
    if text.lower() not in known:
        raise ValueError(f"expected on or off, not {text[:40]!r}")
    return known[text.lower()]


def _token(text: str) -> str:
    if len(text) < 16 or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError("expected at least 16 printable ASCII characters without spaces")
    return text


def _networks(text: str) -> tuple[Network, ...]:
    networks = []
    for entry in filter(None, map(str.strip, text.split(","))):
        try:
            networks.append(ip_network(entry))
        except ValueError:
            raise ValueError(
                f"expected addresses or networks such as 10.0.0.0/8, separated by commas, not {entry[:50]!r}"
            ) from None
    return tuple(networks)


def _documents(text: str) -> tuple[str, ...]:
    """The documents in a file that a frontend's build has written: an object of id and document, as GraphQL Code
    Generator's persisted documents, or an Apollo persisted query manifest."""
    try:
        content = orjson.loads(Path(text).expanduser().read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ValueError(f"expected a file of documents in JSON: {error}") from None
    if isinstance(content, dict) and isinstance(content.get("operations"), list):
        found = [entry.get("body") if isinstance(entry, dict) else None for entry in content["operations"]]
    else:
        found = list(content.values()) if isinstance(content, dict) else [None]
    documents = tuple(document for document in found if isinstance(document, str))
    if len(documents) != len(found):
        raise ValueError(f"{text[:100]!r} is no object of ids and documents, nor an Apollo persisted query manifest")
    return documents


def _origins(text: str) -> re.Pattern[str]:
    origins = [origin.strip().rstrip("/") for origin in text.split(",") if origin.strip()]
    for origin in origins:
        if not re.fullmatch(r"https?://[a-z0-9.-]+(:\d+)?", origin):
            raise ValueError(
                f"expected origins such as https://shop.example, separated by commas, not {origin[:100]!r}"
            )
    return re.compile("|".join(map(re.escape, origins)))
