"""`dropzero orders`: search, count, export and cancel the orders of a running server, and read the operator log."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from api import terminal
from api.client import orders
from api.client.export import ExportReport, export_orders
from api.client.graphql import GraphQLClient
from api.client.products import Node
from api.commands.running import DEFAULT_URL, AsJson, Limit, Url, fail, moment, with_server

orders_app = typer.Typer(
    help="Search, count, export and cancel the orders of a running server, as its operator or support.",
    no_args_is_help=True,
)

Status = StrEnum("Status", {status: status for status in orders.STATUSES})  # type: ignore[misc]


class Ending(StrEnum):
    """The formats of an export."""

    CSV = "csv"
    JSONL = "jsonl"


OrderName = Annotated[str, typer.Argument(metavar="ORDER", help="The order's id, or its reference.")]
OfProduct = Annotated[str | None, typer.Option("--product", help="Only orders of this product, by its id.")]
OfStatus = Annotated[Status | None, typer.Option(case_sensitive=False, help="Only orders of this status.")]
Since = Annotated[
    datetime | None,
    typer.Option(parser=moment, help="Only orders from this moment on, with a UTC offset."),
]
Until = Annotated[datetime | None, typer.Option(parser=moment, help="Only orders before this moment.")]


@orders_app.command("list")
def orders_list(
    buyer: Annotated[str | None, typer.Option(help="Only orders of this buyer, by userRef.")] = None,
    product: OfProduct = None,
    reference: Annotated[str | None, typer.Option(help="Only orders of this reference.")] = None,
    status: OfStatus = None,
    since: Since = None,
    until: Until = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List orders, newest first."""
    search = {"userRef": buyer, "reference": reference, **_filter(product, status, since, until)}
    listed = with_server(url, lambda client: orders.list_orders(client, search, limit))
    if as_json:
        terminal.write_json(*listed)
    else:
        terminal.show_list(terminal.order_table(listed))


@orders_app.command("show")
def orders_show(order: OrderName, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Show everything of an order."""
    _show(with_server(url, lambda client: orders.find_order(client, order)), as_json=as_json)


@orders_app.command("cancel")
def orders_cancel(order: OrderName, as_json: AsJson = False, url: Url = DEFAULT_URL) -> None:
    """Cancel an order. Its units return to the stock, once."""

    async def cancel(client: GraphQLClient) -> Node:
        return await orders.cancel_order(client, (await orders.find_order(client, order))["id"])

    _show(with_server(url, cancel), as_json=as_json)


@orders_app.command("counts")
def orders_counts(
    product: Annotated[str, typer.Argument(metavar="PRODUCT", help="The product's id.")],
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Count the orders of a product, and their units, by status."""
    counts = with_server(url, lambda client: orders.count_orders(client, product))
    if as_json:
        terminal.write_json(counts)
    else:
        terminal.show_list(terminal.counts_table(counts))


@orders_app.command("log")
def orders_log(
    product: Annotated[
        str | None, typer.Option(help="Only what was done to this product and to its orders, by its id.")
    ] = None,
    limit: Limit = 50,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
) -> None:
    """List what operators and support have done, newest first."""
    entries = with_server(url, lambda client: orders.read_log(client, product, limit))
    if as_json:
        terminal.write_json(*entries)
    else:
        terminal.show_list(terminal.log_table(entries))


@orders_app.command("export")
def orders_export(
    product: OfProduct = None,
    status: OfStatus = None,
    since: Since = None,
    until: Until = None,
    ending: Annotated[Ending, typer.Option("--format", help="CSV for spreadsheets, JSON lines for programs.")] = (
        Ending.CSV
    ),
    output: Annotated[
        Path | None, typer.Option(help="A file to write, which appears when it is whole; standard output by default.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was exported as JSON; needs --output.")] = False,
    url: Url = DEFAULT_URL,
) -> None:
    """Export orders as they are at one moment. Exit status 1 if they are not whole, or, without --status, --since and
    --until, if their units are not those that have left the stock."""
    if as_json and output is None:
        raise typer.BadParameter("--json needs --output, because the orders go to standard output")
    query = {name: value for name, value in _filter(product, status, since, until).items() if value is not None}

    def export(write: Callable[[bytes], object]) -> ExportReport:
        return with_server(url, lambda client: export_orders(client, ending.value, query, write))

    if output is None:
        report = export(sys.stdout.buffer.write)
        sys.stdout.flush()
    else:
        with _whole_file(output) as write:
            report = export(write)
        if as_json:
            terminal.write_json(_as_json(report))
        else:
            terminal.write(f"{report.orders:,} orders, as they were at {report.at}: {output}")
    if report.objection is not None:
        fail(report.objection, status=1)


@contextmanager
def _whole_file(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Yield a function that writes. The file appears when the block ends without an error, and replaces any other."""
    if path.is_dir():
        fail(f"{path} is a folder; name a file with --output", status=1)
    part = path.with_name(f".{path.name}.part")
    try:
        file = part.open("wb")
    except OSError as error:
        fail(f"cannot write {path}: {error.strerror}; name another file with --output", status=1)
    try:
        with file:
            yield file.write
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _as_json(report: ExportReport) -> Node:
    return {
        "at": report.at,
        "orders": report.orders,
        "units": report.units,
        "stocked": report.stocked,
        "stock": report.stock,
        "balanced": None if report.filtered else report.objection is None,
    }


def _filter(
    product: str | None, status: Status | None, since: datetime | None, until: datetime | None
) -> dict[str, str | None]:
    """The arguments that lists and exports have in common, by their names in the API."""
    return {
        "productId": product,
        "status": None if status is None else status.value,
        "since": None if since is None else since.isoformat(),
        "until": None if until is None else until.isoformat(),
    }


def _show(order: Node, *, as_json: bool) -> None:
    if as_json:
        terminal.write_json(order)
    else:
        terminal.show_fields(order)
