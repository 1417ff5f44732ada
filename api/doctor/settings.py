"""The variables of the environment: whether they can be used, and combinations that are allowed and unwise."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network

from api.command_variables import COMMAND_VARIABLES
from api.doctor.finding import Finding, explained, ok, warning
from api.environment_variables import VARIABLES
from api.hosts import UNNAMED
from api.identity.caller import Role
from api.settings import InvalidSettings, Settings, read_settings

STRONG_TOKEN = 32
"""Characters of an operator's token that nobody guesses, whatever they are made of: 128 random bits in hexadecimal."""

LEAST_VARIETY = 10
"""Different characters of a random token of that length. One in hexadecimal has fewer in one case of 400."""

_EVERYBODY = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def check_settings(
    environment: Mapping[str, str], commands: frozenset[str] = frozenset()
) -> tuple[Settings | None, list[Finding]]:
    """The settings, None if they cannot be used, and what was found. `commands`: the names of the commands, whose
    options have variables of their own."""
    unknown = list(_unknown(environment, commands))
    try:
        settings = read_settings(environment)
    except InvalidSettings as error:
        name, _, reason = str(error).partition(": ")
        found = explained("settings", str(error), f"correct {name}" if reason else "correct it")
        return None, [found, *unknown]
    where = "the embedded database" if settings.embedded else f"{len(settings.endpoints)} Regions"
    unwise = [] if settings.embedded else [*_secrets(settings), *_callers(settings), *_openings(settings, environment)]
    return settings, [ok("settings", f"every variable can be used; {where}"), *unknown, *unwise]


def _unknown(environment: Mapping[str, str], commands: frozenset[str]) -> Iterator[Finding]:
    known = {variable.name for variable in (*VARIABLES, *COMMAND_VARIABLES)}
    options = tuple(f"DROPZERO_{name.upper().replace('-', '_')}_" for name in commands)
    for name in sorted(environment.keys() - known):
        if name.startswith("DROPZERO_") and not (options and name.startswith(options)):
            yield warning("settings", f"{name} is not a variable of dropzero", f"unset {name}")


def _secrets(settings: Settings) -> Iterator[Finding]:
    token = settings.admin_token
    if token is not None and (len(token) < STRONG_TOKEN or len(set(token)) < LEAST_VARIETY):
        yield warning(
            "operator",
            "DROPZERO_ADMIN_TOKEN is short, or is made of few characters, and can be guessed",
            "DROPZERO_ADMIN_TOKEN=$(openssl rand -hex 32)",
        )
    roles = () if settings.issuer is None else settings.issuer.role_names.values()
    if token is None and not settings.operator_digests and Role.OPERATOR not in roles:
        yield warning(
            "operator",
            "nobody can create products or read orders: there is no operator's token and no role of an operator",
            "DROPZERO_ADMIN_TOKEN=$(openssl rand -hex 32)",
        )


def _callers(settings: Settings) -> Iterator[Finding]:
    if settings.issuer is None and not settings.guest_keys:
        yield warning(
            "buyers",
            "nobody can buy: there is no issuer and no guest key",
            "set DROPZERO_ISSUER and DROPZERO_AUDIENCE, or DROPZERO_GUEST_KEY=$(openssl rand -hex 32)",
        )
    if settings.issuer is not None and settings.issuer.issuer.startswith("http://"):
        yield warning(
            "issuer",
            f"{settings.issuer.issuer} is on this machine and without TLS: buyers elsewhere cannot sign in there",
            "set DROPZERO_ISSUER to the https:// address of the shop's issuer",
        )
    if not settings.hosts:
        found, _, mend = UNNAMED.partition("; ")
        yield warning("hosts", found, mend)


def _openings(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    on_vercel = environment.get("VERCEL") == "1"
    if not on_vercel and any(network in _EVERYBODY for network in settings.trusted_proxies):
        yield warning(
            "proxies",
            "DROPZERO_TRUSTED_PROXIES has every address: any client can claim any address, and has no fair share",
            "set DROPZERO_TRUSTED_PROXIES to the addresses of your own proxies",
        )
    if not settings.trusted_proxies:
        yield warning(
            "proxies",
            "no proxy is trusted: behind a load balancer all buyers are one client, and share what one client may do",
            "set DROPZERO_TRUSTED_PROXIES to the addresses of the load balancer, such as 10.0.0.0/8",
        )
    if settings.graphiql:
        yield warning("GraphiQL", "it is open, and loads its scripts from unpkg.com", "unset DROPZERO_GRAPHIQL")
    if settings.webhook is not None and settings.webhook.private:
        yield warning("webhook", "it may go to private addresses, and without TLS", "unset DROPZERO_WEBHOOK_PRIVATE")
