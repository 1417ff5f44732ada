"""AWS's own linter, run over every statement in the source, and over every one that is sent to the database."""

import ast
import asyncio
import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from api.cluster.access import role_statements
from api.cost.actual import read_actual
from api.database.endpoint import Endpoint
from api.database.migrations import load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.doctor.database import check_one_database, check_room, check_schema
from api.doctor.endpoints import check_endpoint
from api.drops.audit import audit
from api.drops.lapsing import Lapsing
from api.drops.reference import reference_of
from api.settings import EMBEDDED_REGIONS, Settings
from tests.drops.event_statements import send_every_statement_about_events
from tests.drops.purchases import new_group_commit
from tests.drops.recording import send_every_statement_about_activity
from tests.graphql.transport import connected
from tests.listener import accepting
from tests.patience import PATIENT_TIMES, until
from tests.server import ADMIN_TOKEN, Server, serving

API = Path(__file__).parent.parent / "api"
MODULES = sorted(API.rglob("*.py"))
MIGRATIONS = load_migrations(migrations_directory())

ANYTHING = "anything"

NOT_SENT_HERE = {"index_jobs.py", "access.py"}
"""Modules whose statements are only for Aurora DSQL, or for its administrator: these tests do not send them."""

_SQL = re.compile(r"\s*(SELECT|INSERT INTO|UPDATE(?! \d)|DELETE FROM|CREATE|DROP|ALTER|GRANT|WITH|CALL)\s")


async def complaints(statements: Iterable[str], folder: Path) -> list[str]:
    """The complaints of the linter, as `rule: statement`."""
    files = {folder / f"{number:04d}.sql": statement for number, statement in enumerate(statements)}
    for path, statement in files.items():
        path.write_text(statement)
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).parent / "dsql-lint", "--format", "json", *files, stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await process.communicate()
    linted = json.loads(answer)["files"]
    assert len(linted) == len(files)
    assert [file["error"] for file in linted] == [None] * len(files)
    return [
        f"{complaint['rule']}: {' '.join(files[Path(file['file'])].split())}"
        for file in linted
        for complaint in file["diagnostics"]
    ]


class Recorder:
    """A proxy before a PostgreSQL on a Unix socket, which keeps every statement that is sent."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket_path = f"{parse_qs(parts.query)['host'][0]}/.s.PGSQL.5432"
        self._database = parts.path
        self._connections: set[asyncio.Task[None]] = set()
        self.url = ""
        self.statements: set[str] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator["Recorder"]:
        try:
            async with accepting(await asyncio.start_server(self._serve, "127.0.0.1", 0)) as port:
                self.url = f"postgresql://postgres@127.0.0.1:{port}{self._database}?sslmode=disable"
                yield self
        finally:
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        answers, backend = await asyncio.open_unix_connection(self._socket_path)
        answering = asyncio.create_task(self._copy_answers(answers, writer))
        try:
            size = await reader.readexactly(4)  # the start-up message has no type
            backend.write(size + await reader.readexactly(int.from_bytes(size) - 4))
            while True:
                head = await reader.readexactly(5)
                body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
                if head[:1] in b"QP":  # a Parse has the prepared statement's name before it
                    self.statements.add(body.split(b"\0")[head[:1] == b"P"].decode())
                backend.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            answering.cancel()
            backend.transport.abort()
            writer.transport.abort()
            self._connections.discard(task)

    async def _copy_answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.transport.abort()


def constants(paths: Iterable[Path]) -> dict[str, str]:
    """The texts that modules assign to names, by those names: plain ones, and those that are made of plain ones."""
    found: dict[str, str] = {}
    assigned = [
        (target.id, node.value)
        for path in paths
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    for name, value in assigned:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            found[name] = value.value
    for name, value in assigned:
        if isinstance(value, ast.JoinedStr):
            found[name] = "".join(_filled(part, found) for part in value.values)
    return found


def statements_in(path: Path) -> Iterator[str]:
    """Every text of a module that begins like SQL. ANYTHING stands for what is inserted at run time."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            text = re.sub(r"\{\w+\}", ANYTHING, node.value)  # for str.format
        elif isinstance(node, ast.JoinedStr):
            text = "".join(_filled(part, NAMED) for part in node.values)
        else:
            continue
        if _SQL.match(text):
            yield text


def _filled(value: ast.expr, named: dict[str, str]) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    assert isinstance(value, ast.FormattedValue)
    return named.get(value.value.id, ANYTHING) if isinstance(value.value, ast.Name) else ANYTHING


NAMED = constants(MODULES)


async def read_every_page(server: Server, product: str, reference: str) -> None:
    """Read the lists of products and orders with every filter, forward, backward, and between two places."""
    pages = {
        "products": (
            *("", 'dropName: "First Light"', "sort: OPENS_AT", 'filter: { drop: "first-light" }, sort: OLDEST'),
            'filter: { availability: ON_SALE, family: null, opensBefore: "2999-01-01T00:00:00Z" }',
        ),
        "drops": ("",),
        "orders": (
            *("", 'userRef: "ada"', f'productId: "{product}"', f'userRef: "ada", productId: "{product}"'),
            *(f'productId: "{product}", status: {status}' for status in ("CONFIRMED", "CANCELLED")),
            f'since: "2000-01-01T00:00:00Z", reference: "{reference}"',
        ),
    }
    definitions, places = "($after: String, $last: Int, $before: String)", "after: $after, last: $last, before: $before"
    for field, chosen in ((field, chosen) for field, filters in pages.items() for chosen in filters):
        page = f"query {definitions} {{ {field}({places}, {chosen}) {{ edges {{ cursor }} }} }}"
        cursor = (await server.data(page, token=ADMIN_TOKEN))[field]["edges"][0]["cursor"]
        both = {"after": cursor, "before": cursor}
        for variables in ({"after": cursor}, {"last": 2, "before": cursor}, both):
            await server.data(page, variables, token=ADMIN_TOKEN)


async def use_every_operation(settings: Settings) -> None:
    """Use everything that a server does with its database."""
    async with serving(replace(settings, events=True)) as server, connected(server) as watcher:
        product = await server.create_product(stock=5, limitPerBuyer=2, family="Tee", option="S")
        for page in ("/", f"/drop/{product}", "/sitemap.xml"):
            async with server.session.get(f"{server.url}{page}") as response:
                assert response.status == 200
        await watcher.subscribe(f'subscription {{ stockChanged(productIds: ["{product}"]) {{ product {{ stock }} }} }}')
        await watcher.next()
        await watcher.subscribe("subscription { productsChanged { id } }", id="2")
        for buyer, quantity, key in (("ada", 1, "k"), ("ada", 1, "k"), ("ada", 1, None), ("ada", 2, None)):
            await server.purchase(product, buyer, quantity=quantity, idempotencyKey=key)
        order = (await server.purchase(product, "bob", region=EMBEDDED_REGIONS[1]))["order"]["id"]
        for operation in (
            f'{{ product(id: "{product}") {{ stock }} order(id: "{order}") {{ product {{ stock }} }} }}',
            "{ regions { healthy } products { edges { node { drop { id } } } } }",
            '{ drop(slug: "first-light") { opensAt products { totalCount edges { cursor } } } }',
            f'mutation {{ cancelOrder(input: {{ orderId: "{order}", userRef: "bob" }}) {{ __typename }} }}',
            f'mutation {{ restock(input: {{ productId: "{product}", delta: 2 }}) {{ stock }} }}',
            f'{{ product(id: "{product}") {{ held }} nodes(ids: ["{order}"]) {{ id }} products {{ totalCount }} }}',
            f'mutation {{ pauseProduct(productId: "{product}") {{ pausedAt }} }}',
            f'{{ operatorLog(productId: "{product}") {{ edges {{ cursor }} }} }}',
            f'{{ orderCounts(productId: "{product}") {{ held {{ orders }} }} orders(status: HELD) {{ __typename }} }}',
        ):
            await server.data(operation, token=ADMIN_TOKEN)
        await read_every_page(server, product, reference_of(UUID(order)))

        for query in ("", f"?productId={product}&status=CONFIRMED"):
            headers = {"authorization": f"Bearer {ADMIN_TOKEN}"}
            async with server.session.get(f"{server.url}/operator/orders.csv{query}", headers=headers) as response:
                assert (await response.text()).count("\n") > 1

        async def moved() -> bool:
            events = await server.data("{ orderEvents { edges { cursor } } }", token=ADMIN_TOKEN)
            return bool(events["orderEvents"]["edges"])

        await until(moved)


async def test_the_linter_finds_nothing_in_the_source(tmp_path: Path) -> None:
    statements = [migration.statement for migration in MIGRATIONS]
    statements += role_statements("arn:aws:iam::111122223333:role/server")
    for path in MODULES:
        if path.name != "access.py":  # the roles' statements, as they are above
            statements += statements_in(path)
    assert len(statements) > 30
    assert await complaints(statements, tmp_path) == []


async def test_the_linter_finds_nothing_in_what_reaches_the_database(
    settings: Settings, database_url: str, empty_database_url: str, tmp_path: Path
) -> None:
    async with Recorder(empty_database_url).listening() as migrating, Recorder(database_url).listening() as served:
        async with Pool(Endpoint("here", migrating.url), size=1, times=PATIENT_TIMES.pool) as pool:
            await migrate(pool, MIGRATIONS)
        endpoints = tuple(Endpoint(region, served.url) for region in EMBEDDED_REGIONS)
        await use_every_operation(replace(settings, endpoints=endpoints))
        async with Pool(endpoints[0], size=1, times=PATIENT_TIMES.pool) as pool:
            await audit(pool)
            await read_actual(pool, None, regions=1)
            await check_endpoint(pool)
            await check_schema(pool, embedded=False)
            await check_room(pool, 1, connections=1, workers=1)
            await check_one_database([pool, pool])
            await send_every_statement_about_events(pool, pool)
            await send_every_statement_about_activity(pool)
            await Lapsing(pool, new_group_commit(pool)).end_holds()
    # Plain PostgreSQL was given the migrations in its own dialect; the files are linted as they are, above.
    sent = (migrating.statements | served.statements) - {migration.plain_statement for migration in MIGRATIONS}
    assert await complaints(sent, tmp_path) == []

    # The test has sent every statement that the code can send.
    for path in MODULES:
        for text in statements_in(path) if path.name not in NOT_SENT_HERE else ():
            shape = re.compile(re.escape(text).replace(ANYTHING, ".+"), re.DOTALL)
            assert any(map(shape.search, sent)), f"{path.name} has a statement that was not sent: {text}"


async def test_the_driver_adds_no_statement_that_changes_settings(settings: Settings, database_url: str) -> None:
    async with Recorder(database_url).listening() as recorder:
        endpoints = tuple(Endpoint(region, recorder.url) for region in EMBEDDED_REGIONS)
        await use_every_operation(replace(settings, endpoints=endpoints))
    # To look up a type that it does not know, asyncpg sets `jit`, which Aurora DSQL may refuse, and reads pg_range.
    assert [statement for statement in recorder.statements if "set_config" in statement] == []


async def test_the_linter_objects_to_what_aurora_dsql_refuses(tmp_path: Path) -> None:
    found = await complaints(["TRUNCATE orders", "SELECT 1", "CREATE INDEX by_name ON products (name)"], tmp_path)
    assert found == ["truncate: TRUNCATE orders", "index_async: CREATE INDEX by_name ON products (name)"]
