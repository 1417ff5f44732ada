"""All checks, in the order of the report."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

from api.database.endpoint import Endpoint
from api.database.errors import EmbeddedUnavailable
from api.database.pool import Pool, PoolTimes
from api.database.postgres_programs import find_packages
from api.database.tokens import AuthTokens
from api.doctor.credentials import check_credentials
from api.doctor.database import check_one_database, check_room, check_schema
from api.doctor.endpoints import check_endpoint
from api.doctor.finding import DEADLINE, Check, Finding, Level, explained, ok, run_checks
from api.doctor.machine import Machine, check_machine
from api.doctor.outside import check_documents, check_issuer, check_receiver, check_server
from api.doctor.settings import check_settings
from api.operator_token import find_operator_token
from api.running_database import database_to_visit
from api.settings import Settings
from api.startup import web_identity


def diagnose(
    environment: Mapping[str, str],
    machine: Machine,
    url: str,
    *,
    named: bool,
    workers: int = 1,
    commands: frozenset[str] = frozenset(),
) -> list[Finding]:
    """Check everything that can be checked. Raises nothing for what is wrong: it is found. `url`: of the server, and
    `named` whether it was given. `commands`: the names of the commands of dropzero."""
    settings, findings = check_settings(environment, commands)
    findings += check_machine(machine, settings)
    if settings is None:
        return findings
    token = settings.admin_token or find_operator_token(settings.data_directory)
    outside = outside_checks(settings, url, token, named=named)
    try:
        if settings.embedded and not (settings.data_directory / "postgres").exists():
            find_packages()
            findings.append(ok("database", f"none yet; dropzero serve makes one in {settings.data_directory}"))
            return findings + asyncio.run(run_checks(outside))
        with database_to_visit(settings) as ready:
            findings += asyncio.run(check_database(ready, workers, embedded=settings.embedded))
    except EmbeddedUnavailable as error:
        findings.append(explained("database", str(error), "see postgres.log in the data folder"))
    return findings + asyncio.run(run_checks(outside))


def outside_checks(settings: Settings, url: str, token: str | None, *, named: bool) -> dict[str, Check]:
    checks: dict[str, Check] = {"server": partial(check_server, url, token, named=named)}
    if settings.issuer is not None:
        checks["issuer"] = partial(check_issuer, settings.issuer)
    if settings.webhook is not None:
        checks["webhook"] = partial(check_receiver, settings.webhook)
    if settings.trusted_documents is not None:
        checks["documents"] = partial(check_documents, settings)
    return checks


async def check_database(
    settings: Settings,
    workers: int,
    *,
    embedded: bool,
    now: Callable[[], float] = time.time,
    times: PoolTimes = PoolTimes(),
    deadline: float = DEADLINE,
) -> list[Finding]:
    """Everything about the database: each endpoint, and what is in it, through the first one that answers."""
    tokens = AuthTokens(web_identity(settings))
    async with AsyncExitStack() as opened:
        pools = [
            await opened.enter_async_context(Pool(endpoint, size=1, tokens=tokens, times=times))
            for endpoint in _distinct(settings.endpoints)
        ]
        checks: dict[str, Check] = {f"{pool.region} database": partial(check_endpoint, pool, now) for pool in pools}
        home = pools[0].endpoint
        if home.dsql is not None:
            checks["AWS credentials"] = partial(check_credentials, home.region, home.dsql, tokens)
        findings = await run_checks(checks, deadline)
        answering = [pool for pool in pools if _answers(pool.region, findings)]
        if not answering:
            return findings
        inside: dict[str, Check] = {
            "schema": partial(check_schema, answering[0], embedded=embedded),
            "connections": partial(_room, settings, answering[0], workers),
            "Regions": partial(check_one_database, answering),
        }
        return findings + await run_checks(inside, deadline)


def _answers(region: str, findings: list[Finding]) -> bool:
    return any(finding.check == f"{region} login" and finding.level is Level.OK for finding in findings)


async def _room(settings: Settings, pool: Pool, workers: int) -> list[Finding]:
    sharing = sum(endpoint.url == pool.endpoint.url for endpoint in settings.endpoints)
    return [await check_room(pool, sharing, settings.connections, workers)]


def _distinct(endpoints: tuple[Endpoint, ...]) -> list[Endpoint]:
    """One endpoint for each URL: on a laptop two Regions are one server."""
    first: dict[str, Endpoint] = {}
    for endpoint in endpoints:
        first.setdefault(endpoint.url, endpoint)
    return list(first.values())
