"""The export of orders: received in pieces, counted while it arrives, and whole or an error."""

import csv
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from api.client.graphql import GraphQLClient, RequestFailed

_SOLD = ("HELD", "CONFIRMED")
"""The statuses of orders whose units have left the stock."""


@dataclass(slots=True)
class ExportReport:
    """What an export has. `stocked` and `stock` are the sums of its products at the moment `at`. `units`: of its held
    and confirmed orders. `filtered`: not all orders of its products were exported."""

    at: str
    stocked: int
    stock: int
    filtered: bool
    orders: int = 0
    units: int = 0

    @property
    def objection(self) -> str | None:
        """Why the orders are not the units that have left the stock; None if they are, or cannot be compared."""
        sold = self.stocked - self.stock
        if self.filtered or sold == self.units:
            return None
        return (
            f"the books do not balance: {sold} units have left the stock, and {self.units} are in the held and the "
            "confirmed orders of the export; run dropzero audit"
        )


async def export_orders(
    client: GraphQLClient, ending: str, query: Mapping[str, str], write: Callable[[bytes], object]
) -> ExportReport:
    """Receive an export as `csv` or `jsonl`, and pass each piece to `write`. `query` has the parameters of the request.

    Raises RequestFailed, NoAnswer when it breaks off, and what `write` raises.
    """
    async with client.stream(f"/operator/orders.{ending}", query) as (headers, pieces):
        with client.checking_data():
            report = ExportReport(
                headers["x-dropzero-at"],
                int(headers["x-dropzero-stocked"]),
                int(headers["x-dropzero-stock"]),
                filtered=not query.keys() <= {"productId"},
            )
        counter = _CsvCounter(report) if ending == "csv" else _JsonCounter(report)
        rest = b""
        async for piece in pieces:
            whole, end, rest = (rest + piece).rpartition(b"\n")
            if end:
                with client.checking_data():
                    counter.count(whole.decode().split("\n"))
            write(piece)
    if rest:
        raise RequestFailed(f"{client.url} sent a part of a line at the end of the export")
    return report


class _JsonCounter:
    """Counts the orders of JSON lines."""

    def __init__(self, report: ExportReport) -> None:
        self._report = report

    def count(self, lines: Iterable[str]) -> None:
        """Raises LookupError, TypeError, ValueError for lines of another shape."""
        for line in lines:
            order = json.loads(line)
            self._report.orders += 1
            if order["status"] in _SOLD:
                self._report.units += int(order["quantity"])


class _CsvCounter:
    """Counts the orders of CSV. No cell has a line end in it."""

    def __init__(self, report: ExportReport) -> None:
        self._report = report
        self._columns: tuple[int, int] | None = None

    def count(self, lines: Iterable[str]) -> None:
        """Raises LookupError, TypeError, ValueError for lines of another shape."""
        for row in csv.reader(lines):
            if self._columns is None:
                self._columns = row.index("status"), row.index("quantity")
                continue
            status, quantity = self._columns
            self._report.orders += 1
            if row[status] in _SOLD:
                self._report.units += int(row[quantity])
