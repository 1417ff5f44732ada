"""One embedded PostgreSQL per run, a database per test, and real servers before it."""

import asyncio
import contextlib
import gc
import itertools
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp
import asyncpg
import pytest
import uvicorn

from api.app import create_app
from api.database.embedded import embedded_postgres
from api.database.endpoint import Endpoint
from api.database.migrations import load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.database.tokens import AuthTokens
from api.protocol import BoundedHttp, BoundedWebSocket
from api.settings import EMBEDDED_REGIONS, Settings, read_settings
from tests.dsql.certificates import Authority
from tests.dsql.cluster import Cluster, create_role
from tests.dsql.endpoint import Endpoint as RegionalEndpoint
from tests.dsql.token import CREDENTIALS
from tests.faults import Faulty, FaultyEndpoint

POSTGRESQL, DSQL = "postgresql", "dsql"

ADMIN_TOKEN = "the-operators-token-of-the-tests"


on_both_engines = pytest.mark.parametrize("engine", [POSTGRESQL, DSQL])
"""For single tests; whole modules and classes take the fixture `both_engines` for `engine`."""


MEMORY = "/dev/shm"
ROOM = 2 * 1024**3
"""Bytes that a run may have in temporary folders; it takes a tenth of them."""


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share the whole suite between two processes, where the command line has not asked for another number.

    A part of it runs in this process, as does everything under a debugger or without pytest-xdist.
    """
    whole = config.args == config.getini("testpaths") and not hasattr(config, "workerinput")
    if whole and config.getoption("numprocesses", 0) is None and not config.getoption("usepdb"):
        config.option.numprocesses, config.option.dist = 2, "worksteal"


def pytest_configure() -> None:
    """Have temporary folders in memory where there is room: most are databases, of hundreds of files each."""
    with contextlib.suppress(OSError):
        if shutil.disk_usage(MEMORY).free > ROOM:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", MEMORY)


@pytest.fixture(scope="session", autouse=True)
def garbage() -> Iterator[None]:
    """Collect it as a process that serves does; looking through all that was imported took a fifth of the time.

    What was dropped without having been closed fails a test, at the latest the last one.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)
    yield
    gc.collect()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the run's server, at its database postgres."""
    with embedded_postgres(tmp_path_factory.mktemp("postgres")) as url:
        # Nothing here outlives the machine, and making a database for each test is mostly waiting for the disk.
        asyncio.run(_sql(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()"))
        yield url


@pytest.fixture(scope="session")
async def template(postgres: str) -> str:
    """The name of a database with the schema and no rows, to copy."""
    await _sql(postgres, "CREATE DATABASE template_of_tests")
    async with Pool(Endpoint("test", _at(postgres, "template_of_tests")), size=1) as pool:
        await migrate(pool, load_migrations(migrations_directory()))
    return "template_of_tests"


_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who vouches for the stand-ins of Aurora DSQL."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
async def app_role(postgres: str) -> None:
    """The custom role that the stand-ins' URLs name."""
    await create_role(postgres, "app")


@pytest.fixture(scope="session")
def aws_identity() -> Iterator[None]:
    """AWS credentials that the stand-ins know."""
    with pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def tokens(aws_identity: None) -> AuthTokens:
    """What the tests' own connections are signed with: making its client takes longer than many a test."""
    return AuthTokens()


@pytest.fixture
def engine() -> str:
    """What the test's database is reached through: itself, or a stand-in for Aurora DSQL. Tests that are to run twice
    take `both_engines` for this name."""
    return POSTGRESQL


@pytest.fixture(params=[POSTGRESQL, DSQL])
def both_engines(request: pytest.FixtureRequest) -> str:
    engine: str = request.param
    return engine


@pytest.fixture
async def postgres_url(postgres: str, template: str) -> AsyncIterator[str]:
    """The URL of a database of this test's own, with the schema and no rows, on PostgreSQL itself."""
    name = f"test_{next(_numbers)}"
    await _sql(postgres, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    yield _at(postgres, name)
    await _sql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def cluster(postgres_url: str, authority: Authority, app_role: None, aws_identity: None) -> Cluster:
    """The test's database as a cluster of Aurora DSQL."""
    return Cluster(postgres_url, authority)


@pytest.fixture
async def home(cluster: Cluster) -> AsyncIterator[RegionalEndpoint]:
    """The home Region of the cluster."""
    async with cluster.endpoint(EMBEDDED_REGIONS[0]) as endpoint:
        yield endpoint


@pytest.fixture
async def peer(cluster: Cluster) -> AsyncIterator[RegionalEndpoint]:
    """Its second Region."""
    async with cluster.endpoint(EMBEDDED_REGIONS[1]) as endpoint:
        yield endpoint


@pytest.fixture
async def stand_in(cluster: Cluster) -> AsyncIterator[RegionalEndpoint]:
    """An endpoint of that cluster, in whatever Region."""
    async with cluster.endpoint(None) as endpoint:
        yield endpoint


@pytest.fixture
async def faulty(engine: str, postgres_url: str, stand_in: RegionalEndpoint) -> AsyncIterator[Faulty]:
    """A way to the test's database that fails on demand."""
    if engine == DSQL:
        yield stand_in
        return
    async with FaultyEndpoint(postgres_url).listening() as endpoint:
        yield endpoint


@pytest.fixture
def database_url(engine: str, postgres_url: str, stand_in: RegionalEndpoint) -> str:
    """The URL of a database of this test's own, with the schema and no rows, on the test's engine."""
    return stand_in.url if engine == DSQL else postgres_url


@pytest.fixture
async def empty_database_url(postgres: str) -> AsyncIterator[str]:
    """The URL of a database of this test's own without any table."""
    name = f"test_{next(_numbers)}"
    await _sql(postgres, f"CREATE DATABASE {name}")
    yield _at(postgres, name)
    await _sql(postgres, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def pool(database_url: str, tokens: AuthTokens) -> AsyncIterator[Pool]:
    """Up to 20 connections to the test's database, as the Region `here`."""
    async with Pool(Endpoint("here", database_url), 20, tokens) as pool:
        yield pool


@pytest.fixture
async def behind(postgres_url: str) -> AsyncIterator[Pool]:
    """The test's database on PostgreSQL itself, whatever the engine: to lock rows, and to set traps."""
    async with Pool(Endpoint("behind", postgres_url), size=5) as pool:
        await pool.warm_up(2)  # a lock is to be had sooner than what it is to hold up
        yield pool


@pytest.fixture
async def endpoints(engine: str, postgres_url: str, cluster: Cluster) -> AsyncIterator[tuple[Endpoint, ...]]:
    """Two Regions of the test's database: on PostgreSQL two names for it, on Aurora DSQL an endpoint each."""
    if engine == POSTGRESQL:
        yield tuple(Endpoint(region, postgres_url) for region in EMBEDDED_REGIONS)
        return
    home, peer = EMBEDDED_REGIONS
    async with cluster.endpoint(home) as first, cluster.endpoint(peer) as second:
        yield (Endpoint(home, first.url), Endpoint(peer, second.url))


@pytest.fixture
def settings(endpoints: tuple[Endpoint, ...]) -> Settings:
    """A laptop's settings, on the two Regions of the test's database."""
    return replace(read_settings({}), endpoints=endpoints, admin_token=ADMIN_TOKEN, poll_interval=0.05)


@dataclass(frozen=True)
class Server:
    """A server that listens, and requests to it."""

    url: str
    settings: Settings
    session: aiohttp.ClientSession

    @property
    def websocket_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/graphql"

    async def ask(
        self, query: str, variables: dict[str, Any] | None = None, *, token: str | None = None
    ) -> dict[str, Any]:
        """The whole response to an operation, data and errors."""
        headers = {} if token is None else {"authorization": f"Bearer {token}"}
        body = {"query": query, "variables": variables}
        async with self.session.post(f"{self.url}/graphql", json=body, headers=headers) as response:
            answer: dict[str, Any] = await response.json()
            return answer

    async def data(
        self, query: str, variables: dict[str, Any] | None = None, *, token: str | None = None
    ) -> dict[str, Any]:
        """The data of an operation that must go well."""
        answer = await self.ask(query, variables, token=token)
        assert "errors" not in answer, answer["errors"]
        data: dict[str, Any] = answer["data"]
        return data

    async def refusal(
        self, query: str, variables: dict[str, Any] | None = None, *, token: str | None = None
    ) -> tuple[str, str]:
        """The code and the message of the one error that an operation must end with."""
        answer = await self.ask(query, variables, token=token)
        assert "errors" in answer, answer
        [error] = answer["errors"]
        return error["extensions"]["code"], error["message"]

    async def metrics(self) -> dict[str, float]:
        """What /metrics says now, without what has labels."""
        async with self.session.get(f"{self.url}/metrics") as response:
            assert response.status == 200
            lines = (await response.text()).splitlines()
        figures = (line.rpartition(" ") for line in lines if line[0] != "#" and "{" not in line)
        return {name: float(figure) for name, _, figure in figures}

    async def create_product(self, stock: int = 10, **more: Any) -> str:
        """The id of a new product."""
        product = {"name": "Tee", "dropName": "First Light", "stock": stock, **more}
        created = await self.data(
            "mutation ($input: CreateProductInput!) { createProduct(input: $input) { id } }",
            {"input": product},
            token=ADMIN_TOKEN,
        )
        product_id: str = created["createProduct"]["id"]
        return product_id

    async def purchase(self, product_id: str, user_ref: str = "ada", **more: Any) -> dict[str, Any]:
        """The outcome of a purchase."""
        wanted = {"productId": product_id, "userRef": user_ref, **more}
        outcome: dict[str, Any] = (await self.data(PURCHASE, {"input": wanted}))["purchase"]
        return outcome


PURCHASE = """
mutation ($input: PurchaseInput!) {
  purchase(input: $input) {
    __typename status message attempts region
    ... on PurchaseConfirmed { order { id userRef quantity status region product { id stock } } remaining replayed }
    ... on PurchaseSoldOut { remaining }
    ... on PurchaseNotOpen { opensAt }
    ... on PurchaseLimitReached { limit held }
    ... on PurchaseBusy { retryAfterMs }
  }
}
"""


class _Uvicorn(uvicorn.Server):
    """uvicorn's server, which looks ten times a second whether it is to stop, and stops at once."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.told_to_stop = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.told_to_stop.wait()


@contextlib.asynccontextmanager
async def serving(settings: Settings, port: int = 0) -> AsyncIterator[Server]:
    """Run a server in this event loop until the block is left, on a free port unless one is named."""
    # The protocol is named because asyncio switches Nagle's algorithm off only where it is: a reused connection
    # would wait 40 ms for each answer.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    config = uvicorn.Config(
        create_app(settings),
        log_config=None,
        access_log=False,
        http=BoundedHttp,
        ws=BoundedWebSocket,
        ws_per_message_deflate=False,
        timeout_graceful_shutdown=5,
    )
    server = _Uvicorn(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign,assignment]  # pytest's to handle
    task = asyncio.create_task(server.serve(sockets=[listening]))
    while not server.started:
        assert not task.done(), task.exception()
        await asyncio.sleep(0.005)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            yield Server(f"http://127.0.0.1:{listening.getsockname()[1]}", settings, session)
    finally:
        server.told_to_stop.set()
        await task


@pytest.fixture
async def server(settings: Settings) -> AsyncIterator[Server]:
    """A server on the test's database."""
    async with serving(settings) as server:
        yield server


def _at(url: str, database: str) -> str:
    return re.sub(r"/postgres\?", f"/{database}?", url)


async def _sql(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()
