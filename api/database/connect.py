"""Opens a connection: on Aurora DSQL with a fresh token, verified TLS and a bounded rate. Explains each refusal.

AWS has a connector for asyncpg as well (aurora-dsql-python-connector). It is not used: it makes a boto3 client for each
connection, on the event loop; its pool sends RESET ALL at each release; it does not bound the rate of new connections;
and it reports a COMMIT that got no answer as any other error.
"""

import asyncio
import logging
import os
import random
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

from api.database.backoff import Backoff
from api.database.endpoint import DsqlAddress, Endpoint
from api.database.errors import Unavailable, WakingUp
from api.database.tokens import AuthTokens
from api.database.url_parameters import Authorities, PostgresAddress, read_address
from api.database.web_identity import NoToken

logger = logging.getLogger("dropzero.database")

# Words of the refusals of Aurora DSQL that are worth another attempt; it has no codes for them. The stand-in in
# tests/dsql/login.py sends the same words. These, and those in `_explained`, have to follow when AWS changes them.
_WAKING = "waking up"
_EXPIRED = "Signature expired"


@dataclass(frozen=True, slots=True)
class ConnectTimes:
    """How long a connection may take to open, and how long it is used. All times in seconds.

    `timeout`: for one connection to open.
    `lifetime`: a connection is retired after a time that is drawn evenly from this range. So connections that were
    opened together are not retired together. Aurora DSQL drops connections after 60 minutes, even in a transaction.
    `attempts` and `backoff`: attempts to open one connection while an idle cluster wakes up or others open too many,
    and the waits between them, 2.5 seconds at most in all.
    `per_second` and `burst`: new connections from one process to one endpoint. An Aurora DSQL cluster accepts 100 per
    second from all its clients together, and 1,000 in a burst.
    """

    timeout: float = 5.0
    lifetime: tuple[float, float] = (40 * 60.0, 50 * 60.0)
    attempts: int = 6
    backoff: Backoff = Backoff(base=0.1, cap=1.0)
    per_second: float = 10.0
    burst: int = 50


if TYPE_CHECKING:
    _Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    _Connection = asyncpg.Connection


class Connection(_Connection):
    """A connection with the times at which it was opened and is to be retired, in seconds of the event loop's clock."""

    __slots__ = ("opened_at", "retire_at")

    opened_at: float
    retire_at: float


class ConnectionRate:
    """Bounds new connections: a burst at once, and from then on so many per second."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval = 1 / per_second
        self._burst = burst
        self._due = float("-inf")

    async def wait(self) -> None:
        """Wait until the next connection may be opened."""
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - self._burst * self._interval) + self._interval
        if self._due > now:
            await asyncio.sleep(self._due - now)


class Connector:
    """Opens connections to one endpoint."""

    def __init__(self, endpoint: Endpoint, tokens: AuthTokens, times: ConnectTimes = ConnectTimes()) -> None:
        """Raises ValueError when the endpoint's URL cannot be used."""
        self._endpoint = endpoint
        self._address = endpoint.dsql or read_address(endpoint.region, endpoint.url)
        self._tokens = tokens
        self._times = times
        self._rate = ConnectionRate(times.per_second, times.burst)
        self._tls: ssl.SSLContext | None = None

    async def connect(self) -> Connection:
        """Open a connection. Raises Unavailable, whose message says what was wrong and what to do."""
        try:
            if isinstance(self._address, DsqlAddress):
                connection = await self._connect_to_dsql(self._address)
            else:
                connection = await self._connect_to_postgres(self._address)
        except (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError) as error:
            # The reason can be any: a refused login, a database that accepts no connections, too many connections.
            raise Unavailable(f"no connection: {str(error) or type(error).__name__}") from error
        connection.opened_at = asyncio.get_running_loop().time()
        connection.retire_at = connection.opened_at + random.uniform(*self._times.lifetime)  # noqa: S311
        return connection

    async def _connect_to_postgres(self, address: PostgresAddress) -> Connection:
        """Open a connection to any other PostgreSQL. `connect_timeout` in its URL can only shorten our timeout."""
        timeout = min(address.timeout or self._times.timeout, self._times.timeout)
        try:
            if self._tls is None and address.authorities is not None:
                self._tls = await asyncio.to_thread(verifying_context, address)
            return await asyncpg.connect(
                address.url,
                ssl=self._tls,
                direct_tls=address.direct_tls or None,
                timeout=timeout,
                connection_class=Connection,
                server_settings=dict(address.settings),
            )
        except (asyncpg.PostgresError, OSError, ValueError) as error:
            reason = _explained_by_url(error, address, timeout)
            if reason is None:
                raise
            raise Unavailable(f"no connection to {self._endpoint.region}: {reason}") from error

    async def _connect_to_dsql(self, address: DsqlAddress) -> Connection:
        """Open a connection to Aurora DSQL. Retries while its cluster wakes up or accepts no more connections in this
        second, and once when a token was too old."""
        signed_anew = False
        for attempt in range(1, self._times.attempts + 1):
            await self._rate.wait()
            try:
                if self._tls is None:
                    self._tls = await asyncio.to_thread(tls_context, address)
                return await asyncpg.connect(
                    host=address.host,
                    port=address.port,
                    user=address.role,
                    database=address.database,
                    password=await self._tokens.token(self._endpoint.region, address),
                    ssl=self._tls,  # asyncpg sends the host as its SNI
                    timeout=self._times.timeout,
                    connection_class=Connection,
                    server_settings={"application_name": "dropzero"},
                )
            except asyncpg.PostgresError as error:
                refusal = " ".join(str(error).split())  # its detail and hint are on further lines
                expired = _EXPIRED in refusal and not signed_anew
                waking = _WAKING in refusal
                crowded = isinstance(error, asyncpg.ConfigurationLimitExceededError)  # 53400: the rate of connections
                if attempt == self._times.attempts or not (waking or expired or crowded):
                    reason = self._explained(error, refusal, address)
                    raise (WakingUp if waking else Unavailable)(reason) from error
                signed_anew |= expired
                logger.info("%s: %s; trying again", self._endpoint.region, refusal)
            except (NoToken, OSError) as error:
                raise Unavailable(self._explained(error, str(error), address)) from error
            await asyncio.sleep(self._times.backoff.delay(attempt))
        raise AssertionError("the last attempt returns or raises")

    def _explained(self, error: Exception, reason: str, address: DsqlAddress) -> str:
        return _explained(error, reason, self._endpoint.region, address, self._times.timeout)


def tls_context(address: DsqlAddress) -> ssl.SSLContext:
    """A context that verifies the certificate and its host. Reading the certificate authorities takes some 20 ms.
    Raises OSError."""
    return ssl.create_default_context(cafile=address.sslrootcert)


def verifying_context(address: PostgresAddress) -> ssl.SSLContext:
    """A context that verifies the certificate and its host, for a URL whose certificate authorities asyncpg would not
    find. Raises OSError."""
    context = ssl.create_default_context(cafile=_usual_file() if address.authorities is Authorities.USUAL else None)
    context.set_alpn_protocols(["postgresql"])  # PostgreSQL requires it for direct TLS
    if "sslcert" in address.files:
        context.load_cert_chain(
            address.files["sslcert"], address.files.get("sslkey"), password=lambda: address.key_password
        )
    return context


def _usual_file() -> str | None:
    """The file of certificate authorities that libpq uses when the URL names none; None if there is no such file."""
    named = os.environ.get("PGSSLROOTCERT")
    if named:
        return None if named == Authorities.SYSTEM.value else named
    usual = Path("~/.postgresql/root.crt").expanduser()
    return str(usual) if usual.exists() else None


def _explained_by_url(error: Exception, address: PostgresAddress, timeout: float) -> str | None:
    """What was wrong, and what to write into the URL; None if the error's own message is enough."""
    unreadable = [f"{name}={file}" for name, file in address.files.items() if not os.access(file, os.R_OK)]
    match error:
        case ssl.SSLCertVerificationError():
            binding = "; it is verified in the place of channel_binding=require, which can be left out of the URL"
            return (
                f"the server's certificate does not verify: {error.verify_message.rstrip('.')}; check the host, or "
                f"name its certificate authority with sslrootcert=FILE{binding if address.channel_binding else ''}"
            )
        case OSError() if unreadable:
            return f"a file that the URL names cannot be read: {', '.join(unreadable)}"
        case TimeoutError():
            return f"no answer within {timeout:g} seconds; check the host, the port, and that this network reaches them"
        case ConnectionError() if "rejected SSL upgrade" in str(error):  # asyncpg's words, until it has a type for this
            return "the server takes no TLS; check the host and the port, or leave TLS out of the URL"
        case asyncpg.ProtocolViolationError() if "unsupported startup parameter" in str(error):
            return (
                f"{error}; a pooler such as PgBouncer does not pass it on: connect to the database itself, or leave it "
                "out of the URL and set it for the role or the database"
            )
        case ValueError() if not isinstance(error, asyncpg.InterfaceError):  # asyncpg's own messages name the fault
            return "the URL cannot be used; check its host and its port"
    return None


def _explained(error: Exception, reason: str, region: str, address: DsqlAddress, timeout: float) -> str:
    """What was wrong, and what to do."""
    action = "dsql:DbConnectAdmin" if address.role == "admin" else "dsql:DbConnect"
    where = f"no connection to {region} ({address.host})"
    match error:
        case ssl.SSLCertVerificationError():
            remedy = (
                "this is not the endpoint that was asked for, or its certificate authority is not trusted here; check "
                "the host, the system's certificates, and sslrootcert if the URL has it"
            )
            return f"{where}: its certificate does not verify: {error.verify_message.rstrip('.')}; {remedy}"
        case ssl.SSLError() if error.reason == "NO_CERTIFICATE_OR_CRL_FOUND":
            return f"{where}: the file of sslrootcert holds no certificate: {address.sslrootcert}"
        case socket.gaierror():
            return f"{where}: no such host; check the cluster's id and Region (dropzero cluster status)"
        case FileNotFoundError():
            return f"{where}: the file of sslrootcert cannot be read: {address.sslrootcert}"
        case NoToken():
            return f"{where}: {reason}"
        case ConnectionRefusedError():
            return (
                f"{where}: nothing listens at port {address.port} there; check the port, 5432 unless the URL names one"
            )
        case TimeoutError():
            return (
                f"{where}: no answer within {timeout:g} seconds; check that this network reaches port "
                f"{address.port} there"
            )
        case asyncpg.TooManyConnectionsError():
            return f"{where}: {reason.rstrip('.')}; run fewer servers, or lower DROPZERO_CONNECTIONS"
        case asyncpg.ConfigurationLimitExceededError():
            remedy = "the cluster accepts 100 new connections per second; start fewer servers at once"
            return f"{where}: {reason.rstrip('.')}; {remedy}"
        case ConnectionError() if "rejected SSL upgrade" in reason:  # asyncpg's words, until it has a type for this
            return f"{where}: it takes no TLS, so it is not Aurora DSQL; check the host and the port"
    if _EXPIRED in reason:
        return f"{where}: {reason}; a new token has expired at once, so set the clock of this machine"
    if "access denied" in reason:
        grant = "" if address.role == "admin" else f", and as admin: AWS IAM GRANT {address.role} TO 'ROLE ARN'"
        return f"{where} as {address.role}: {reason}; allow this machine's AWS identity {action} on the cluster{grant}"
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return f"{where} as {address.role}: {reason}; as admin: CREATE ROLE {address.role} WITH LOGIN"
    return f"{where}: {reason or type(error).__name__}"
