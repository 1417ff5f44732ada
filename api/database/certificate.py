"""The certificate of an endpoint: how a connection is encrypted, and until when the certificate is valid."""

import asyncio
import ssl
from enum import Enum
from urllib.parse import parse_qs, urlsplit

from api.database.connect import tls_context, verifying_context
from api.database.endpoint import DsqlAddress, Endpoint
from api.database.url_parameters import PostgresAddress, read_address

_SSL_REQUEST = (8).to_bytes(4, "big") + (80877103).to_bytes(4, "big")


class Encryption(Enum):
    """How connections to an endpoint are protected.

    `LOCAL`: they are sockets of this machine. `VERIFIED`: the certificate and its host are verified. `CHAIN`: the
    certificate is, and not its host. `UNVERIFIED`: no certificate is verified. `OPTIONAL`: they may be in clear text.
    """

    LOCAL = "local"
    VERIFIED = "verified"
    CHAIN = "chain"
    UNVERIFIED = "unverified"
    OPTIONAL = "optional"


def host_and_port(endpoint: Endpoint) -> tuple[str, int] | None:
    """Where an endpoint listens; None for a Unix socket, and for a URL with several hosts. Raises ValueError."""
    if endpoint.dsql is not None:
        return endpoint.dsql.host, endpoint.dsql.port
    parts = urlsplit(endpoint.url)
    query = parse_qs(parts.query)
    host = query.get("host", [parts.hostname or ""])[-1]
    port = query.get("port", [str(parts.port or 5432)])[-1]
    if host.startswith("/") or not host or "," in host or "," in port:
        return None
    return host, int(port)


def encryption_of(endpoint: Endpoint) -> Encryption:
    """How connections to an endpoint are protected, by its URL. Raises ValueError."""
    if endpoint.dsql is not None:
        return Encryption.VERIFIED
    query = parse_qs(urlsplit(read_address(endpoint.region, endpoint.url).url).query)
    modes = {
        "verify-full": Encryption.VERIFIED,
        "verify-ca": Encryption.CHAIN,
        "require": Encryption.UNVERIFIED,
    }
    parts = urlsplit(endpoint.url)
    if query.get("host", [parts.hostname or ""])[-1].startswith("/"):
        return Encryption.LOCAL
    return modes.get(query.get("sslmode", [""])[-1], Encryption.OPTIONAL)


async def certificate_expires_at(endpoint: Endpoint) -> float | None:
    """The end of an endpoint's certificate in Unix seconds; None where no certificate is verified. Opens a connection
    up to its TLS, and logs in nowhere. Raises OSError, EOFError."""
    where = host_and_port(endpoint)
    if where is None or encryption_of(endpoint) is not Encryption.VERIFIED:
        return None
    address = endpoint.dsql or read_address(endpoint.region, endpoint.url)
    context = await asyncio.to_thread(_context, address)
    host, port = where
    direct = isinstance(address, PostgresAddress) and address.direct_tls
    reader, writer = await asyncio.open_connection(host, port, ssl=context if direct else None)
    try:
        if not direct:
            writer.write(_SSL_REQUEST)
            if await reader.readexactly(1) != b"S":
                raise ConnectionError("the server takes no TLS")
            await writer.start_tls(context, server_hostname=host)
        return ssl.cert_time_to_seconds(writer.get_extra_info("peercert")["notAfter"])
    finally:
        writer.transport.abort()


def _context(address: DsqlAddress | PostgresAddress) -> ssl.SSLContext:
    if isinstance(address, DsqlAddress):
        return tls_context(address)
    if address.authorities is not None:
        return verifying_context(address)
    return ssl.create_default_context(cafile=address.files.get("sslrootcert"))
