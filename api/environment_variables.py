"""Every variable of the environment: its name, its default, how its text is read, and what it means.

`api/settings.py` reads VARIABLES and recognises misspelt names by them. `api/command_variables.py` has the variables of
options, and makes the table in docs/configuration.md of both.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Generic, TypeVar

from api.cross_origin import NOBODY, parse_origins
from api.database.endpoint import Endpoint, parse_endpoints
from api.hosts import parse_hosts
from api.identity.clients import Network
from api.identity.guests import parse_guest_keys
from api.identity.operator_tokens import parse_operator_token, parse_operator_tokens
from api.shop.reading import read_shop
from api.shop.shop import Shop
from api.trusted_documents import parse_documents
from api.webhooks.webhook_settings import parse_webhook_secrets, parse_webhook_url

DRAIN = 10
"""Seconds that a load balancer has to send its requests elsewhere. Kubernetes and ECS take a server out of their load
balancers at the moment when they stop it, and seconds pass until every part of the load balancer has followed. A load
balancer that checks /readyz every 5 s and wants two answers of 503 follows after 10 s."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Variable(Generic[T]):
    """One variable. `parse` raises ValueError, which says what was expected. `default` is the value when the variable
    is not set; where it depends on other variables, `default_text` describes it for people."""

    name: str
    default: T
    parse: Callable[[str], T]
    meaning: str
    default_text: str = ""

    @property
    def row(self) -> str:
        """The variable in a Markdown table."""
        default = self.default_text or f"`{self.default}`"
        return f"| `{self.name}` | {default} | {self.meaning} |"


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


def _log_format(text: str) -> bool:
    if text.lower() not in ("text", "json"):
        raise ValueError(f"expected text or json, not {text[:40]!r}")
    return text.lower() == "json"


def _claim(text: str) -> str:
    if len(text) > 200 or not text.isprintable() or " " in text:
        raise ValueError(f"expected the name of a claim, or a path such as realm_access.roles, not {text[:40]!r}")
    return text


def _audiences(text: str) -> frozenset[str]:
    return frozenset(filter(None, map(str.strip, text.split(","))))


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


ENDPOINTS: Variable[tuple[Endpoint, ...]] = Variable(
    "DROPZERO_ENDPOINTS",
    (),
    parse_endpoints,
    "`REGION=URL`, separated by commas: the database in each Region, see [the database](#the-database)",
    "the embedded PostgreSQL",
)
REGION: Variable[str] = Variable(
    "DROPZERO_REGION",
    "",
    str,
    "the home Region: purchases that name no Region go through it",
    "the first endpoint's",
)
ADMIN_TOKEN: Variable[str | None] = Variable(
    "DROPZERO_ADMIN_TOKEN",
    None,
    parse_operator_token,
    "the operator's bearer token, at least 16 characters",
    "none with endpoints; on a laptop, made at every start",
)
ADMIN_TOKENS: Variable[Mapping[str, bytes]] = Variable(
    "DROPZERO_ADMIN_TOKENS",
    {},
    parse_operator_tokens,
    "more operators' tokens, separated by commas: `NAME=TOKEN`, or `NAME=sha256:HEX` with the token's SHA-256. The log "
    "has the name",
    "none",
)
GUEST_KEY: Variable[tuple[str, ...]] = Variable(
    "DROPZERO_GUEST_KEY",
    (),
    parse_guest_keys,
    "signs the tokens of buyers without accounts, at least 32 characters; several keys, separated by commas: the first "
    "signs, and all verify",
    "no guests with endpoints; on a laptop, made once and kept",
)
ISSUER: Variable[str] = Variable(
    "DROPZERO_ISSUER",
    "",
    str,
    "the address of the shop's OpenID Connect issuer, whose tokens make buyers known",
    "none",
)
AUDIENCE: Variable[frozenset[str]] = Variable(
    "DROPZERO_AUDIENCE",
    frozenset(),
    _audiences,
    "what the issuer's tokens must be for, separated by commas: one of them has to be in the claim `aud`",
    "none; required with `DROPZERO_ISSUER`",
)
SUBJECT_CLAIM: Variable[str] = Variable(
    "DROPZERO_SUBJECT_CLAIM", "sub", _claim, "the claim of the issuer's tokens that names the buyer"
)
ROLES_CLAIM: Variable[str] = Variable(
    "DROPZERO_ROLES_CLAIM",
    "",
    _claim,
    "the claim of the issuer's tokens that has roles, such as `cognito:groups` or `realm_access.roles`",
    "none: no token of the issuer has a role",
)
OPERATOR_ROLE: Variable[str] = Variable(
    "DROPZERO_OPERATOR_ROLE", "", str, "the value in that claim that lets its bearer do everything", "none"
)
SUPPORT_ROLE: Variable[str] = Variable(
    "DROPZERO_SUPPORT_ROLE", "", str, "the value that lets its bearer read and cancel every buyer's orders", "none"
)
PAYMENTS_ROLE: Variable[str] = Variable(
    "DROPZERO_PAYMENTS_ROLE", "", str, "the value that lets its bearer confirm and release holds", "none"
)
WEBHOOK_URL: Variable[str] = Variable(
    "DROPZERO_WEBHOOK_URL",
    "",
    parse_webhook_url,
    "where events are sent, such as `https://shop.example/webhooks`, as Standard Webhooks describes",
    "none: nothing is sent",
)
WEBHOOK_SECRET: Variable[tuple[str, ...]] = Variable(
    "DROPZERO_WEBHOOK_SECRET",
    (),
    parse_webhook_secrets,
    "signs webhooks: `whsec_` and 24 to 64 bytes in base64; several secrets, separated by commas: each signs",
    "none; required with `DROPZERO_WEBHOOK_URL`",
)
WEBHOOK_PRIVATE: Variable[bool] = Variable(
    "DROPZERO_WEBHOOK_PRIVATE",
    False,
    _switch,
    "webhooks may go to private addresses, and over `http://`",
    "`on`, or `off` with endpoints",
)
EVENTS: Variable[bool] = Variable(
    "DROPZERO_EVENTS",
    False,
    _switch,
    "keeps events, for `orderEvents` and `ordersChanged`",
    "`off`, or `on` with `DROPZERO_WEBHOOK_URL`",
)
ACTIVITY: Variable[bool] = Variable(
    "DROPZERO_ACTIVITY", True, _switch, "keeps what happens in drops, for `dropActivity` and `dropHistory`", "`on`"
)
DATA: Variable[Path] = Variable(
    "DROPZERO_DATA",
    Path(".dropzero"),
    lambda text: Path(text).expanduser(),
    "the folder of the embedded database, of its operator's token, of its guests' key and of uploaded images",
)
SHOP: Variable[Shop] = Variable(
    "DROPZERO_SHOP",
    Shop(),
    read_shop,
    "a TOML file with the shop's name, its logo, colours and fonts, and what it must say, see [the shop](shop.md)",
    "none: the pages are called DROPZERO",
)
HOSTS: Variable[tuple[str, ...]] = Variable(
    "DROPZERO_HOSTS",
    (),
    parse_hosts,
    "host names that are answered beside `localhost` and the server's own address, such as "
    "`shop.example, *.shop.example`, see [host names](deployment.md#host-names)",
    "none",
)
TRUSTED_PROXIES: Variable[tuple[Network, ...]] = Variable(
    "DROPZERO_TRUSTED_PROXIES",
    (),
    _networks,
    "addresses or networks of proxies, separated by commas; the server reads a client's address from their "
    "`X-Forwarded-For`, see [security](security.md#1-what-the-server-bounds-by-itself)",
    "none; on Vercel, any",
)
DOCUMENTS: Variable[Mapping[str, str] | None] = Variable(
    "DROPZERO_DOCUMENTS",
    None,
    parse_documents,
    "a JSON file of the only GraphQL documents that callers without the operator's token may send, or a folder of such "
    "files, see [from a frontend](frontend.md#trusted-documents)",
    "any document",
)
ALLOWED_ORIGINS: Variable[re.Pattern[str]] = Variable(
    "DROPZERO_ALLOWED_ORIGINS",
    re.compile(NOBODY),
    parse_origins,
    "other origins whose pages may call, separated by commas, such as `https://shop.example, "
    "https://*.preview.shop.example, capacitor://localhost`, see "
    "[pages of other origins](frontend.md#pages-of-other-origins)",
    "localhost, or none with endpoints",
)
GRAPHIQL: Variable[bool] = Variable(
    "DROPZERO_GRAPHIQL", False, _switch, "GraphiQL, the IDE at `/graphql`", "`on`, or `off` with endpoints"
)
RACE: Variable[bool] = Variable(
    "DROPZERO_RACE",
    False,
    _switch,
    "the race on `/architecture`, which sells a product of its own to made-up buyers; refused with endpoints",
    "`on`, or `off` with endpoints",
)
DEMO: Variable[bool] = Variable(
    "DROPZERO_DEMO", False, _switch, "`/demo/pay`, which plays a payment; refused with endpoints", RACE.default_text
)
CONNECTIONS: Variable[int] = Variable(
    "DROPZERO_CONNECTIONS", 10, _whole(1, 1000), "database connections per endpoint and process"
)
ATTEMPTS: Variable[int] = Variable(
    "DROPZERO_ATTEMPTS", 40, _whole(1, 1000), "transactions that one purchase may go through"
)
DEADLINE_MS: Variable[int] = Variable(
    "DROPZERO_DEADLINE_MS",
    15_000,
    _whole(100, 120_000),
    "milliseconds until a purchase that waits is answered; a transaction under way is awaited beyond them",
)
GROUP_COMMIT: Variable[bool] = Variable(
    "DROPZERO_GROUP_COMMIT", True, _switch, "`off` runs one transaction per purchase, for comparison", "`on`"
)
POLL_INTERVAL_MS: Variable[int] = Variable(
    "DROPZERO_POLL_INTERVAL_MS",
    250,
    _whole(10, 60_000),
    "milliseconds between two readings of the watched products' stock",
)
SOCKETS: Variable[int] = Variable(
    "DROPZERO_SOCKETS",
    15_000,
    _whole(1, 1_000_000),
    "websockets and event streams that a process keeps open at a time",
)
KEEP_ALIVE_S: Variable[int] = Variable(
    "DROPZERO_KEEP_ALIVE_S",
    120,
    _whole(1, 7200),
    "seconds that an idle connection is kept; must be longer than the load balancer keeps it, see "
    "[behind a load balancer](deployment.md#behind-a-load-balancer)",
)
DRAIN_S: Variable[int] = Variable(
    "DROPZERO_DRAIN_S",
    0,
    _whole(0, 600),
    "seconds from SIGTERM, with `/readyz` at 503, until the server takes no more connections",
    f"`0`, or `{DRAIN}` with endpoints",
)
LOG: Variable[bool] = Variable(
    "DROPZERO_LOG",
    False,
    _log_format,
    "`json` logs each event as a JSON object in one line, see [the log](tracing.md#the-log)",
    "`text`",
)
COMMIT_DELAY_MS: Variable[int] = Variable(
    "DROPZERO_COMMIT_DELAY_MS",
    0,
    _whole(0, 100),
    "milliseconds that every commit takes longer, on the embedded database only",
)

VARIABLES: tuple[Variable[Any], ...] = (
    ENDPOINTS,
    REGION,
    ADMIN_TOKEN,
    ADMIN_TOKENS,
    GUEST_KEY,
    ISSUER,
    AUDIENCE,
    SUBJECT_CLAIM,
    ROLES_CLAIM,
    OPERATOR_ROLE,
    SUPPORT_ROLE,
    PAYMENTS_ROLE,
    WEBHOOK_URL,
    WEBHOOK_SECRET,
    WEBHOOK_PRIVATE,
    EVENTS,
    ACTIVITY,
    DATA,
    SHOP,
    HOSTS,
    TRUSTED_PROXIES,
    DOCUMENTS,
    ALLOWED_ORIGINS,
    GRAPHIQL,
    RACE,
    DEMO,
    CONNECTIONS,
    ATTEMPTS,
    DEADLINE_MS,
    GROUP_COMMIT,
    POLL_INTERVAL_MS,
    SOCKETS,
    KEEP_ALIVE_S,
    DRAIN_S,
    LOG,
    COMMIT_DELAY_MS,
)
"""The variables that `api.settings.read_settings` reads."""
