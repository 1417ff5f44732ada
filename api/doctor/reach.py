"""Whether a host has an address, accepts a connection, and shows a certificate that verifies."""

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import Iterable
from dataclasses import dataclass

from api.doctor.finding import Finding, failed, ok, warning

CONNECT_TIMEOUT = 5.0
"""Seconds for an address, and for a connection with its TLS."""

DAYS_LEFT = 14
"""A certificate that ends sooner is worth a warning: those that renew themselves do so 30 days before."""


@dataclass(frozen=True, slots=True)
class Reached:
    """What was found. `addresses`: empty if the host has none or accepts no connection."""

    addresses: tuple[str, ...]
    findings: tuple[Finding, ...]


async def reach(check: str, host: str, port: int, timeout: float = CONNECT_TIMEOUT) -> Reached:
    """Look up a host and open a connection to it, without sending anything."""
    try:
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no answer in time"
        return Reached((), (failed(check, f"{host} has no address: {reason}", "check the host name, and DNS here"),))
    addresses = tuple(dict.fromkeys(str(info[4][0]) for info in found))
    started = time.perf_counter()
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port)
    except OSError as error:
        refused = isinstance(error, ConnectionRefusedError) or "Connect call failed" in str(error)
        reason = f"nothing listens at port {port}" if refused else f"no connection to port {port} in {timeout:g} s"
        mend = "check the port" if refused else f"let this network reach port {port} there (firewall, security group)"
        return Reached((), (failed(check, f"{host} ({', '.join(addresses)}): {reason}", mend),))
    milliseconds = (time.perf_counter() - started) * 1000
    writer.transport.abort()
    shown = ", ".join(addresses[:3])
    return Reached(
        addresses, (ok(check, f"{host} ({shown}) port {port} accepts connections, in {milliseconds:.1f} ms"),)
    )


async def check_tls(check: str, host: str, port: int, timeout: float = CONNECT_TIMEOUT) -> Iterable[Finding]:
    """Verify the certificate of a server that speaks TLS from the start, as HTTPS does."""
    context = await asyncio.to_thread(ssl.create_default_context)
    try:
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except ssl.SSLCertVerificationError as error:
        reason = error.verify_message.rstrip(".")
        return [failed(check, f"the certificate of {host} does not verify: {reason}", "give the host a valid one")]
    except OSError as error:
        reason = str(error) or f"no answer in {timeout:g} s"
        return [failed(check, f"{host} speaks no TLS at port {port}: {reason}", "check the scheme and the port")]
    certificate = writer.get_extra_info("peercert")
    with contextlib.suppress(OSError):
        writer.transport.abort()
    return [certificate_finding(check, ssl.cert_time_to_seconds(certificate["notAfter"]), time.time())]


def certificate_finding(check: str, expires_at: float, now: float) -> Finding:
    """How long a certificate that verifies lasts. Both moments in Unix seconds."""
    days = (expires_at - now) / 86_400
    found = f"the certificate verifies, and lasts {days:,.0f} days"
    return warning(check, found, "renew it, and see why it was not renewed") if days < DAYS_LEFT else ok(check, found)
