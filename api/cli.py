"""The `dropzero` command."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Annotated, NoReturn, TypeVar

import typer

from api import terminal
from api.client import products
from api.client.graphql import (
    GONE_AFTER,
    GraphQLClient,
    Refused,
    RequestFailed,
    graphql_clients,
    is_in_the_clear,
    is_this_machine,
)
from api.client.load import Load, LoadReport, run_load
from api.client.race import RaceReport, run_race
from api.cluster.cli import cluster_app
from api.cluster.errors import ClusterError
from api.database.errors import DatabaseError, EmbeddedUnavailable
from api.database.migrations import Migration, MigrationError, load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.database.pooler import StatementsLost, require_kept_statements
from api.database.tokens import AuthTokens
from api.drops.audit import audit
from api.drops.rights import RightsMissing
from api.drops.shards import DEFAULT_SHARDS, MAX_SHARDS
from api.operator_token import TokenNotKept, find_operator_token
from api.process import CannotServe, configure_logging, require_files
from api.running_database import database_to_serve, database_to_visit
from api.settings import InvalidSettings, Settings, read_settings
from api.signals import BrokenOff
from api.startup import SchemaBehind, web_identity

app = typer.Typer(
    help="Run a DROPZERO server, which sells limited drops exactly; manage its products and test it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # An option that names no variable of its own reads DROPZERO_COMMAND_OPTION.
    context_settings={"auto_envvar_prefix": "DROPZERO"},
)
product_app = typer.Typer(
    help="Create, restock and list the products of a running server, as its operator.", no_args_is_help=True
)
app.add_typer(product_app, name="product")
app.add_typer(cluster_app, name="cluster")

T = TypeVar("T")

_FAILURES = (
    *(CannotServe, EmbeddedUnavailable, StatementsLost, SchemaBehind, RightsMissing, MigrationError),
    *(TokenNotKept, RequestFailed),
)
"""Errors that end a command with status 1 and with their own message as its one line."""

_LIMITS = "check the limits of processes, open files and memory (ulimit -u, -n, -v), free disk space, and permissions"
_NO_THREAD = "can't start new thread"
"""The message of Python's RuntimeError when the system refuses a thread. There is no exception class for it."""

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option(envvar="DROPZERO_URL", help="The server's address.")]
Patience = Annotated[
    float, typer.Option(min=0, help="Seconds without an answer from the server after which the command stops.")
]
Urls = Annotated[list[str], typer.Option("--url", envvar="DROPZERO_URL", help="A server's address; may be repeated.")]


@app.command()
def serve(
    host: Annotated[str, typer.Option(envvar="DROPZERO_HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="DROPZERO_PORT", min=0, max=65535, help="The port; 0 takes a free one.")
    ] = 8000,
    workers: Annotated[int, typer.Option(envvar="DROPZERO_WORKERS", min=1, max=64, help="Server processes.")] = 1,
) -> None:
    """Serve the storefront and the GraphQL API, on an embedded PostgreSQL unless DROPZERO_ENDPOINTS is set."""
    configure_logging()
    settings = _settings()
    require_files()

    # No other command needs the application and uvicorn: half of the time of all imports.
    from api import server
    from api.announcement import announce
    from api.app import require_documents

    require_documents(settings)  # before the worker processes start, so that an error is one line
    listening = server.bind(host, port)
    configured, settings = settings, server.reachable_as(host, settings)
    with database_to_serve(settings, workers) as ready:
        address = server.address(listening)
        server.run(
            ready,
            listening,
            workers,
            embedded=settings.embedded,
            announce=lambda: announce(address, configured, ready),
        )


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database's schema up to date. It is safe to run this again, and from several machines at once."""

    async def apply(pool: Pool) -> list[Migration]:
        return await migrate(pool, load_migrations(migrations_directory()), terminal.write)

    applied = _with_database(apply)
    terminal.write("The schema is up to date." if applied else "The schema was up to date already.")


@app.command()
def schema() -> None:
    """Print the schema of the API in GraphQL's schema definition language."""
    from api.graphql.schema import sdl  # with Strawberry, which no command that calls a server needs

    sys.stdout.write(sdl())


@product_app.command("create")
def product_create(
    name: Annotated[str, typer.Argument(help="The product's name.")],
    drop: Annotated[str, typer.Option(help="The drop that the product belongs to.")],
    stock: Annotated[int, typer.Option(help="Units in stock at the start.")],
    opens_at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"],
            help="When the drop opens, with a UTC offset: 2026-12-01T10:00+01:00. Open at once by default.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Units that one buyer can hold; no limit by default.")] = None,
    hold_seconds: Annotated[
        int | None, typer.Option(help="Seconds that a buyer has to pay; a purchase is final at once by default.")
    ] = None,
    shards: Annotated[
        int, typer.Option(min=1, max=MAX_SHARDS, help="Rows that its stock is spread over.")
    ] = DEFAULT_SHARDS,
    url: Url = DEFAULT_URL,
) -> None:
    """Create a product with its stock."""

    new = products.NewProduct(name, drop, stock, opens_at, limit, hold_seconds, shards)

    async def create(client: GraphQLClient) -> list[products.Product]:
        return [await products.create_product(client, new)]

    terminal.show(terminal.product_table(_with_server(url, create)))


@product_app.command("restock")
def product_restock(
    product_id: Annotated[str, typer.Argument(help="The product's id.")],
    delta: Annotated[int, typer.Argument(help="Units to add. To take units back, write -- first: -- ID -5")],
    url: Url = DEFAULT_URL,
) -> None:
    """Add units to a product, or take back units that nobody has bought."""

    async def restock(client: GraphQLClient) -> list[products.Product]:
        return [await products.restock(client, product_id, delta)]

    terminal.show(terminal.product_table(_with_server(url, restock)))


@product_app.command("list")
def product_list(
    drop: Annotated[str | None, typer.Option(help="Only the products of this drop.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="List this many products at most.")] = 50,
    url: Url = DEFAULT_URL,
) -> None:
    """List products, newest first."""
    listed = _with_server(url, lambda client: products.list_products(client, drop, limit))
    terminal.show(terminal.product_table(listed))


@app.command("audit")
def audit_command() -> None:
    """Check in the database that every unit that was put in is in stock or sold, and that the holdings of buyers are
    those of their orders. Exit status 1 if not."""
    lines = _with_database(audit)
    terminal.show(terminal.audit_table(lines))
    objections = [f"{line.product_id}: {line.objection}" for line in lines if not line.balanced]
    if objections:
        _fail(f"the books do not balance; {'; '.join(objections)}", status=1)
    terminal.write(f"{len(lines)} products: every unit is in stock, held or sold.")


@app.command("load")
def load_command(
    purchases: Annotated[int, typer.Option(min=1, help="Purchases to send in all, of one unit each.")] = 3000,
    buyers: Annotated[int, typer.Option(min=1, max=5000, help="Buyers who purchase at the same time.")] = 50,
    units: Annotated[int, typer.Option(min=0, help="Units in stock at the start.")] = 100,
    region: Annotated[
        list[str] | None, typer.Option(help="A Region to purchase through; may be repeated. All Regions by default.")
    ] = None,
    patience: Patience = GONE_AFTER,
    url: Urls = [DEFAULT_URL],  # noqa: B006 - Typer copies it
) -> None:
    """Send a running server the load of a drop, and check that it sells exactly the stock. Exit status 1 if not."""

    async def run() -> LoadReport:
        with terminal.progress_bar() as progress:
            task = progress.add_task("Buying", total=purchases)
            async with _clients(url, buyers) as clients:
                load = Load(purchases, buyers, units, patience)
                return await run_load(clients, load, region or None, lambda: progress.advance(task))

    report = asyncio.run(run())
    terminal.show(terminal.load_table(report))
    if report.caution is not None:
        terminal.write(report.caution)
    for message, count in report.errors.most_common(5):
        terminal.write_error(f"{count} x {message}")
    if report.objection is not None:
        _fail(report.objection, status=1)


@app.command("race")
def race_command(
    rounds: Annotated[int, typer.Option(min=1, help="Rounds to run, each with a product of its own.")] = 100,
    region: Annotated[
        list[str] | None, typer.Option(help="A Region to purchase through; may be repeated. All Regions by default.")
    ] = None,
    patience: Patience = GONE_AFTER,
    url: Urls = [DEFAULT_URL],  # noqa: B006 - Typer copies it
) -> None:
    """Purchase one unit through every Region at once, and check that exactly one gets it. Exit status 1 if not."""
    report = RaceReport()

    async def run() -> None:
        with terminal.progress_bar() as progress:
            task = progress.add_task("Racing", total=rounds)
            async with _clients(url, connections=100) as clients:
                await run_race(clients, rounds, region or None, report, lambda: progress.advance(task), patience)

    try:
        asyncio.run(run())
    finally:  # also after Ctrl-C, and when the server is gone
        if report.rounds:
            terminal.show(terminal.race_table(report))
            for objection in report.objections[:5]:
                terminal.write_error(objection)
    if report.objections:
        _fail(f"{len(report.objections)} of {len(report.rounds)} rounds were not exact", status=1)
    everywhere = "both" if len(report.regions) == 2 else "all"
    terminal.write(f"Each unit went to exactly one buyer, and {everywhere} endpoints then read 0.")


def main() -> None:
    """Run the command. An error with a known reason ends it with one line and without a stack trace."""
    try:
        app()
    except BrokenOff:
        os._exit(128 + signal.SIGINT)  # see BrokenOff
    except InvalidSettings as error:
        _fail(str(error), status=2)
    except Refused as error:
        _fail(f"{error}{_hint(error)}", status=1)
    except ClusterError as error:
        _fail(str(error), status=error.status)
    except _FAILURES as error:
        _fail(str(error), status=1)
    except DatabaseError as error:
        _fail(f"the database cannot be used: {error}; check DROPZERO_ENDPOINTS and that it runs", status=1)
    except OSError as error:
        _fail(_system_error(error), status=1)
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        _fail(f"{error}; {_LIMITS}", status=1)


def _system_error(error: OSError) -> str:
    """The line for an error of the operating system that no part of the program explains in words of its own."""
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}; {_LIMITS}"


def _fail(message: str, status: int) -> NoReturn:
    terminal.write_error(f"dropzero: {message}")
    raise SystemExit(status)


def _settings() -> Settings:
    return read_settings(os.environ)


def _hint(error: Refused) -> str:
    """What to do about an operation that the server refused; empty if nothing can be done."""
    if error.code != "UNAUTHENTICATED":
        return ""
    if is_this_machine(error.url):
        return "; set DROPZERO_ADMIN_TOKEN to the server's token, or DROPZERO_DATA to its data folder"
    return "; set DROPZERO_ADMIN_TOKEN to that server's token: the token of a data folder is sent to this machine alone"


def _clients(urls: list[str], connections: int) -> AbstractAsyncContextManager[list[GraphQLClient]]:
    """Clients that send the operator's token: DROPZERO_ADMIN_TOKEN to every server that is named, the data folder's
    token only to servers on this machine."""
    settings = _settings()
    exposed = [url for url in urls if is_in_the_clear(url)]
    if settings.admin_token is not None and exposed:
        terminal.write_error(
            f"dropzero: warning: DROPZERO_ADMIN_TOKEN is sent unencrypted to {', '.join(exposed)}, "
            "and everybody on the way can read it; use https://"
        )
    return graphql_clients(urls, settings.admin_token, connections, find_operator_token(settings.data_directory))


def _with_server(url: str, call: Callable[[GraphQLClient], Awaitable[T]]) -> T:
    """Run a coroutine with a client of a running server, and return its result."""

    async def run() -> T:
        async with _clients([url], connections=1) as [client]:
            return await call(client)

    return asyncio.run(run())


def _with_database(call: Callable[[Pool], Awaitable[T]]) -> T:
    """Run a coroutine with a connection to the database itself, and return its result."""

    async def run(settings: Settings) -> T:
        async with Pool(settings.endpoints[0], size=1, tokens=AuthTokens(web_identity(settings))) as pool:
            await require_kept_statements(pool.endpoint)
            return await call(pool)

    with database_to_visit(_settings()) as settings:
        return asyncio.run(run(settings))


if __name__ == "__main__":
    main()
