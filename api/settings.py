"""Settings: the variables of the environment, read once. A value that cannot be used is refused by its name."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import TypeVar

from api import environment_variables as variables
from api.command_variables import COMMAND_VARIABLES
from api.database.endpoint import Endpoint
from api.database.monitor import RegionTimes
from api.database.retry import RetryBudget
from api.drops.group_policy import GroupPolicy
from api.drops.stock import PollingTimes
from api.environment_variables import DRAIN, VARIABLES, Variable
from api.hosts import parse_hosts
from api.identity.caller import Role
from api.identity.clients import Network
from api.identity.issuer_settings import IssuerSettings
from api.shop.shop import Shop
from api.tracing.variables import InvalidVariable, Sampling, read_sampling
from api.webhooks.webhook_settings import WebhookSettings

EMBEDDED_REGIONS = ("ap-northeast-1", "ap-northeast-2")
"""Two Regions, both served by the one embedded database, so that everything about Regions works on a laptop."""

LOCALHOST = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"

_NO_RACE = (
    "unset it with endpoints; the race buys for made-up buyers, as only a laptop lets anyone do. To race the Regions "
    "of a deployment, run dropzero race as the operator"
)

_NO_DEMO = "unset it with endpoints; the demo confirms orders that nobody has paid"

T = TypeVar("T")


class InvalidSettings(Exception):
    """A variable of the environment cannot be used; the message names it and says what was expected."""


@dataclass(frozen=True, slots=True)
class OidcFederation:
    """How to get AWS credentials for an OIDC token of Vercel: the role to assume, the token in the environment if there
    is one, and whether requests carry newer tokens."""

    role_arn: str
    token: str | None = field(repr=False)
    from_requests: bool


@dataclass(frozen=True, slots=True)
class SocketTimes:
    """How long a client's connection may wait, in seconds.

    `keep_alive`: from an answer to the next request on its connection. A load balancer must close its idle connections
    sooner: otherwise it can send a request on a connection that the server is just closing. Load balancers keep them
    for 60 s (ALB, nginx, CloudFront's most by default) to 90 s (Go's net/http, on which Traefik is built).
    `receive`: from a connection, or from a request's first byte, until the request is complete.
    `send`: until a client has read some of what it was sent; then it is disconnected. For `receive` and `send`, uvicorn
    would wait for ever.
    `close`: until a websocket's client has answered a close frame.
    `initialise`: until a websocket has sent connection_init; then it is closed with 4408.
    `ping`: from one websocket ping to the next, and from a ping to its pong.
    `comment`: from one comment of an event stream to the next, for proxies that end a stream without traffic.
    """

    keep_alive: float = float(variables.KEEP_ALIVE_S.default)
    receive: float = 30.0
    send: float = 10.0
    close: float = 3.0
    initialise: float = 10.0
    ping: float = 20.0
    comment: float = 12.0


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a server. Without endpoints it runs the embedded PostgreSQL in `data_directory`, under the names
    `embedded_regions`. The first endpoint, or the first of these names, is home. `hosts` are host names that are
    answered beside those that every server answers. `image_folder`: where uploaded images are kept; None
    where none are. `operator_digests`: the SHA-256 of operators' tokens beside `admin_token`, by name.
    `open_to_anyone`: callers without a token may name any buyer. `events`: whether events are kept. `activity`: whether
    what happens in drops is kept. `drain`: seconds from SIGTERM until the server takes no more connections. `tracing`:
    which requests are traced; None where traces are off."""

    endpoints: tuple[Endpoint, ...]
    embedded_regions: tuple[str, ...]
    data_directory: Path
    image_folder: Path | None
    commit_delay_ms: int
    connections: int
    admin_token: str | None = field(repr=False)
    operator_digests: Mapping[str, bytes] = field(repr=False)
    guest_keys: tuple[str, ...] = field(repr=False)
    issuer: IssuerSettings | None
    webhook: WebhookSettings | None
    events: bool
    activity: bool
    shop: Shop = field(repr=False)
    open_to_anyone: bool
    allowed_origins: re.Pattern[str]
    hosts: tuple[str, ...]
    graphiql: bool
    race: bool
    demo: bool
    open_metrics: bool
    group: GroupPolicy
    budget: RetryBudget
    polling: PollingTimes
    sockets: int
    trusted_proxies: tuple[Network, ...]
    trusted_documents: Mapping[str, str] | None
    drain: float
    federation: OidcFederation | None
    tracing: Sampling | None = None
    json_log: bool = False
    region_times: RegionTimes = RegionTimes()
    socket_times: SocketTimes = SocketTimes()

    @property
    def embedded(self) -> bool:
        return not self.endpoints

    def with_embedded(self, url: str, admin_token: str | None) -> "Settings":
        """Return these settings with the URL and the operator's token of the embedded database that runs."""
        endpoints = tuple(Endpoint(region, url) for region in self.embedded_regions)
        return replace(self, endpoints=endpoints, admin_token=admin_token)


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the DROPZERO_ variables. Raises InvalidSettings.

    What is open on a laptop is closed once an endpoint is configured: GraphiQL, the metrics, pages of localhost,
    purchases without a token, webhooks to private addresses; for good: uploads, the race and the demo of a payment.
    """
    settings = _unchecked(environment)
    _require_laptop(settings)
    _require_spelling(environment)
    return settings


def _unchecked(environment: Mapping[str, str]) -> Settings:
    """The settings, before the variables are compared with each other. Raises InvalidSettings."""

    def read(variable: Variable[T], default: T | None = None) -> T:
        return _read(environment, variable, default)

    endpoints = _endpoints(environment)
    laptop = not endpoints
    home = _home(environment, tuple(endpoint.region for endpoint in endpoints) or EMBEDDED_REGIONS)
    connections = read(variables.CONNECTIONS)
    webhook = _webhook(environment, laptop)
    return Settings(
        endpoints=tuple(sorted(endpoints, key=lambda endpoint: endpoint.region != home)),
        embedded_regions=tuple(sorted(EMBEDDED_REGIONS, key=lambda region: region != home)),
        data_directory=read(variables.DATA),
        image_folder=read(variables.DATA) / "images" if laptop else None,
        commit_delay_ms=read(variables.COMMIT_DELAY_MS),
        connections=connections,
        admin_token=read(variables.ADMIN_TOKEN),
        operator_digests=read(variables.ADMIN_TOKENS),
        guest_keys=read(variables.GUEST_KEY),
        issuer=_issuer(environment),
        webhook=webhook,
        events=read(variables.EVENTS, webhook is not None),
        activity=read(variables.ACTIVITY),
        shop=read(variables.SHOP),
        open_to_anyone=laptop,
        allowed_origins=read(variables.ALLOWED_ORIGINS, re.compile(LOCALHOST) if laptop else None),
        hosts=(*read(variables.HOSTS), *_vercel_hosts(environment)),
        graphiql=read(variables.GRAPHIQL, laptop),
        race=read(variables.RACE, laptop),
        demo=read(variables.DEMO, laptop),
        open_metrics=laptop,
        group=GroupPolicy() if read(variables.GROUP_COMMIT) else _one_by_one(connections),
        budget=RetryBudget(attempts=read(variables.ATTEMPTS), seconds=read(variables.DEADLINE_MS) / 1000),
        polling=PollingTimes(interval=read(variables.POLL_INTERVAL_MS) / 1000),
        sockets=read(variables.SOCKETS),
        trusted_proxies=read(variables.TRUSTED_PROXIES, _vercel_proxies(environment)),
        trusted_documents=read(variables.DOCUMENTS),
        drain=read(variables.DRAIN_S, 0 if laptop else DRAIN),
        federation=_federation(environment),
        tracing=_sampling(environment),
        json_log=logs_json(environment),
        socket_times=SocketTimes(keep_alive=read(variables.KEEP_ALIVE_S)),
    )


def _one_by_one(connections: int) -> GroupPolicy:
    """The published model, for comparison: each purchase has a transaction of its own."""
    return GroupPolicy(size=1, executing=connections, in_flight=connections)


def logs_json(environment: Mapping[str, str]) -> bool:
    """Whether the log is JSON. For the log of what reads the other settings. Raises InvalidSettings."""
    return _read(environment, variables.LOG)


def _sampling(environment: Mapping[str, str]) -> Sampling | None:
    try:
        return read_sampling(environment)
    except InvalidVariable as error:
        raise InvalidSettings(str(error)) from None


def _read(environment: Mapping[str, str], variable: Variable[T], default: T | None = None) -> T:
    """The value of a variable. When it is not set or blank: `default`, or else the variable's own default.
    Raises InvalidSettings."""
    text = environment.get(variable.name, "").strip()
    if not text:
        return variable.default if default is None else default
    try:
        return variable.parse(text)
    except ValueError as error:
        raise InvalidSettings(f"{variable.name}: {error}") from None


def _endpoints(environment: Mapping[str, str]) -> tuple[Endpoint, ...]:
    name = variables.ENDPOINTS.name
    endpoints = _read(environment, variables.ENDPOINTS)
    if not endpoints and name in environment:
        raise InvalidSettings(f"{name}: it is set but empty; name a database, or unset it for a local one")
    return endpoints


def _issuer(environment: Mapping[str, str]) -> IssuerSettings | None:
    """What the issuer's tokens must say. Raises InvalidSettings, also for a variable that is of no use without another:
    a role would be given to nobody, and an audience checked by nobody."""
    issuer, audience = _read(environment, variables.ISSUER), _read(environment, variables.AUDIENCE)
    subject, claim = _read(environment, variables.SUBJECT_CLAIM), _read(environment, variables.ROLES_CLAIM)
    values = {
        variable.name: (_read(environment, variable), role)
        for variable, role in (
            (variables.OPERATOR_ROLE, Role.OPERATOR),
            (variables.SUPPORT_ROLE, Role.SUPPORT),
            (variables.PAYMENTS_ROLE, Role.PAYMENTS),
        )
    }
    named = {name: value for name, (value, _) in values.items() if value}
    if issuer and not audience:
        raise InvalidSettings(f"{variables.AUDIENCE.name}: set it too; without it, tokens for other shops would do")
    if not issuer and (audience or claim or named):
        unused = variables.AUDIENCE.name if audience else variables.ROLES_CLAIM.name if claim else next(iter(named))
        raise InvalidSettings(f"{unused}: set {variables.ISSUER.name} too; without it, no token is of an issuer")
    if named and not claim:
        raise InvalidSettings(f"{variables.ROLES_CLAIM.name}: set it too; {next(iter(named))} is a value of that claim")
    if len(set(named.values())) < len(named):
        raise InvalidSettings(f"{' and '.join(named)}: expected another value for each")
    if not issuer:
        return None
    roles = {value: str(role) for value, role in values.values() if value}
    try:
        return IssuerSettings(issuer, audience, subject, claim, roles)
    except ValueError as error:
        raise InvalidSettings(f"{variables.ISSUER.name}: {error}") from None


def _webhook(environment: Mapping[str, str], laptop: bool) -> WebhookSettings | None:
    """Where events are sent. Raises InvalidSettings, also for a variable that is of no use without another."""
    url, secrets = _read(environment, variables.WEBHOOK_URL), _read(environment, variables.WEBHOOK_SECRET)
    private = _read(environment, variables.WEBHOOK_PRIVATE, laptop)
    if url and not secrets:
        raise InvalidSettings(
            f"{variables.WEBHOOK_SECRET.name}: set it too; without it, the receiver would have to believe anybody"
        )
    if not url:
        if secrets:
            raise InvalidSettings(f"{variables.WEBHOOK_URL.name}: set it too; without it, nothing is sent")
        return None
    if not _read(environment, variables.EVENTS, True):
        raise InvalidSettings(f"{variables.EVENTS.name}: unset it; {variables.WEBHOOK_URL.name} needs the events")
    try:
        return WebhookSettings(url, secrets, private)
    except ValueError as error:
        raise InvalidSettings(
            f"{variables.WEBHOOK_URL.name}: {error}; {variables.WEBHOOK_PRIVATE.name}=on allows it"
        ) from None


def _home(environment: Mapping[str, str], regions: Sequence[str]) -> str:
    home = _read(environment, variables.REGION, regions[0])
    if home not in regions:
        raise InvalidSettings(f"{variables.REGION.name}: expected one of {', '.join(regions)}, not {home[:40]!r}")
    return home


def _require_laptop(settings: Settings) -> None:
    """Raises InvalidSettings when endpoints are configured and what is for a laptop alone is switched on."""
    for variable, is_on, reason in (
        (variables.RACE, settings.race, _NO_RACE),
        (variables.DEMO, settings.demo, _NO_DEMO),
    ):
        if is_on and not settings.embedded:
            raise InvalidSettings(f"{variable.name}: {reason}")


def _require_spelling(environment: Mapping[str, str]) -> None:
    """Raises InvalidSettings for a name that is almost a variable's. With one letter less in DROPZERO_ENDPOINTS, the
    drop would run on an empty database of its own."""
    known = {variable.name for variable in VARIABLES}
    for name in environment.keys() - known - {variable.name for variable in COMMAND_VARIABLES}:
        meant = get_close_matches(name, known, n=1, cutoff=0.95)
        if meant:
            raise InvalidSettings(f"{name} is not a variable of dropzero; is {meant[0]} meant?")


def _federation(environment: Mapping[str, str]) -> OidcFederation | None:
    """Read Vercel's own variables, and AWS's name for the role. botocore itself reads a token in a file."""
    role_arn, on_vercel = environment.get("AWS_ROLE_ARN"), environment.get("VERCEL") == "1"
    token = environment.get("VERCEL_OIDC_TOKEN") or None
    if not role_arn or environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") or not (on_vercel or token):
        return None
    return OidcFederation(role_arn, token, from_requests=on_vercel)


def _vercel_proxies(environment: Mapping[str, str]) -> tuple[Network, ...]:
    """On Vercel every connection comes from Vercel's own network, which overwrites X-Forwarded-For."""
    return (ip_network("0.0.0.0/0"), ip_network("::/0")) if environment.get("VERCEL") == "1" else ()


def _vercel_hosts(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The names that Vercel gives to a deployment, to its branch and to the project. Raises InvalidSettings."""
    hosts: list[str] = []
    if environment.get("VERCEL") == "1":
        for name in ("VERCEL_URL", "VERCEL_BRANCH_URL", "VERCEL_PROJECT_PRODUCTION_URL"):
            try:
                hosts += parse_hosts(environment.get(name, ""))
            except ValueError as error:
                raise InvalidSettings(f"{name}: {error}") from None
    return tuple(hosts)
