"""The composition root, which is no entry itself: makes the ASGI application from the settings.

The entries are `api/__main__.py`, the `dropzero` command, and `api/asgi.py`, an application for other servers.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.types import ASGIApp

from api.answering import RefusedRequests
from api.cross_origin import CrossOrigin
from api.database.pool import long_reads
from api.database.regions import Regions
from api.database.tokens import AuthTokens
from api.database.web_identity import WebIdentity
from api.demo_payments import PATH, DemoPayments
from api.drops.drops import Drops
from api.drops.processes import Gauges
from api.graphql.broadcast import Broadcasts
from api.graphql.documents import Documents
from api.graphql.engine import Engine, respond
from api.graphql.event_session import EventSessions
from api.graphql.execution import Executor
from api.graphql.graphiql import GraphiQL
from api.graphql.http import GraphQLHTTP
from api.graphql.schema import make_schema
from api.graphql.shared_reads import SharedReads
from api.graphql.validation import InvalidDocument
from api.graphql.websocket import GraphQLSocket
from api.health import Health
from api.hosts import HostCheck, Hosts
from api.identity.admission import Admission
from api.identity.authenticator import Authenticator
from api.identity.clients import Clients
from api.identity.gate import Gate
from api.identity.guests import GuestTokens
from api.identity.issuer import Issuer
from api.identity.operator_tokens import OperatorTokens
from api.identity.quota import Quota
from api.identity.refusals import Refusals
from api.identity.turns import Turns
from api.images.endpoint import IMAGE, UPLOAD, Images
from api.images.store import ImageStore
from api.lateness import LoopLateness
from api.metrics.endpoint import Metrics
from api.oidc_header import OidcHeader
from api.order_export import MOST_EXPORTS, OrderExports
from api.order_export import PATH as EXPORT
from api.routing import GRAPHQL, Routing, without_slash
from api.settings import InvalidSettings, Settings
from api.shop.routes import shop_routes
from api.startup import require_ready_database, web_identity
from api.storefront.pages import documents as storefront_documents
from api.storefront.rendering import Options
from api.storefront.routes import Storefront
from api.tracing.variables import ENDPOINT, INSTALL
from api.webhook_events import send_event
from api.webhooks.webhook import Webhook

if TYPE_CHECKING:
    from api.tracing.tracing import Tracing

CLOSE_GRACE = 10.0
"""Seconds that purchases in line have to be answered when the server stops."""

SHARE, MOST = 0.1, 0.4
"""Shares of the processor's time for long work, while other work could use all of it: for one client, and for all
clients together. One client leaves nine tenths of the time to the purchases of the others, and all together leave six
tenths."""


def create_admission(settings: Settings, most_connections: float = inf) -> Admission:
    """The limits that the clients of one process share."""
    return Admission(
        Clients(settings.trusted_proxies),
        Gate(),
        Turns(SHARE, MOST),
        Quota(most_connections),
        Quota(settings.sockets),
        Refusals(),
    )


def create_app(settings: Settings, admission: Admission, figures: Path | None = None) -> ASGIApp:
    """Make the whole application. It connects to the database when its lifespan begins.

    `figures` is the folder where the workers of one server share their figures for /metrics; None for a server of one
    process. Raises InvalidSettings.
    """
    identity = web_identity(settings)
    webhook = None if settings.webhook is None else Webhook(settings.webhook)
    drops = _drops(settings, identity, admission, webhook)
    executor = Executor(make_schema())
    documents = known_documents(settings, executor, admission.turns)
    broadcasts = Broadcasts(drops, executor, admission)
    reads = SharedReads(drops, partial(respond, executor), admission)
    issuer = None if settings.issuer is None else Issuer(settings.issuer)
    authenticator = _authenticator(settings, admission, issuer)
    tracing = new_tracing(settings)
    engine = Engine(drops, executor, documents, broadcasts, reads, authenticator, admission, tracing)
    health = Health(drops.regions)
    graphiql = GraphiQL(drops, open_to_anyone=settings.open_to_anyone) if settings.graphiql else None
    exports = OrderExports(drops, authenticator, admission, min(MOST_EXPORTS, long_reads(settings.connections)))
    lateness = LoopLateness()
    metrics = Metrics(drops, broadcasts, admission, None if settings.open_metrics else authenticator, lateness, figures)

    ready = identity is None or identity.arrived  # else the token comes with the first request

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        serving = _serving(drops, broadcasts, reads, admission, ready, lateness)
        async with metrics.shared(), _running(issuer, webhook, tracing), _measured(lateness), serving:
            yield

    times = settings.socket_times
    others = Starlette(
        lifespan=lifespan,
        routes=[
            WebSocketRoute(GRAPHQL, GraphQLSocket(engine, settings.allowed_origins, times.initialise)),
            Route(f"{GRAPHQL}/", without_slash, methods=["GET", "POST"]),
            Route("/healthz", health.healthz),
            Route("/readyz", health.readyz),
            Route("/metrics", metrics.answer),
            Route(EXPORT, exports, methods=["GET"]),
            *_images(settings, authenticator, admission),
            *shop_routes(settings.shop),
            *_demo(settings, DemoPayments(drops, authenticator, admission.clients)),
            Mount("/", Storefront(drops, authenticator, admission.clients, _storefront(settings))),
        ],
    )
    sessions = EventSessions(engine, times.initialise) if figures is None else None
    http = GraphQLHTTP(engine, graphiql, sessions, times.comment)
    return _checked(Routing(http, others), settings, identity, admission)


def _drops(settings: Settings, identity: WebIdentity | None, admission: Admission, webhook: Webhook | None) -> Drops:
    return Drops(
        Regions(settings.endpoints, settings.connections, AuthTokens(identity), settings.region_times),
        settings.group,
        settings.budget,
        settings.polling,
        admission.gate.resumed,
        keep_events=settings.events,
        keep_activity=settings.activity,
        send=None if webhook is None else partial(send_event, webhook),
    )


@asynccontextmanager
async def _running(issuer: Issuer | None, webhook: Webhook | None, tracing: "Tracing | None") -> AsyncIterator[None]:
    """What calls servers of others, where there are any: open before the first request, and closed after the last."""
    if tracing is not None:
        tracing.open()
    if webhook is not None:
        await webhook.open()
    if issuer is not None:
        issuer.start()
    try:
        yield
    finally:
        if issuer is not None:
            await issuer.close()
        if webhook is not None:
            await webhook.close()
        if tracing is not None:
            await tracing.close()


def new_tracing(settings: Settings) -> "Tracing | None":
    """What sends traces; None where they are off. Raises InvalidSettings when its packages are not installed."""
    if settings.tracing is None:
        return None
    try:
        from api.tracing.tracing import Tracing  # OpenTelemetry takes 0.2 s to import, and is an extra
    except ImportError as error:
        raise InvalidSettings(f"{ENDPOINT}: {INSTALL} ({error.name} is missing)") from None
    return Tracing(settings.tracing)


@asynccontextmanager
async def _measured(lateness: LoopLateness) -> AsyncIterator[None]:
    """Measure the event loop until the block is left."""
    lateness.start()
    try:
        yield
    finally:
        await lateness.close()


@asynccontextmanager
async def _serving(
    drops: Drops, broadcasts: Broadcasts, reads: SharedReads, admission: Admission, ready: bool, lateness: LoopLateness
) -> AsyncIterator[None]:
    """Serve until the block is left, and then answer what is in line. `ready`: the database can be used from now on."""
    await drops.open()
    try:
        if ready:
            await require_ready_database(drops.regions)
        drops.start(Gauges(watchers=lambda: broadcasts.watchers, lateness_ms=lateness.worst_ms))
        yield
    finally:
        admission.refusals.close()
        await broadcasts.close()
        await reads.close()
        await drops.close(CLOSE_GRACE)


def _authenticator(settings: Settings, admission: Admission, issuer: Issuer | None) -> Authenticator:
    return Authenticator(
        OperatorTokens(settings.admin_token, settings.operator_digests),
        admission.refusals,
        guests=GuestTokens(settings.guest_keys) if settings.guest_keys else None,
        issuer=issuer,
        open_to_anyone=settings.open_to_anyone,
    )


def _images(settings: Settings, authenticator: Authenticator, admission: Admission) -> list[Route]:
    store = None if settings.image_folder is None else ImageStore(settings.image_folder)
    images = Images(store, authenticator, admission)
    return [Route(UPLOAD, images, methods=["POST"]), Route(IMAGE, images, methods=["GET"])]


def _demo(settings: Settings, payments: DemoPayments) -> list[Route]:
    return [Route(PATH, payments.answer, methods=["POST"])] if settings.demo else []


def _storefront(settings: Settings) -> Options:
    return Options(settings.graphiql, settings.race, settings.demo, bool(settings.guest_keys), settings.shop)


def _checked(app: ASGIApp, settings: Settings, identity: WebIdentity | None, admission: Admission) -> ASGIApp:
    """The application behind what is decided by the head of a request. The outermost check comes first."""
    if identity is not None and identity.from_requests:
        app = OidcHeader(app, identity)
    app = CrossOrigin(RefusedRequests(app), settings.allowed_origins)
    return HostCheck(app, Hosts(settings.hosts), admission.clients, admission.refusals)


def require_documents(settings: Settings) -> None:
    """Raise InvalidSettings when a document that strangers may send cannot be executed."""
    if settings.trusted_documents is not None:
        known_documents(settings, Executor(make_schema()), Turns(SHARE, MOST))


def known_documents(settings: Settings, executor: Executor, turns: Turns) -> Documents:
    """The documents of a process. Raises InvalidSettings when a document that strangers may send cannot be executed."""
    try:
        return Documents(executor.schema, turns, storefront_documents(), settings.trusted_documents)
    except InvalidDocument as error:
        source = error.errors[0].source
        where = "" if source is None else f", in {source.body[:100]!r}"
        raise InvalidSettings(f"DROPZERO_DOCUMENTS: {error}{where}") from None
