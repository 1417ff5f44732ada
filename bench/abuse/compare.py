"""Print the results of one or two versions side by side, as a table in Markdown.

python -m bench.abuse.compare abuse-before [abuse]
"""

import json
import sys
from typing import Any

from bench.report import RESULTS

COLUMNS = ("left", "p99 ms", "longest step, ms (over 5 ms)", "gc ms", "memory, MiB", "back after")


def main() -> None:
    names = sys.argv[1:]
    versions = [{row["attack"]: row for row in _rows(name)} for name in names]
    print("| attack | from | sent/s | KiB/s |", " | ".join(f"{name}: {it}" for it in COLUMNS for name in names), "|")
    print("|---|---:|---:|---:|" + "---:|" * len(COLUMNS) * len(names))
    for attack, row in versions[0].items():
        cells = [_cells(version[attack]) if attack in version else ("",) * len(COLUMNS) for version in versions]
        figures = [figure for column in zip(*cells, strict=True) for figure in column]
        sent = f"{row['attack_per_s']:,.0f} | {row['attack_kib_per_s']:,.0f}"
        print(f"| {row['sends']} (`{attack}`) | {row['connections']:,} | {sent} |", " | ".join(figures), "|")


def _rows(name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))["rows"]
    return rows


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    left = f"{row['left']:.0%}"
    memory = "memory_before_mib", "memory_at_end_mib", "memory_after_mib"
    return (
        left if "%" not in row["verdict"] else f"**{left}**",
        f"{row['p99_before_ms']:,.0f} → {row['p99_under_ms']:,.0f}",
        f"{row['step_ms']:,.1f} ({row['steps_over_5_ms']})",
        f"{row['collection_ms']:,.0f}",
        " → ".join(f"{row[name]:,.0f}" for name in memory),
        f"{row['recovery_s']:g} s",
    )


if __name__ == "__main__":
    main()
