"""Prints lines, tables and a progress bar. A table is as wide as the terminal, or in a pipe as wide as it needs."""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from api.client.load import PERCENTILES, LoadReport, percentile
from api.client.products import Node
from api.client.race import RaceReport
from api.cost.bill import Bill, shown
from api.drops.audit import AuditLine
from api.drops.characters import with_escapes

_PIPE_WIDTH = 1000
"""Columns where the output is no terminal, so that no line is broken and no id is cut."""

_NARROWEST = 10
"""Columns that a text of a list has at least. A narrower one cannot be read."""


class _Terminal(Console):
    """Prints every text literally: Rich's markup and emoji codes are not interpreted, and characters that control the
    terminal or show nothing become escapes. Names and messages may come from a server that is not ours."""

    def __init__(self, *, width: int | None = None, stderr: bool = False) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, width=width, stderr=stderr)

    def render_str(self, text: str, **options: Any) -> Text:
        """Rich calls this for each text that it prints or measures: a line, a title, a header and a cell of a table."""
        return super().render_str(with_escapes(text), **options)


_out = _Terminal()
_pipe = _Terminal(width=_PIPE_WIDTH)
_err = _Terminal(stderr=True)


def write(text: str) -> None:
    """Print the text to standard output. No line is folded."""
    for line in text.split("\n"):
        _out.print(line, soft_wrap=True)


def write_error(text: str) -> None:
    """Print the text to standard error, as one line. Messages of PostgreSQL have several lines."""
    _err.print(" ".join(re.split(r"[ \t\r\n]+", text.strip())), style="red", soft_wrap=True)


def show(table: Table) -> None:
    (_out if _out.is_terminal else _pipe).print(table)


def show_list(table: Table) -> None:
    """Print a table, or a block of lines for each of its rows where the terminal is too narrow to read the table."""
    if not _out.is_terminal or Measurement.get(_pipe, _pipe.options, table).minimum <= _out.width:
        show(table)
        return
    headers = [str(column.header) for column in table.columns]
    for number, cells in enumerate(zip(*(column.cells for column in table.columns), strict=True)):
        if number:
            write("")
        show_fields(dict(zip(headers, cells, strict=True)))


def progress_bar() -> Progress:
    """A progress bar on standard error. It prints nothing where standard error is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=_err, disable=not _err.is_terminal)


def announce(title: str, facts: Sequence[tuple[str, str]]) -> None:
    """Print a title, and below it each fact after its name."""
    _out.print(Text(title, style="bold"))
    width = max(len(name) for name, _ in facts)
    for name, fact in facts:
        write(f"{name:<{width}}  {fact}")


def write_json(*documents: object) -> None:
    """Print documents as JSON, one a line, in ASCII: characters that control a terminal are escaped in it."""
    for document in documents:
        sys.stdout.write(f"{json.dumps(document)}\n")


def product_table(products: Iterable[Node]) -> Table:
    table = _list_table("id", "name", "drop", "opens at", "state", numbers=("stock", "price", "limit", "hold"))
    for product in products:
        stock, *numbers = _texts(product, "stock", "limitPerBuyer", "holdSeconds")
        product_id, name, *texts = _texts(product, "id", "name", "dropName")
        named = name if product["option"] is None else f"{name}, {product['option']}"
        numbers = [stock, _shown(product["price"]), *numbers]
        table.add_row(product_id, named, *texts, _seconds(product["opensAt"]), _state(product), *numbers)
    return table


def _state(product: Node) -> str:
    if product["archivedAt"] is not None:
        return "archived"
    if product["pausedAt"] is not None:
        return "paused"
    return "" if product["closesAt"] is None else f"until {_seconds(product['closesAt'])}"


def _seconds(moment: str | None) -> str:
    """A moment of the API without the fraction of its second; empty for none."""
    return "" if moment is None else re.sub(r"(\.\d+)?(\+00:00|Z)$", "Z", moment)


def order_table(orders: Iterable[Node]) -> Table:
    table = _list_table("id", "reference", "product", "buyer", "status", "bought at", numbers=("quantity",))
    for order in orders:
        texts = _texts(order, "id", "reference", "productName", "userRef", "status")
        table.add_row(*texts, _seconds(order["createdAt"]), *_texts(order, "quantity"))
    return table


def counts_table(counts: Node) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("status")
    table.add_column("orders", justify="right")
    table.add_column("units", justify="right")
    for status, count in counts.items():
        table.add_row(status, f"{count['orders']:,}", f"{count['units']:,}")
    return table


def log_table(entries: Iterable[Node]) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for header, width in (("at", 20), ("operator", 8), ("action", 17), ("product or order", 36), ("changes", 20)):
        table.add_column(header, overflow="fold", min_width=width)
    for entry in entries:
        changes = "; ".join(shown_change(change) for change in entry["changes"])
        about = str(entry["orderId"] or entry["productId"] or "")
        table.add_row(_seconds(entry["at"]), *_texts(entry, "operator", "action"), about, changes)
    return table


def shown_change(change: Node) -> str:
    """A change of a field, as one line for people."""
    before, after = ("none" if value is None else repr(value) for value in (change["before"], change["after"]))
    return f"{change['field']} {after}" if change["before"] is None else f"{change['field']} {before} -> {after}"


def show_fields(node: Node) -> None:
    """Print each field of an object after its name; null as nothing, and each object of a list in a line."""
    width = max(map(len, node))
    for name, value in node.items():
        lines = [_shown(each) for each in value] if isinstance(value, list) else [_shown(value)]
        for number, line in enumerate(lines or [""]):
            write(f"{'' if number else name:<{width}}  {' '.join(line.splitlines())}".rstrip())


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(map(_shown, value.values()))
    return "" if value is None else str(value)


def _texts(node: Node, *names: str) -> list[str]:
    return ["" if node[name] is None else str(node[name]) for name in names]


def audit_table(lines: list[AuditLine]) -> Table:
    table = _list_table("product", "name", numbers=("stocked", "stock", "held", "sold", "balanced"))
    for line in lines:
        name = "(no such product)" if line.name is None else line.name
        units = (line.stocked, line.stock, line.held, line.sold)
        numbers = ("" if number is None else str(number) for number in units)
        table.add_row(
            str(line.product_id),
            name,
            *numbers,
            "yes" if line.balanced else "NO",
            style=None if line.balanced else "red",
        )
    return table


def bill_table(bill: Bill) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("what", min_width=_NARROWEST)
    for header in ("times", "transactions", "write DPU", "read DPU", "compute DPU", "USD"):
        table.add_column(header, justify="right", no_wrap=True)
    for line in (*bill.lines, bill.total):
        times = f"{line.times:,.0f}" if line.times else ""
        figures = (shown(figure) for figure in (line.write, line.read, line.compute, bill.usd(line.dpu)))
        table.add_row(line.what, times, f"{line.transactions:,.0f}" if line.transactions else "", *figures)
    return table


def _list_table(identity: str, *texts: str, numbers: Sequence[str]) -> Table:
    """A table that folds texts where it gets narrow, but never ids and numbers."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(identity, no_wrap=True, min_width=36)
    for header in texts:
        table.add_column(header, overflow="fold", min_width=_NARROWEST)
    for header in numbers:
        table.add_column(header, justify="right", no_wrap=True, min_width=len(header))
    return table


def load_table(report: LoadReport) -> Table:
    load = report.load
    title = f"{load.purchases:,} purchases, {load.buyers:,} buyers at a time, {load.units:,} units"
    table = Table(title=title, min_width=len(title))
    table.add_column("through " + ", ".join(report.regions))
    table.add_column(justify="right")
    table.add_row("confirmed", f"{report.outcomes['CONFIRMED']:,}")
    table.add_row("sold out", f"{report.outcomes['SOLD_OUT']:,}")
    table.add_row("busy", f"{report.outcomes['BUSY']:,}")
    table.add_row("errors", f"{report.errors.total():,}")
    final_stock = "unknown" if report.final_stock is None else f"{report.final_stock:,}"
    table.add_row("final stock", final_stock, end_section=True)
    table.add_row("purchases/s", f"{report.purchases_per_second:,.0f}")
    for percent in PERCENTILES:
        table.add_row(f"p{percent}", f"{percentile(report.latencies, percent):,.1f} ms")
    if report.late:
        late = (percentile(report.late, 50), percentile(report.late, 99), max(report.late))
        table.add_row("own lateness, p50, p99, most", f"{', '.join(f'{each:,.1f}' for each in late)} ms")
    if report.attempts:
        table.add_row("attempts, mean and most", _mean_and_most(report.attempts))
    if report.resent:
        table.add_row("answers lost and asked for again", f"{report.resent:,}")
    return table


def race_table(report: RaceReport) -> Table:
    """A column for each Region: how its purchases ended, how long they took, and the stock it read after the rounds."""
    title = f"{len(report.rounds):,} rounds of 1 unit, a purchase through each Region at once"
    table = Table(title=title, min_width=len(title))
    table.add_column("through")
    for region in report.regions:
        table.add_column(region, justify="right")
    finishes = [report.finishes(region) for region in report.regions]

    def row(name: str, values: Iterable[object], *, end_section: bool = False) -> None:
        table.add_row(name, *(f"{value:,}" if isinstance(value, int) else str(value) for value in values))
        if end_section:
            table.add_section()

    row("confirmed", (sum(finish.status == "CONFIRMED" for finish in each) for each in finishes))
    row("sold out", (sum(finish.status == "SOLD_OUT" for finish in each) for each in finishes))
    row("errors", (sum(finish.status not in ("CONFIRMED", "SOLD_OUT") for finish in each) for each in finishes))
    row("busy, and asked for again", (sum(finish.busy for finish in each) for each in finishes))
    row("answers lost and asked for again", (sum(finish.lost for finish in each) for each in finishes))
    row("attempts, mean and most", (_mean_and_most([finish.attempts for finish in each]) for each in finishes))
    row("then read", (_readings(report.last_read(region)) for region in report.regions), end_section=True)
    for what, status in (("confirmed", "CONFIRMED"), ("sold out", "SOLD_OUT")):
        for percent in (50, 99):
            latencies = [report.latencies(region, status) for region in report.regions]
            row(f"{what}, p{percent}", (f"{percentile(each, percent):,.1f} ms" if each else "-" for each in latencies))
    return table


def _mean_and_most(attempts: Sequence[int]) -> str:
    return f"{sum(attempts) / len(attempts):.2f}, {max(attempts)}"


def _readings(stocks: Counter[int | None]) -> str:
    """The stock, if every reading was the same; otherwise how often each stock was read."""
    counts = {"nothing" if stock is None else f"{stock:,}": times for stock, times in stocks.most_common()}
    return ", ".join(counts if len(counts) == 1 else (f"{stock} ({times:,} times)" for stock, times in counts.items()))
