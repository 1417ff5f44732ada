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
from api.app import require_documents
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
from api.graphql.schema import sdl
from api.operator_token import TokenNotKept, find_operator_token
from api.process import CannotServe, configure_logging, require_files
from api.running_database import database_to_serve, database_to_visit
from api.settings import InvalidSettings, Settings, read_settings
from api.signals import BrokenOff
from api.startup import SchemaBehind, web_identity

app = typer.Typer(
    help="Limited drops that sell exactly their stock: the server, and what its operator needs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Every option also reads DROPZERO_COMMAND_OPTION, where it names no shorter variable.
    context_settings={"auto_envvar_prefix": "DROPZERO"},
)
product_app = typer.Typer(help="Products of a running server, as its operator.", no_args_is_help=True)
app.add_typer(product_app, name="product")
app.add_typer(cluster_app, name="cluster")

T = TypeVar("T")

_FAILURES = (
    *(CannotServe, EmbeddedUnavailable, StatementsLost, SchemaBehind, RightsMissing, MigrationError),
    *(TokenNotKept, RequestFailed),
)
"""What ends a command with one line of its own words, and status 1."""

_LIMITS = "see to the limits of processes, open files and memory (ulimit -u, -n, -v), the room on the disk, and rights"
_NO_THREAD = "can't start new thread"
"""What Python says when the system refuses a thread. It has no exception of its own."""

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option(envvar="DROPZERO_URL", help="The server's address.")]
Patience = Annotated[
    float, typer.Option(min=0, help="Seconds without one answer after which the server is taken to be gone.")
]
Urls = Annotated[list[str], typer.Option("--url", envvar="DROPZERO_URL", help="A server's address; may be repeated.")]


@app.command()
def serve(
    host: Annotated[str, typer.Option(envvar="DROPZERO_HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="DROPZERO_PORT", min=0, max=65535, help="0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(envvar="DROPZERO_WORKERS", min=1, max=64, help="Processes that serve.")] = 1,
) -> None:
    """Serve the storefront and the API, on the embedded PostgreSQL unless DROPZERO_ENDPOINTS is set."""
    from api import server  # with uvicorn, which no other command needs

    configure_logging()
    settings = _settings()
    require_files()
    require_documents(settings)  # here, where it ends in one line, and not in each worker process
    listening = server.bind(host, port)
    configured, settings = settings, server.reachable_as(host, settings)
    with database_to_serve(settings, workers) as ready:
        address = server.address(listening)
        server.run(
            ready,
            listening,
            workers,
            embedded=settings.embedded,
            announce=lambda: _announce(address, configured, ready),
        )


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database's schema up to date. Safe to run again, and from several places at once."""

    async def apply(pool: Pool) -> list[Migration]:
        return await migrate(pool, load_migrations(migrations_directory()), terminal.say)

    applied = _visit(apply)
    terminal.say("The schema is up to date." if applied else "The schema was up to date already.")


@app.command()
def schema() -> None:
    """Print the GraphQL schema in its definition language."""
    sys.stdout.write(sdl())


@product_app.command("create")
def product_create(
    name: str,
    drop: Annotated[str, typer.Option(help="The drop it belongs to.")],
    stock: Annotated[int, typer.Option(help="Units to put in.")],
    opens_at: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M%z"], help="When buying begins, with a UTC offset."
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Units that one buyer can hold.")] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Create a product with its stock."""

    async def create(client: GraphQLClient) -> list[products.Product]:
        created = products.create_product(
            client, name=name, drop_name=drop, stock=stock, opens_at=opens_at, limit_per_buyer=limit
        )
        return [await created]

    terminal.show(terminal.product_table(_ask(url, create)))


@product_app.command("restock")
def product_restock(
    product_id: str,
    delta: Annotated[int, typer.Argument(help="Units to add; negative takes units back (write: -- ID -5).")],
    url: Url = DEFAULT_URL,
) -> None:
    """Add units to a product, or take back units that nobody has bought."""

    async def restock(client: GraphQLClient) -> list[products.Product]:
        return [await products.restock(client, product_id, delta)]

    terminal.show(terminal.product_table(_ask(url, restock)))


@product_app.command("list")
def product_list(
    drop: Annotated[str | None, typer.Option(help="Only the products of this drop.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Products at most.")] = 50,
    url: Url = DEFAULT_URL,
) -> None:
    """List products, newest first."""
    terminal.show(terminal.product_table(_ask(url, lambda client: products.list_products(client, drop, limit))))


@app.command("audit")
def audit_command() -> None:
    """Check on the live database that what was put in is still there or sold. Exit status 1 if not."""
    lines = _visit(audit)
    terminal.show(terminal.audit_table(lines))
    wrong = [str(line.product_id) for line in lines if not line.balanced]
    if wrong:
        _fail(f"the books do not balance, stocked is not stock + sold: {', '.join(wrong)}", status=1)
    terminal.say(f"{len(lines)} products: every unit is either in stock or sold.")


@app.command("load")
def load_command(
    purchases: Annotated[int, typer.Option(min=1, help="In all.")] = 3000,
    buyers: Annotated[int, typer.Option(min=1, max=5000, help="At a time.")] = 50,
    units: Annotated[int, typer.Option(min=0, help="In stock.")] = 100,
    region: Annotated[
        list[str] | None, typer.Option(help="A regional endpoint; may be repeated. All by default.")
    ] = None,
    patience: Patience = GONE_AFTER,
    url: Urls = [DEFAULT_URL],  # noqa: B006 - Typer copies it
) -> None:
    """Load a running server as a drop does, and see that exactly the stock is sold. Exit status 1 if not."""

    async def run() -> LoadReport:
        with terminal.progress_bar() as progress:
            task = progress.add_task("Buying", total=purchases)
            async with _clients(url, buyers) as clients:
                load = Load(purchases, buyers, units, patience)
                return await run_load(clients, load, region or None, lambda: progress.advance(task))

    report = asyncio.run(run())
    terminal.show(terminal.load_table(report))
    if report.caution is not None:
        terminal.say(report.caution)
    for message, count in report.errors.most_common(5):
        terminal.complain(f"{count} x {message}")
    if report.objection is not None:
        _fail(report.objection, status=1)


@app.command("race")
def race_command(
    rounds: Annotated[int, typer.Option(min=1, help="Each with a product of its own.")] = 100,
    region: Annotated[
        list[str] | None, typer.Option(help="A regional endpoint; may be repeated. All by default.")
    ] = None,
    patience: Patience = GONE_AFTER,
    url: Urls = [DEFAULT_URL],  # noqa: B006 - Typer copies it
) -> None:
    """Race for one unit through every Region at once, and see that exactly one has it. Exit status 1 if not."""
    report = RaceReport()

    async def run() -> None:
        with terminal.progress_bar() as progress:
            task = progress.add_task("Racing", total=rounds)
            async with _clients(url, connections=100) as clients:
                await run_race(clients, rounds, region or None, report, lambda: progress.advance(task), patience)

    try:
        asyncio.run(run())
    finally:  # also of a race that was broken off, by Ctrl-C or by a server that is gone
        if report.rounds:
            terminal.show(terminal.race_table(report))
            for objection in report.objections[:5]:
                terminal.complain(objection)
    if report.objections:
        _fail(f"{len(report.objections)} of {len(report.rounds)} rounds were not exact", status=1)
    everywhere = "both" if len(report.regions) == 2 else "all"
    terminal.say(f"Each unit went to exactly one buyer, and {everywhere} endpoints then read 0.")


def main() -> None:
    """Run the command; what goes wrong for a known reason ends with one line, not with a stack trace."""
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
        _fail(_refusal_of_the_system(error), status=1)
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        _fail(f"{error}; {_LIMITS}", status=1)


def _refusal_of_the_system(error: OSError) -> str:
    """What the system refused, for which no part of the program has words of its own."""
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}; {_LIMITS}"


def _fail(message: str, status: int) -> NoReturn:
    terminal.complain(f"dropzero: {message}")
    raise SystemExit(status)


def _settings() -> Settings:
    return read_settings(os.environ)


def _hint(error: Refused) -> str:
    """What to do about an operation that the server refused, if anything."""
    if error.code != "UNAUTHENTICATED":
        return ""
    if is_this_machine(error.url):
        return "; set DROPZERO_ADMIN_TOKEN to the server's token, or DROPZERO_DATA to its data folder"
    return "; set DROPZERO_ADMIN_TOKEN to that server's token: the token of a data folder is sent to this machine alone"


def _clients(urls: list[str], connections: int) -> AbstractAsyncContextManager[list[GraphQLClient]]:
    """Clients with the operator's token: DROPZERO_ADMIN_TOKEN goes to every server that is named, the data folder's
    token to this machine alone."""
    settings = _settings()
    exposed = [url for url in urls if is_in_the_clear(url)]
    if settings.admin_token is not None and exposed:
        terminal.complain(
            f"dropzero: warning: DROPZERO_ADMIN_TOKEN is sent unencrypted to {', '.join(exposed)}, "
            "and everybody on the way can read it; use https://"
        )
    return graphql_clients(urls, settings.admin_token, connections, find_operator_token(settings.data_directory))


def _ask(url: str, question: Callable[[GraphQLClient], Awaitable[T]]) -> T:
    """Ask a running server."""

    async def ask() -> T:
        async with _clients([url], connections=1) as [client]:
            return await question(client)

    return asyncio.run(ask())


def _visit(question: Callable[[Pool], Awaitable[T]]) -> T:
    """Ask the database itself."""

    async def visit(settings: Settings) -> T:
        async with Pool(settings.endpoints[0], size=1, tokens=AuthTokens(web_identity(settings))) as pool:
            await require_kept_statements(pool.endpoint)
            return await question(pool)

    with database_to_visit(_settings()) as settings:
        return asyncio.run(visit(settings))


def _announce(address: str, settings: Settings, ready: Settings) -> None:
    from api.server import warn_of_names

    facts = [("Storefront", f"{address}/"), ("GraphiQL" if settings.graphiql else "GraphQL", f"{address}/graphql")]
    if settings.embedded and settings.admin_token is None:
        facts.append(("Operator", f"Authorization: Bearer {ready.admin_token}"))
        facts.append(("Data", f"{settings.data_directory} (embedded PostgreSQL 16, and the operator's token)"))
    elif settings.embedded:
        facts.append(("Data", f"{settings.data_directory} (embedded PostgreSQL 16)"))
    facts.append(("Regions", ", ".join(endpoint.region for endpoint in ready.endpoints)))
    terminal.announce("DROPZERO is open. Ctrl-C stops it.", facts)
    warn_of_names(settings)


if __name__ == "__main__":
    main()
