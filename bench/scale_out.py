"""One product sold by several server processes: purchases per second and p99, with stock in shards and in one row.

    python -m bench.scale_out                     this checkout, about 4 minutes
    python -m bench.scale_out --before FOLDER     beside the checkout of an earlier version, about 6 minutes
    python -m bench.scale_out --quick             2 seconds for each figure instead of 6
    python -m bench.scale_out --case fair         some cases; their names are in CASES

Each process has lines of its own, and the transactions of two processes conflict where they write the same row. The
buyers of each process are sent by a wrk of their own, all at the same time. Every confirmed answer is compared with the
table of orders, and `dropzero audit` must agree in the end; otherwise the bench ends without a figure.
"""

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import metrics, wrk
from bench.products import new_product, takes_shards
from bench.report import console, print_table, ratio, write_json
from bench.servers import Process
from bench.version import ROOT, Version, code_folder, prepared

SECONDS, QUICK_SECONDS = 6, 2
WARM_UP = 1
SHARDS = (16, 1)
BEFORE = "before"
_HIDDEN = {"processes", "buyers", "load_average"}
_TRANSACTIONS = "dropzero_purchase_transactions_total"


@dataclass(frozen=True)
class Case:
    """A load: the buyers at each server process, and the milliseconds that a commit takes longer."""

    name: str
    buyers: tuple[int, ...]
    commit_delay_ms: int

    @property
    def processes(self) -> int:
        return len(self.buyers)


CASES = (
    Case("1 x 10", (10,), 20),
    Case("2 x 10", (10,) * 2, 20),
    Case("4 x 10", (10,) * 4, 20),
    Case("8 x 10", (10,) * 8, 20),
    Case("fair", (300, 20), 20),
    Case("1 x 200", (200,), 0),
    Case("2 x 100", (100,) * 2, 0),
    Case("1 x 50", (50,), 20),
)


@dataclass(frozen=True)
class Stock:
    """How a version keeps the stock of the measured product. `shards`: None if its createProduct takes none."""

    name: str
    shards: int | None


def kinds(server: Process, before: bool) -> tuple[Stock, ...]:
    """What is measured on the servers of one version."""
    if before:
        return (Stock(BEFORE, None),)
    if not takes_shards(server):
        return (Stock("this checkout", None),)
    return tuple(Stock(f"{shards} shard{'s' * (shards > 1)}", shards) for shards in SHARDS)


def measure(version: Version, servers: Sequence[Process], stock: Stock, case: Case, seconds: int) -> dict[str, Any]:
    """Load one product for some seconds through all servers, and check the books."""
    wrk.side_by_side(servers, new_product(servers[0], shards=stock.shards), case.buyers, WARM_UP, version.folder)
    metrics.drain(servers)
    product_id = new_product(servers[0], shards=stock.shards)
    ends, cpu = _ends(servers), sum(server.cpu_seconds() for server in servers)
    loads = wrk.side_by_side(servers, product_id, case.buyers, seconds, version.folder)
    metrics.drain(servers)
    ends, cpu = _ends(servers) - ends, sum(server.cpu_seconds() for server in servers) - cpu
    confirmed = frozenset[str]().union(*(load.order_ids for load in loads))
    version.database.check_books(product_id, confirmed, in_flight=sum(case.buyers))
    return {
        "case": case.name,
        "stock": stock.name,
        "processes": case.processes,
        "buyers": sum(case.buyers),
        "commit_delay_ms": case.commit_delay_ms,
        "purchases_per_s": sum(load.confirmed / load.seconds for load in loads),
        **{f"p{percent}_ms": wrk.percentile(loads, percent) for percent in (50, 95, 99)},
        "p99_of_each_ms": [load.p99 if load.answered else load.seconds * 1000 for load in loads],
        "conflicts_per_100_commits": ends["Conflict"] / max(1, ends["sold"]) * 100,
        "orders_per_commit": len(confirmed) / max(1, ends["sold"]),
        "most_attempts": max(load.most_attempts for load in loads),
        "busy": sum(load.busy for load in loads),
        "errors": sum(load.lost + load.other for load in loads),
        "server_us_per_purchase": cpu / max(1, len(confirmed)) * 1e6,
        "load_average": os.getloadavg()[0],
    }


def _ends(servers: Sequence[Process]) -> Counter[str]:
    """Transactions since the start of all servers, by how they ended."""
    return sum((metrics.by_label(server, _TRANSACTIONS, "end") for server in servers), Counter[str]())


def run(cases: Sequence[Case], before: Path | None, seconds: int, rounds: int) -> list[dict[str, Any]]:
    """Measure all cases. In each case the versions are measured one after the other, `rounds` times each, and the round
    with the median of purchases per second counts."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        versions = [(stack.enter_context(prepared(ROOT, Path(folder) / "this")), False)]
        if before is not None:
            versions.append((stack.enter_context(prepared(before, Path(folder) / BEFORE)), True))
        for case in cases:
            for version, is_before in versions:
                version.database.set_commit_delay(case.commit_delay_ms)
                with version.servers(case.processes) as servers:
                    for stock in kinds(servers[0], is_before):
                        measured = [measure(version, servers, stock, case, seconds) for _ in range(rounds)]
                        rows.append(sorted(measured, key=lambda row: row["purchases_per_s"])[rounds // 2])
                        _print_row(rows[-1])
        wrong = "; ".join(filter(None, (version.audit() for version, _ in versions)))
    if wrong:
        raise SystemExit(wrong)
    return rows


def _print_row(row: dict[str, Any]) -> None:
    each = " and ".join(f"{p99:,.0f}" for p99 in row["p99_of_each_ms"])
    console.print(
        f"{row['case']}, {row['stock']}: {row['purchases_per_s']:,.0f}/s, p99 {row['p99_ms']:,.0f} ms ({each}), "
        f"{row['conflicts_per_100_commits']:.0f} conflicts per 100 commits, "
        f"{row['busy']} busy, {row['errors']} errors",
        highlight=False,
    )


def of_first(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each case: how many times the purchases per second of the other kinds of stock the first kind has, and how
    many times their p99."""
    stocks = list(dict.fromkeys(row["stock"] for row in rows))
    cells = {(row["case"], row["stock"]): row for row in rows}
    compared = []
    for case in dict.fromkeys(row["case"] for row in rows):
        first = cells[case, stocks[0]]
        ratios: dict[str, Any] = {"case": case}
        for other in stocks[1:]:
            cell = cells[case, other]
            ratios[f"purchases/s, {stocks[0]} : {other}"] = ratio(first["purchases_per_s"], cell["purchases_per_s"])
            ratios[f"p99, {stocks[0]} : {other}"] = ratio(first["p99_ms"], cell["p99_ms"])
        compared.append(ratios)
    return compared


def scaling(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each kind of stock: what more processes add, and how unequal the p99 of two unequal processes is."""
    scaled = []
    for stock in dict.fromkeys(row["stock"] for row in rows):
        cells = {row["case"]: row for row in rows if row["stock"] == stock}
        ratios: dict[str, Any] = {"stock": stock}
        for case, base in (("2 x 10", "1 x 10"), ("4 x 10", "1 x 10"), ("8 x 10", "1 x 10"), ("2 x 100", "1 x 200")):
            if case in cells and base in cells:
                rates = cells[case]["purchases_per_s"], cells[base]["purchases_per_s"]
                ratios[f"purchases/s, {case} : {base}"] = ratio(*rates)
        if "fair" in cells:
            each = cells["fair"]["p99_of_each_ms"]
            ratios["p99, larger : smaller of two processes"] = ratio(max(each), min(each))
        scaled.append(ratios)
    return scaled


def main() -> None:
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=code_folder, help="a folder with the code of an earlier version")
    parser.add_argument("--case", action="append", choices=names, help="only this case; may be repeated")
    parser.add_argument("--rounds", type=int, default=1, help="measurements of each figure; their median counts")
    parser.add_argument("--quick", action="store_true", help="2 seconds for each figure; nothing is written")
    asked = parser.parse_args()
    cases = [case for case in CASES if asked.case is None or case.name in asked.case]
    rows = run(cases, asked.before, QUICK_SECONDS if asked.quick else SECONDS, max(1, asked.rounds))
    print_table("One product, several processes", [_shown(row) for row in rows])
    for title, ratios in (("Beside the others", of_first(rows)), ("More processes", scaling(rows))):
        if len(ratios[0]) > 1:
            print_table(title, ratios)
    if not asked.quick and asked.case is None:
        console.print(f"written to {write_json('scale_out', rows)}")


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The columns that fit a terminal, with the p99 of each process in one cell. The file has all columns."""
    each = " ".join(f"{p99:,.0f}" for p99 in row["p99_of_each_ms"])
    return {name: value for name, value in row.items() if name not in _HIDDEN} | {"p99_of_each_ms": each}


if __name__ == "__main__":
    main()
