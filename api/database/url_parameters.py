"""The parameters of a postgresql:// URL, as providers and other clients write them, and what dropzero does with each.

asyncpg sends every parameter that it does not know to the server as a setting, and the server then refuses the
connection. So each parameter has a rule here: it is obeyed, or dropped if nothing is lost, or refused with what to
write instead. No message repeats a value, which may be a secret.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from urllib.parse import parse_qsl, urlencode, urlsplit

ESCAPES = "a comma, @, / or ? within a password is written as %2C, %40, %2F or %3F"

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}")

_SYSTEM = "system"  # as the value of sslrootcert: the system's certificate authorities, as in libpq
_VERIFIED = "verify-full"
_ENCRYPTED = ("require", "verify-ca", _VERIFIED)


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """How to open connections to a PostgreSQL, read from its URL.

    `url` has the parameters that asyncpg reads, and no others. It can hold a password, so `repr` leaves it out.
    `settings` are sent to the server when a connection opens.
    `timeout` is the URL's connect_timeout in seconds, None without one.
    `authorities` verify the server's certificate and host, if asyncpg cannot do it.
    `channel_binding`: the URL requires it. asyncpg has none, so the certificate is verified instead.
    `direct_tls`: TLS begins with the connection, without PostgreSQL's request for it.
    `files` that the URL names, by their parameters.
    `key_password` decrypts the file of sslkey.
    """

    url: str = field(repr=False)
    settings: Mapping[str, str]
    timeout: float | None
    authorities: "Authorities | None"
    channel_binding: bool
    direct_tls: bool
    files: Mapping[str, str]
    key_password: str = field(repr=False)


class Authorities(Enum):
    """Certificate authorities: the system's, or those of libpq's default file, if it exists."""

    SYSTEM = "system"
    USUAL = "usual"


@dataclass(frozen=True, slots=True)
class _Obeyed:
    """A parameter that is obeyed.

    `name` is its name in `_obeyed`'s answer. `values` are the accepted values, each with its meaning there; None means
    that the value changes nothing. Without `values`, every value that matches `pattern` is accepted.
    """

    name: str
    values: Mapping[str, str | None] | None = None
    pattern: str = r"(?s:.+)"
    instead: str = "leave it out"


@dataclass(frozen=True, slots=True)
class _Dropped:
    """A parameter that is dropped with any value, or with one of `values`, and refused with another."""

    values: frozenset[str] | None = None
    instead: str = "leave it out"


@dataclass(frozen=True, slots=True)
class _Refused:
    """A parameter that is refused with any value."""

    instead: str


_Rule = _Obeyed | _Dropped | _Refused


def _same(names: str) -> dict[str, str | None]:
    return {name: name for name in names.split()}


def _each(names: str, rule: _Rule) -> dict[str, _Rule]:
    return dict.fromkeys(names.split(), rule)


_SSLMODES: dict[str, str | None] = {
    **_same("disable allow prefer require verify-ca verify-full"),
    "no-verify": "require",  # node-postgres: encrypted, and not verified
}
_WRITE_SSLMODE = "write sslmode=require (encrypted) or sslmode=verify-full (and the server's certificate verified)"
_SECONDS = _Obeyed("connect_timeout", pattern=r"\d{1,9}", instead="write whole seconds, such as connect_timeout=5")
_WRITES = "dropzero writes, so leave it out or write target_session_attrs=read-write"
_ENCODING = _Dropped(
    frozenset({"utf8", "UTF8", "utf-8", "UTF-8", "unicode", "auto"}), "leave it out: dropzero speaks UTF-8"
)
_NOT_TLS = "leave it out, and write sslmode=verify-full to be sure of the server"

_PORT = r"([1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d{2}|655[0-2]\d|6553[0-5])"

_READ_BY_ASYNCPG = (
    *("host", "port", "dbname", "database", "user", "password", "passfile", "service", "target_session_attrs"),
    *("sslmode", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslrootcert", "krbsrvname", "gsslib"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
)
_SETTINGS = (
    *("application_name", "options", "search_path", "TimeZone", "timezone"),
    *("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"),
)
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")

# If the URL has several names for the same thing, the first of them in this order is obeyed.
_RULES: dict[str, _Rule] = {
    # Read by asyncpg itself.
    **{name: _Obeyed(name) for name in _READ_BY_ASYNCPG},
    "ssl_min_protocol_version": _Obeyed("ssl_min_protocol_version", pattern=r"TLSv1(\.[123])?"),
    "ssl_max_protocol_version": _Obeyed("ssl_max_protocol_version", pattern=r"TLSv1(\.[123])?"),
    "gsslib": _Obeyed("gsslib", _same("gssapi sspi")),
    "host": _Obeyed("host", pattern=r"[^,]+(,[^,]+)*"),
    "port": _Obeyed("port", pattern=rf"{_PORT}(,{_PORT})*", instead="write a number, such as port=5432"),
    "target_session_attrs": _Obeyed("target_session_attrs", _same("any primary read-write"), instead=_WRITES),
    "targetServerType": _Obeyed(
        "target_session_attrs", {"any": "any", "primary": "primary", "master": "primary"}, instead=_WRITES
    ),
    # TLS. `ssl` is node-postgres's and JDBC's, for both of which `true` verifies; `sslaccept` is Prisma's.
    "sslmode": _Obeyed("sslmode", _SSLMODES, instead=_WRITE_SSLMODE),
    "ssl": _Obeyed(
        "sslmode",
        {**_SSLMODES, "true": _VERIFIED, "1": _VERIFIED, "false": None, "0": None},
        instead=_WRITE_SSLMODE,
    ),
    "sslaccept": _Obeyed("sslmode", {"strict": _VERIFIED, "accept_invalid_certs": "require"}, instead=_WRITE_SSLMODE),
    "sslnegotiation": _Obeyed("sslnegotiation", {"postgres": None, "direct": "direct"}),
    "channel_binding": _Obeyed("channel_binding", {"disable": None, "prefer": None, "require": "require"}),
    "channelBinding": _Obeyed("channel_binding", {"disable": None, "prefer": None, "require": "require"}),
    # How long a connection may take to open.
    "connect_timeout": _SECONDS,
    "connectTimeout": _SECONDS,
    "loginTimeout": _SECONDS,
    # Settings of the session.
    **{name: _Obeyed(name) for name in _SETTINGS},
    "ApplicationName": _Obeyed("application_name"),
    "fallback_application_name": _Obeyed("application_name"),
    "currentSchema": _Obeyed("search_path"),
    "schema": _Obeyed("schema"),
    # How TCP finds out that the server is gone. dropzero has a deadline of its own for every wait.
    **_each(
        "keepalives keepalives_idle keepalives_interval keepalives_count tcp_user_timeout tcpKeepAlive", _Dropped()
    ),
    **_each("socket_timeout socketTimeout query_timeout", _Dropped()),
    # Other clients' pools and prepared statements. DROPZERO_CONNECTIONS is the size of our pool, and a start of the
    # server finds a pooler that keeps no prepared statements.
    **_each("connection_limit pool_timeout pool_size pool_max_conns pool_min_conns pool_max_conn_lifetime", _Dropped()),
    **_each("pool_max_conn_idle_time max_idle_connection_lifetime max_connection_lifetime pool", _Dropped()),
    **_each("pgbouncer prepared_statements statement_cache_size prepareThreshold single_use_connections", _Dropped()),
    **_each("preparedStatementCacheQueries statement_cache_capacity default_query_exec_mode", _Dropped()),
    **_each("reWriteBatchedInserts defaultRowFetchSize binaryTransfer stringtype", _Dropped()),
    # Marks that Vercel's integrations leave for other clients.
    **_each("supa workaround uselibpqcompat", _Dropped()),
    # What asyncpg does anyway.
    "gssencmode": _Dropped(frozenset({"disable", "prefer"}), _NOT_TLS),
    "gssdelegation": _Dropped(frozenset({"0"})),
    "sslcompression": _Dropped(frozenset({"0"})),
    "sslsni": _Dropped(frozenset({"1"})),
    "sslcertmode": _Dropped(frozenset({"allow"})),
    "load_balance_hosts": _Dropped(),
    "client_encoding": _ENCODING,
    "encoding": _ENCODING,
    # If one of these was dropped, something would be missing without a message.
    "require_auth": _Refused(_NOT_TLS),
    "requirepeer": _Refused("leave it out, and see to it that only the server's user can write to the socket's folder"),
    "requiressl": _Refused(_WRITE_SSLMODE),
    "sslfactory": _Refused(_WRITE_SSLMODE),
    "sslidentity": _Refused("write sslcert=FILE and sslkey=FILE"),
    "sslcrldir": _Refused("write sslcrl=FILE"),
    "hostaddr": _Refused("write the address in the place of the host"),
    "servicefile": _Refused("name the file with the variable PGSERVICEFILE"),
    "replication": _Refused("leave it out"),
}


def read_address(region: str, url: str) -> PostgresAddress:
    """Read the URL of a Region's endpoint. Raises ValueError, whose message names the parameter and says what to do."""
    parts = urlsplit(url)
    parameters = dict(parse_qsl(parts.query, keep_blank_values=True))  # a repeated name: the last counts, as in libpq
    if "@" in parts.query and "@" not in parts.netloc and parameters.keys() - _RULES.keys():
        raise ValueError(f"the URL of {region} cannot be used; {ESCAPES}")  # what looks like a name may be a password
    given = _obeyed(region, parameters)
    channel_binding = "channel_binding" in given
    authorities = _authorities(region, given)
    settings = {"application_name": "dropzero", **{name: given[name] for name in _SETTINGS if name in given}}
    if "schema" in given:  # Prisma's: one name, without quotes; search_path and currentSchema may be lists
        settings.setdefault("search_path", '"{}"'.format(given["schema"].replace('"', '""')))
    read_by_asyncpg = {name: given[name] for name in _READ_BY_ASYNCPG if name in given}
    return PostgresAddress(
        url=url.partition("?")[0] + "?" * bool(read_by_asyncpg) + urlencode(read_by_asyncpg),
        settings=settings,
        timeout=float(given.get("connect_timeout", 0)) or None,  # in libpq 0 means no timeout; here ours applies
        authorities=authorities,
        channel_binding=channel_binding,
        direct_tls="sslnegotiation" in given,
        files={name: given[name] for name in _FILES if given.get(name, _SYSTEM) != _SYSTEM},
        key_password=given.get("sslpassword", ""),
    )


def _authorities(region: str, given: dict[str, str]) -> Authorities | None:
    """Set sslmode=verify-full in `given` if its other parameters imply it. Returns the certificate authorities to use
    for that; None if asyncpg finds them. Raises ValueError."""
    sslrootcert = given.get("sslrootcert")
    if "channel_binding" in given or sslrootcert == _SYSTEM:  # in libpq, too, `system` implies verify-full
        if given.get("sslmode", _VERIFIED) not in _ENCRYPTED:
            name = "channel_binding" if "channel_binding" in given else "sslrootcert"
            raise ValueError(f"the URL of {region} has {name} beside an sslmode that may not encrypt; {_WRITE_SSLMODE}")
        given["sslmode"] = _VERIFIED
    if given.get("sslmode") != _VERIFIED or sslrootcert not in (None, _SYSTEM):
        return None
    for name in ("sslcrl", "ssl_min_protocol_version", "ssl_max_protocol_version"):
        if name in given:
            raise ValueError(f"the URL of {region} has {name}, which needs sslrootcert=FILE beside it")
    return Authorities.USUAL if sslrootcert is None else Authorities.SYSTEM


def _obeyed(region: str, given: Mapping[str, str]) -> dict[str, str]:
    """The values of the parameters, by the names in _RULES. An empty value counts as none. Raises ValueError."""
    for name, value in given.items():
        if name not in _RULES:
            named = value and _NAME.fullmatch(name)  # anything else may be a part of a password
            known = f"{name}, which dropzero does not know" if named else "a parameter without a name or a value"
            raise ValueError(
                f"the URL of {region} has {known}; leave it out, or write a setting of the database as "
                "options=-c%20NAME%3DVALUE"
            )
    obeyed: dict[str, str] = {}
    for name, rule in _RULES.items():
        value = given.get(name, "")
        if not value:
            continue
        match rule:
            case _Refused(instead):
                raise ValueError(f"the URL of {region} has {name}, which dropzero does not obey; {instead}")
            case _Dropped(values, instead) if values is not None and value not in values:
                raise ValueError(f"the URL of {region} has a value of {name} that dropzero does not obey; {instead}")
            case _Obeyed(known_as, values, pattern, instead):
                if value not in values if values is not None else not re.fullmatch(pattern, value):
                    raise ValueError(
                        f"the URL of {region} has a value of {name} that dropzero does not obey; {instead}"
                    )
                meaning = value if values is None else values[value]
                if meaning is not None:
                    obeyed.setdefault(known_as, meaning)
    return obeyed
