"""Reports: a table on the terminal, and the same as JSON and as a plot."""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.machine import describe

RESULTS = Path(__file__).with_name("results")

console = Console()
if not console.is_terminal:
    console = Console(width=180)  # a file has room for every column


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print rows with the same keys, and the machine. Numbers from 100 on have no decimals."""
    table = Table(title=title, caption="; ".join(describe().values()))
    for name in rows[0]:
        table.add_column(name.replace("_", " "), justify="left" if isinstance(rows[0][name], str) else "right")
    for row in rows:
        table.add_row(*(_shown(value) for value in row.values()))
    console.print(table)


def write_json(name: str, rows: Sequence[dict[str, Any]]) -> Path:
    """Write the rows as JSON, with the machine and the day of the measurement."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    report = {"measured": time.strftime("%Y-%m-%d"), "machine": describe(), "rows": list(rows)}
    path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return path


def plot_lines(
    name: str, rows: Sequence[dict[str, Any]], *, x: str, y: Sequence[str], by: str | None = None, title: str
) -> Path:
    """Draw columns `y` over column `x`, a line for each value of `by`, and write it beside the JSON."""
    from matplotlib import pyplot

    figure, panel = pyplot.subplots(figsize=(6, 3.6))
    for value in dict.fromkeys(row[by] if by else None for row in rows):
        chosen = [row for row in rows if by is None or row[by] == value]
        for column in y:
            label = column if by is None else f"{column}, {by} {value}"
            panel.plot([row[x] for row in chosen], [row[column] for row in chosen], marker="o", label=label)
    panel.set(title=title, xlabel=x.replace("_", " "), ylim=(0, None))
    panel.tick_params("x", labelsize="small")
    panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    return save_plot(name, figure)


def save_plot(name: str, figure: Any) -> Path:
    """Write a figure beside the JSON. The same rows give the same bytes."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.svg"
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    return path


def ratio(value: float, base: float) -> float | str:
    """`value` as a multiple of `base`; empty if `base` is 0."""
    return value / base if base else ""


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
