"""The purchases that 50 honest buyers keep beside one hostile client, and the longest step of the event loop.

    python -m bench.abuse [--quick] [--rows introspection,trailers] [--server FOLDER] [--most 800] [--name abuse]

Each row has a server of its own, with the settings of production, on one embedded PostgreSQL. The buyers connect from
127.0.0.1, the attacker from 127.0.0.2. Exit status 1 if the books do not balance.
"""

import argparse
import math
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from api.database.embedded import embedded_postgres
from bench.abuse.attack import Attack
from bench.abuse.catalogue import ATTACKS, COSTLY
from bench.abuse.row import Bench, Times, measure
from bench.database import Database
from bench.report import console, print_table, write_json

QUICK = Times(before=1.5, under=2.0, after=1.5, steps=1.5)


def main() -> None:
    asked = _arguments()
    attacks = _chosen(asked.rows)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that every process is ended
    rows: list[dict[str, Any]] = []
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        with embedded_postgres(data):
            times = QUICK if asked.quick else Times()
            bench = Bench(asked.server.resolve(), Database(data), Path(folder), times, asked.most)
            bench.migrate()
            for attack in attacks:
                try:
                    rows.append({**measure(bench, attack), "load_average": os.getloadavg()[0]})
                except (Exception, SystemExit) as error:  # such as a server that died; the other rows still run
                    wrong.append(f"{attack.name} was not measured: {type(error).__name__} {error}")
                    console.print(wrong[-1], highlight=False, markup=False)
                    continue
                _print_row(rows[-1])
                write_json(asked.name, rows)
    if rows:
        print_table(f"Beside one hostile client, {bench.code}", [_shown(row) for row in rows])
        console.print(f"written to {write_json(asked.name, rows)}")
    wrong += [f"{row['attack']}, the books do not balance: {row['objection']}" for row in rows if row["objection"]]
    if wrong:
        raise SystemExit("; ".join(wrong))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.abuse", description="Honest buyers beside a hostile client.")
    parser.add_argument("--rows", default="", help="names separated by commas, or `further`; the usual by default")
    parser.add_argument(
        "--server", type=Path, default=Path(), help="the folder whose api is served; this one by default"
    )
    parser.add_argument(
        "--most", type=float, default=math.inf, help="purchases/s of all buyers together at most; no bound by default"
    )
    parser.add_argument("--name", default="abuse", help="the name of the file in results/")
    parser.add_argument("--quick", action="store_true", help="about half of the seconds")
    parser.add_argument("--list", action="store_true", help="print the names of the attacks, and end")
    asked = parser.parse_args()
    if asked.list:
        for attack in ATTACKS.values():
            print(f"{attack.name:22}{attack.connections:>6}  {attack.sends}")
        sys.exit()
    if not (asked.server / "api").is_dir():
        parser.error(f"{asked.server} has no folder named api")
    return asked


def _chosen(names: str) -> Sequence[Attack]:
    if not names:
        return [attack for attack in ATTACKS.values() if attack.usual]
    if names == "further":
        return [attack for attack in ATTACKS.values() if not attack.usual and attack.name not in COSTLY]
    unknown = [name for name in names.split(",") if name not in ATTACKS]
    if unknown:
        raise SystemExit(f"unknown rows: {', '.join(unknown)}; --list prints the names")
    return [ATTACKS[name] for name in names.split(",")]


def _print_row(row: dict[str, Any]) -> None:
    console.print(
        f"{row['attack']}: {row['left']:.0%} left ({row['under_per_s']:,.0f}/s of {row['before_per_s']:,.0f} and "
        f"{row['after_per_s']:,.0f}), longest step {row['step_ms']:,.1f} ms of {row['step']}; "
        f"{row['answers'] or 'no answers'} -> {row['verdict']}",
        highlight=False,
        markup=False,
    )


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """The columns that fit a terminal. The file has all columns."""
    return {
        "attack": row["attack"],
        "from": row["connections"],
        "attack /s": row["attack_per_s"],
        "KiB/s": row["attack_kib_per_s"],
        "left": f"{row['left']:.0%}",
        "alone /s": (row["before_per_s"] + row["after_per_s"]) / 2,
        "p99 ms": f"{row['p99_before_ms']:,.0f} -> {row['p99_under_ms']:,.0f}",
        "server busy": f"{row['server_cpu_before']:.0%}",
        "back after s": row["recovery_s"],
        "step ms": row["step_ms"],
        "gc ms": row["collection_ms"],
        "MiB": f"{row['memory_before_mib']:.0f} -> {row['memory_at_end_mib']:.0f} -> {row['memory_after_mib']:.0f}",
        "verdict": row["verdict"],
    }


if __name__ == "__main__":
    main()
