"""The composition root: settings in, a Starlette application out."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute

from api.cross_origin import CrossOrigin
from api.database.migrations import Schema, how_to_migrate, load_migrations, migrations_directory, read_schema
from api.database.pool import Pool
from api.database.regions import Regions
from api.drops.drops import Drops
from api.graphql.caller import Authenticator
from api.graphql.documents import Documents
from api.graphql.execution import Executor
from api.graphql.graphiql import GraphiQL
from api.graphql.http import GraphQLHTTP
from api.graphql.schema import make_schema
from api.graphql.websocket import GraphQLSocket
from api.metrics import Metrics
from api.pages import Storefront
from api.settings import Settings

CLOSE_GRACE = 10.0
"""Seconds that purchases in line are given to be answered when the server stops."""


class SchemaBehind(Exception):
    """The database lacks migrations that this version needs."""


def create_app(settings: Settings) -> Starlette:
    """The whole application. It connects to the database when its lifespan begins."""
    drops = Drops(
        Regions(settings.endpoints, settings.connections), settings.group, settings.budget, settings.poll_interval
    )
    schema = make_schema()
    executor = Executor(schema)
    documents = Documents(executor.schema)
    authenticator = Authenticator(settings.admin_token)
    graphiql = GraphiQL(drops) if settings.graphiql else None
    metrics = Metrics(drops, None if settings.open_metrics else authenticator)

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        await drops.open()
        try:
            await require_current_schema(drops.regions.home)
            yield
        finally:
            await drops.close(CLOSE_GRACE)

    async def healthz(request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(request: Request) -> Response:
        regions = {region.name: region.healthy for region in await drops.regions.health()}
        return JSONResponse({"regions": regions}, status_code=200 if regions[drops.regions.home.region] else 503)

    return Starlette(
        lifespan=lifespan,
        routes=[
            Route("/graphql", GraphQLHTTP(drops, executor, documents, authenticator, graphiql)),
            WebSocketRoute(
                "/graphql",
                GraphQLSocket(drops, executor, documents, authenticator, settings.allowed_origins),
            ),
            Route("/healthz", healthz),
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Mount("/", Storefront()),
        ],
        middleware=[Middleware(CrossOrigin, settings.allowed_origins)],
    )


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
