"""Purchases with orders, beside a counter in Redis that forgets who bought; and the processor time of a purchase.

    python -m bench.beside_redis                     this checkout, about 2 minutes
    python -m bench.beside_redis --before FOLDER     beside the code of an earlier version, about 4 minutes
    python -m bench.beside_redis --quick             one round

50 buyers buy one product from one process, from two (`--workers 2`), and from the counter. 1,000 buyers buy it from one
process. Commits take no time more. All servers run at the same time and are measured one after the other, in three
rounds. The round with the median of purchases per second counts. It needs `redis-server`, `node` and `npm`.
"""

import argparse
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.hot_row import PEER_PROGRAMS, REDIS_COUNTER, measure, redis_counter
from bench.products import new_product
from bench.report import console, print_table, write_json
from bench.servers import Process
from bench.version import ROOT, Version, code_folder, prepared

ROUNDS = 3
FEW, MANY = 50, 1_000
PROCESSES = (1, 2)
THIS, BEFORE = "this checkout", "before"
SHOWN = ("server", "buyers", "purchases_per_s", "of_redis", "p50_ms", "p99_ms", "busy", "server_us_per_purchase")
"""The columns of the table. The file has all of them."""


@dataclass(frozen=True)
class Seller:
    """A server, and the version of the code with its database; None for the counter, which has no books."""

    name: str
    server: Process
    version: Version | None = None
    processes: int = 1

    def sell(self, buyers: int) -> dict[str, Any]:
        """Sell one product for some seconds. Ends the bench when the books do not balance, or at an error."""
        product_id = str(uuid.uuid4()) if self.version is None else new_product(self.server)
        load, row = measure(self.name, self.server, product_id, 0, buyers)
        if self.version is not None:
            self.version.database.check_books(product_id, load.order_ids, in_flight=buyers)
        if row["errors"]:
            raise SystemExit(f"{self.name}: {row['errors']} errors")
        return row


@contextmanager
def running(before: Path | None) -> Iterator[list[Seller]]:
    """Run all servers at the same time."""
    codes = {THIS: ROOT} | ({} if before is None else {BEFORE: before})
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        found = []
        for number, (name, code) in enumerate(codes.items()):
            version = stack.enter_context(prepared(code, Path(folder) / str(number)))
            for processes in PROCESSES:
                arguments, log = ("--workers", str(processes)), f"server-{processes}.log"
                server = stack.enter_context(version.server("-m", "api", log=log, arguments=arguments))
                found.append(Seller(f"{name}, {processes} process{'es' * (processes > 1)}", server, version, processes))
        yield [*found, Seller(REDIS_COUNTER, stack.enter_context(redis_counter()))]


def sell(sellers: Sequence[Seller], buyers: int, rounds: int) -> list[dict[str, Any]]:
    """Measure each seller once in each round, and return the median of each."""
    columns = zip(*([seller.sell(buyers) for seller in sellers] for _ in range(rounds)), strict=True)
    return [sorted(rows, key=lambda row: float(row["purchases_per_s"]))[rounds // 2] for rows in columns]


def run(before: Path | None, rounds: int) -> list[dict[str, Any]]:
    with running(before) as sellers:
        few = sell(sellers, FEW, rounds)
        many = sell([seller for seller in sellers if seller.processes == 1 and seller.version], MANY, rounds)
    redis = next(row["purchases_per_s"] for row in few if row["server"] == REDIS_COUNTER)
    return [row | {"of_redis": row["purchases_per_s"] / redis} for row in few] + [
        row | {"of_redis": ""} for row in many
    ]


def of_before(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What this checkout has as a multiple of the version before. Empty without that version."""
    cells = {(row["server"], row["buyers"]): row for row in rows}
    return [
        {"server": server, "buyers": buyers}
        | {
            f"{what}, {THIS} : {BEFORE}": row[column] / cells[server.replace(THIS, BEFORE), buyers][column]
            for what, column in (("purchases/s", "purchases_per_s"), ("CPU", "server_us_per_purchase"))
        }
        for (server, buyers), row in cells.items()
        if server.startswith(THIS) and (server.replace(THIS, BEFORE), buyers) in cells
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=code_folder, help="a folder with the code of an earlier version")
    parser.add_argument("--quick", action="store_true", help="one round; nothing is written")
    asked = parser.parse_args()
    missing = [program for program in PEER_PROGRAMS if shutil.which(program) is None]
    if missing:
        parser.error(f"not found: {', '.join(missing)}")
    rows = run(asked.before, 1 if asked.quick else ROUNDS)
    print_table("Purchases beside a counter in Redis", [{column: row[column] for column in SHOWN} for row in rows])
    compared = of_before(rows)
    if compared:
        print_table("Beside the version before", compared)
    if not asked.quick:
        console.print(f"written to {write_json('beside_redis', rows)}")


if __name__ == "__main__":
    main()
