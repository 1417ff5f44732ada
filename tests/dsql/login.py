"""The login of a client: TLS, the start-up message, the token."""

import asyncio
import contextlib

from tests.dsql import wire
from tests.dsql.backend import Backend
from tests.dsql.certificates import HOST, expected_name
from tests.dsql.stand_in import StandIn
from tests.dsql.token import ADMIN, check_token, denied, expired
from tests.dsql.wire import Refusal, Refused

SERVER_VERSION = "16.15"

_BACKEND_ADMIN = "postgres"


def _fatal(sqlstate: str, message: str) -> Refused:
    return Refused(Refusal(sqlstate, message, severity="FATAL"))


async def log_in(
    endpoint: StandIn, database_url: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Backend:
    """Open a client's connection up to the first ReadyForQuery. Raises Refused, ConnectionError."""
    await endpoint.flowing()
    code, body = await wire.read_startup(reader)
    if code == wire.CANCEL_REQUEST:
        raise ConnectionAbortedError("there is nothing to cancel on Aurora DSQL")
    if code != wire.SSL_REQUEST:
        raise _fatal("28000", "unable to accept connection, TLS is required")
    writer.write(b"S")
    before = writer.transport
    # If a client disconnects during the handshake, asyncio's writer has no transport. asyncio then raises
    # AttributeError here, and again when the writer is closed.
    with contextlib.suppress(AttributeError):
        await writer.start_tls(endpoint.tls)
    if writer.transport is None:
        writer._transport = before
        raise ConnectionAbortedError("lost during the TLS handshake")
    code, body = await wire.read_startup(reader)
    await endpoint.flowing()
    if expected_name(writer.get_extra_info("ssl_object")) != HOST:
        raise _fatal("08006", "unable to accept connection, sni was not received")
    if endpoint.refusing:
        raise _fatal("53300", "Unable to accept connection, too many open connections.")
    if endpoint.take("rate_exceeded"):
        raise _fatal("53400", "Unable to accept connection, rate exceeded.")
    if endpoint.take("waking_up"):
        raise _fatal("08006", "unable to accept connection, waking up cluster, please retry later")
    if endpoint.take("internal_at_login"):
        raise _fatal("XX000", "unable to accept connection, internal error")

    parameters = wire.startup_parameters(body)
    role = parameters.pop("user", "")
    database = parameters.pop("database", role)
    writer.write(wire.ASK_FOR_PASSWORD)
    kind, password = await wire.read_message(reader)
    await endpoint.flowing()
    _check(endpoint, role, wire.take_string(password)[0] if kind == b"p" else "")
    if database != "postgres":
        raise _fatal("3D000", f'database "{database}" does not exist')
    if role == _BACKEND_ADMIN:
        raise _fatal("28000", f'role "{role}" does not exist')

    backend = await Backend.connect(database_url, _BACKEND_ADMIN if role == ADMIN else role, parameters)
    writer.write(_greeting(backend) + wire.ready(b"I"))
    return backend


def _check(endpoint: StandIn, role: str, token: str) -> None:
    now = endpoint.clock()
    if endpoint.take("expired_tokens"):
        raise expired(now, now)
    check_token(token, role, HOST, endpoint.region, now)
    if role in endpoint.revoked:
        raise denied(f"User: arn:aws:iam::123456789012:role/app is not authorized to connect as {role}")


def _greeting(backend: Backend) -> bytes:
    """PostgreSQL's own greeting, with the version of Aurora DSQL."""
    version = wire.message(b"S", wire.string("server_version"), wire.string(SERVER_VERSION))
    return b"".join(
        version if kind == b"S" and body.startswith(b"server_version\0") else wire.message(kind, body)
        for kind, body in wire.messages(backend.greeting)
    )
