"""The composition root: settings in, a Starlette application out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute

from api.cross_origin import CrossOrigin
from api.database.backoff import Backoff
from api.database.migrations import Schema, how_to_migrate, load_migrations, migrations_directory, read_schema
from api.database.pool import Pool
from api.database.pooler import require_kept_statements
from api.database.regions import Regions
from api.database.retry import RetryBudget, run_again
from api.database.tokens import AuthTokens
from api.database.web_identity import WebIdentity
from api.drops.drops import Drops
from api.drops.rights import require_rights
from api.graphql.broadcast import Broadcasts
from api.graphql.documents import Documents
from api.graphql.engine import Engine
from api.graphql.execution import Executor
from api.graphql.graphiql import GraphiQL
from api.graphql.http import GraphQLHTTP
from api.graphql.schema import make_schema
from api.graphql.validation import InvalidDocument
from api.graphql.websocket import GraphQLSocket
from api.hosts import HostCheck, Hosts
from api.identity.admission import Admission
from api.identity.caller import Authenticator
from api.identity.clients import Clients
from api.identity.gate import Gate
from api.identity.quota import Quota
from api.identity.refusals import Refusals
from api.identity.turns import Turns
from api.metrics import Metrics
from api.oidc_header import OidcHeader
from api.settings import InvalidSettings, Settings
from api.storefront.pages import Storefront
from api.storefront.pages import documents as storefront_documents

CLOSE_GRACE = 10.0
"""Seconds that purchases in line are given to be answered when the server stops."""

DRAINING = "draining"
"""The key of the lifespan state that is there once the server drains: /readyz answers 503 from then on."""

WARM_CONNECTIONS = 3
"""Connections to each Region that are open before the first request: for a reading, a purchase, and one to spare."""


START_BUDGET = RetryBudget(attempts=5, seconds=10.0)
"""For a start's work on the database: a connection that is cut costs a start nothing, and one that is away ends it."""

START_BACKOFF = Backoff(base=0.1, cap=1.0)


class SchemaBehind(Exception):
    """The database lacks migrations that this version needs."""


SHARE, MOST = 0.1, 0.4
"""Of the processor's time, for what takes more than a moment while others could use all of it: for one client that
waits with such work, and for many. One client leaves the purchases of the others nine tenths, and all together six."""


def create_admission(settings: Settings, most_connections: float = inf) -> Admission:
    """What one process shares out between its clients."""
    return Admission(
        Clients(settings.trusted_proxies),
        Gate(),
        Turns(SHARE, MOST),
        Quota(most_connections),
        Quota(settings.sockets),
        Refusals(),
    )


def create_app(settings: Settings, admission: Admission, figures: Path | None = None) -> Starlette:
    """The whole application. It connects to the database when its lifespan begins.

    `figures` is the folder in which the workers of one server share what /metrics says; None for a server of one
    process. Raises InvalidSettings.
    """
    identity = web_identity(settings)
    regions = Regions(settings.endpoints, settings.connections, AuthTokens(identity), settings.region_times)
    drops = Drops(regions, settings.group, settings.budget, settings.polling, admission.gate.resumed)
    schema = make_schema()
    executor = Executor(schema)
    documents = known_documents(settings, executor, admission.turns)
    broadcasts = Broadcasts(drops, executor, admission)
    authenticator = Authenticator(settings.admin_token, admission.refusals)
    engine = Engine(drops, executor, documents, broadcasts, authenticator, admission)
    graphiql = GraphiQL(drops) if settings.graphiql else None
    metrics = Metrics(drops, broadcasts, admission, None if settings.open_metrics else authenticator, figures)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with metrics.shared():
            await drops.open()
            try:
                if identity is None or identity.arrived:  # it may come with the first request only
                    await require_ready_database(regions)
                yield
            finally:
                admission.refusals.close()
                await broadcasts.close()
                await drops.close(CLOSE_GRACE)

    times = settings.socket_times
    middleware = [
        Middleware(HostCheck, Hosts(settings.hosts), admission.clients, admission.refusals),
        Middleware(CrossOrigin, settings.allowed_origins),
    ]
    if identity is not None and identity.from_requests:
        middleware.append(Middleware(OidcHeader, identity))
    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/graphql", GraphQLHTTP(engine, graphiql, times.comment)),
            WebSocketRoute("/graphql", GraphQLSocket(engine, settings.allowed_origins, times.initialise)),
            *_health_routes(regions),
            Route("/metrics", metrics, methods=["GET"]),
            Mount("/", Storefront(graphiql=settings.graphiql, race=settings.race)),
        ],
        middleware=middleware,
    )


def _health_routes(regions: Regions) -> list[Route]:
    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        if getattr(request.state, DRAINING, False):
            return JSONResponse({"draining": True}, status_code=503)
        healthy = {region.name: region.healthy for region in await regions.health()}
        return JSONResponse({"regions": healthy}, status_code=200 if any(healthy.values()) else 503)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]


def require_documents(settings: Settings) -> None:
    """Make sure that the documents that strangers may send can be executed. Raises InvalidSettings."""
    if settings.trusted_documents is not None:
        known_documents(settings, Executor(make_schema()), Turns(SHARE, MOST))


def known_documents(settings: Settings, executor: Executor, turns: Turns) -> Documents:
    """The documents of a process. Raises InvalidSettings when one of those that strangers may send cannot be
    executed."""
    try:
        return Documents(executor.schema, turns, trusted_documents(settings))
    except InvalidDocument as error:
        source = error.errors[0].source
        where = "" if source is None else f", in {source.body[:100]!r}"
        raise InvalidSettings(f"DROPZERO_DOCUMENTS: {error}{where}") from None


def trusted_documents(settings: Settings) -> list[str] | None:
    """The documents that strangers may send: those of the operator's frontends, and of our own pages; None for any."""
    return None if settings.trusted_documents is None else [*settings.trusted_documents, *storefront_documents()]


def web_identity(settings: Settings) -> WebIdentity | None:
    """Where AWS credentials come from instead of botocore's own chain."""
    federation = settings.federation
    if federation is None:
        return None
    return WebIdentity(federation.role_arn, federation.token, from_requests=federation.from_requests)


async def require_ready_database(regions: Regions) -> Schema:
    """Make sure of the schema and of our rights, through home or else a peer, and open the first connections; again
    within START_BUDGET when a connection was lost or a rival came between.

    Raises StatementsLost, SchemaBehind, MigrationError, RightsMissing, and Unavailable when no Region answers.
    """

    async def attempt() -> Schema:
        pool = await regions.warm_up(WARM_CONNECTIONS)
        await require_kept_statements(pool.endpoint)
        schema = await require_current_schema(pool)
        await require_rights(pool)
        return schema

    return await run_again(attempt, START_BUDGET, safe_after_lost_commit=True, backoff=START_BACKOFF)


async def require_current_schema(pool: Pool) -> Schema:
    """How the database stands to this version, which may be behind it. Raises SchemaBehind, MigrationError,
    Unavailable."""
    schema = await read_schema(pool, load_migrations(migrations_directory()))
    if schema.pending:
        raise SchemaBehind(
            f"the database lacks {len(schema.pending)} migrations, from {schema.pending[0]} on; "
            f"run: {how_to_migrate(pool.endpoint)}"
        )
    return schema
