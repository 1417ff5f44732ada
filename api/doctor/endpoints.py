"""One endpoint of the database: its network, its certificate, its login, its latency, its clock, and whether it can be
written to."""

import asyncio
import math
import statistics
import time
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from functools import partial

from api.database.certificate import Encryption, certificate_expires_at, encryption_of, host_and_port
from api.database.errors import DatabaseError
from api.database.pool import Pool
from api.database.pooler import StatementsLost, require_kept_statements
from api.doctor.finding import Finding, explained, failed, ok, warning
from api.doctor.reach import CONNECT_TIMEOUT, certificate_finding, reach

PINGS = 5
"""Round trips of which the median is the latency."""

SLOW_MS = 200.0
"""A quarter of the time after which an endpoint counts as away (RegionTimes.ping_timeout)."""

CLOCK_WARNING, CLOCK_FAILED = 1.0, 300.0
"""Seconds by which this machine's clock may differ from the database's. AWS refuses signatures that are off by five
minutes; tokens of buyers have a leeway of 30 s."""

_NOW = "SELECT now() AS now"
_VERSION = "SHOW server_version"
_SESSION = """
SELECT current_user AS role, current_setting('transaction_isolation') AS isolation,
    current_setting('transaction_read_only') AS read_only
"""

_UNSAFE = {
    Encryption.CHAIN: "the certificate is verified, and not that it is this host's",
    Encryption.UNVERIFIED: "connections are encrypted, and any server that answers is trusted",
    Encryption.OPTIONAL: "connections may be in clear text, and any server that answers is trusted",
}


async def check_endpoint(
    pool: Pool, now: Callable[[], float] = time.time, timeout: float = CONNECT_TIMEOUT
) -> list[Finding]:
    """Everything about one endpoint, in the order in which a connection needs it. What depends on a connection is not
    checked without one. `pool` has been opened; `now` returns this machine's time, in Unix seconds. `timeout`: seconds
    for the network."""
    region = pool.region
    findings = [finding async for finding in _network(pool, timeout)]
    if any(finding.level == "failed" for finding in findings):
        return findings
    try:
        await pool.warm_up(1)
    except DatabaseError as error:
        return [*findings, explained(f"{region} login", str(error), "check the URL in DROPZERO_ENDPOINTS")]
    findings.append(await _login(pool))
    for what, check in (
        ("latency", _latency),
        ("clock", partial(check_clock, now=now)),
        ("writes", _writes),
        ("statements", _statements),
    ):
        try:
            findings.append(await check(pool))
        except DatabaseError as error:
            findings.append(explained(f"{region} {what}", str(error), "run dropzero doctor again"))
    return findings


async def check_clock(pool: Pool, now: Callable[[], float] = time.time) -> Finding:
    """Compare the clocks. The difference is known to half of the round trip."""
    check, before = f"{pool.region} clock", now()
    started = time.monotonic()
    moment: datetime = (await pool.fetch(_NOW))[0]["now"]
    passed = time.monotonic() - started
    ahead = before + passed / 2 - moment.timestamp()
    least = max(0.0, abs(ahead) - passed / 2)
    found = f"this machine's clock is {abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database's"
    mend = "set this machine's clock, and keep it set: timedatectl set-ntp true, or chronyd"
    if least > CLOCK_FAILED:
        return failed(check, f"{found}: AWS refuses what it signs, and buyers' tokens expire too soon or late", mend)
    if least > CLOCK_WARNING:
        return warning(check, found, mend)
    return ok(check, f"the same as the database's, to {max(passed / 2, 0.001):.3f} s")


async def _network(pool: Pool, timeout: float) -> AsyncIterator[Finding]:
    endpoint, region = pool.endpoint, pool.region
    where = host_and_port(endpoint)
    if where is not None:
        for finding in (await reach(f"{region} network", *where, timeout)).findings:
            yield finding
            if finding.level == "failed":
                return
    encryption = encryption_of(endpoint)
    if encryption in _UNSAFE:
        mend = f"write sslmode=verify-full (and sslrootcert=FILE) into the URL of {region}"
        yield warning(f"{region} TLS", _UNSAFE[encryption], mend)
    if encryption is Encryption.VERIFIED and where is not None:
        try:
            async with asyncio.timeout(timeout):
                expires_at = await certificate_expires_at(endpoint)
        except (OSError, EOFError):
            return  # the login explains it
        if expires_at is not None:
            yield certificate_finding(f"{region} TLS", expires_at, time.time())


async def _login(pool: Pool) -> Finding:
    dsql = pool.endpoint.dsql
    version = (await pool.fetch(_VERSION))[0][0]
    if dsql is not None:
        return ok(f"{pool.region} login", f"as {dsql.role}, Aurora DSQL {version}")
    role = (await pool.fetch(_SESSION))[0]["role"]
    return ok(f"{pool.region} login", f"as {role}, PostgreSQL {version}")


async def _latency(pool: Pool) -> Finding:
    times = []
    for _ in range(PINGS):
        started = time.perf_counter()
        await pool.fetch("SELECT 1")
        times.append((time.perf_counter() - started) * 1000)
    median = statistics.median(times)
    check, found = f"{pool.region} latency", f"{_rounded(median)} ms for a round trip"
    if median > SLOW_MS:
        return warning(check, f"{found}; a purchase takes several", "run the servers in the Region of the endpoint")
    return ok(check, found)


async def _writes(pool: Pool) -> Finding:
    """Whether a transaction has the isolation level that purchases need, and may write."""
    check = f"{pool.region} writes"
    if pool.endpoint.dsql is not None:
        async with pool.begin():
            return ok(check, "transactions begin at repeatable read, Aurora DSQL's one level")
    async with pool.begin() as transaction:
        row = (await transaction.fetch(_SESSION))[0]
    if row["read_only"] != "off":
        mend = "name the primary in DROPZERO_ENDPOINTS, or run: ALTER ROLE ... SET default_transaction_read_only = off"
        return failed(check, "the endpoint takes no writes: a replica, or read-only by a setting", mend)
    if row["isolation"] != "repeatable read":
        mend = "connect to the database itself: something between changes BEGIN"
        return failed(check, f"a transaction at repeatable read runs at {row['isolation']}", mend)
    return ok(check, "transactions run at repeatable read, and may write")


async def _statements(pool: Pool) -> Finding:
    check = f"{pool.region} statements"
    try:
        await require_kept_statements(pool.endpoint)
    except StatementsLost as error:
        return explained(check, str(error), "")
    return ok(check, "prepared statements last as long as their connections")


def _rounded(value: float) -> str:
    """Two digits."""
    digits = max(0, 1 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:,.{digits}f}"
