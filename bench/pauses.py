"""Pauses: how long a pause takes beside purchases that never stop, and what is sold after its answer.

    python -m bench.pauses             everything, about a minute
    python -m bench.pauses --quick     one case with few pauses; nothing is written

Buyers purchase one product through one process, or through four that share the database, with commits that take 0 or
20 ms longer. The operator pauses the product again and again, resumes it, and changes its limit. After each answer to a
pause the stock is read, and read again before the product is resumed: what was sold in between must be 0 units.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import wrk
from bench.products import execute, levels, new_product
from bench.report import console, print_table, write_json
from bench.servers import Process
from bench.version import ROOT, Version, prepared

BUYERS = 50
"""Of each process."""

PAUSES, FEW_PAUSES = 20, 5
PAUSED = 0.3
"""Seconds from the answer of a pause to the resumption."""

SOLD = 0.3
"""Seconds from the answer of a resumption to the next pause."""

_STEP = "mutation ($id: ID!) { %s(productId: $id) { revision } }"
_LIMIT = "mutation ($input: UpdateProductInput!) { updateProduct(input: $input) { revision } }"


@dataclass(frozen=True)
class Case:
    processes: int
    commit_delay_ms: int


CASES = (Case(1, 0), Case(1, 20), Case(4, 0), Case(4, 20))


def timed(server: Process, query: str, variables: dict[str, Any]) -> tuple[float, dict[str, Any]]:
    """Run an operation. Returns the milliseconds, and its data."""
    begun = time.perf_counter()
    data = execute(server, query, variables)
    return (time.perf_counter() - begun) * 1000, data


def pause_again_and_again(server: Process, product_id: str, pauses: int) -> dict[str, list[float]]:
    """Pause and resume, and change the limit. Returns the milliseconds of each kind of step, and the units sold in each
    pause."""
    found: dict[str, list[float]] = {"pause": [], "resume": [], "limit": [], "sold": []}
    for number in range(pauses):
        time.sleep(SOLD)
        found["pause"].append(timed(server, _STEP % "pauseProduct", {"id": product_id})[0])
        stock = levels(server, [product_id])[product_id].stock
        time.sleep(PAUSED)
        found["sold"].append(stock - levels(server, [product_id])[product_id].stock)
        milliseconds, data = timed(server, _STEP % "resumeProduct", {"id": product_id})
        found["resume"].append(milliseconds)
        time.sleep(SOLD)
        revision = data["resumeProduct"]["revision"]
        change = {"productId": product_id, "revision": revision, "limitPerBuyer": 1000 + number}
        found["limit"].append(timed(server, _LIMIT, {"input": change})[0])
    return found


def measure(version: Version, servers: Sequence[Process], case: Case, pauses: int) -> dict[str, Any]:
    product_id = new_product(servers[0])
    seconds = round(pauses * (2 * SOLD + PAUSED + 0.4)) + 2
    selling = threading.Thread(
        target=wrk.side_by_side, args=(servers, product_id, [BUYERS] * len(servers), seconds, version.folder)
    )
    selling.start()
    found = pause_again_and_again(servers[0], product_id, pauses)
    selling.join()
    wrong = version.audit()
    if wrong:
        raise SystemExit(wrong)
    return {
        "processes": case.processes,
        "commit_delay_ms": case.commit_delay_ms,
        "pauses": pauses,
        **{f"{step}_ms": statistics.median(found[step]) for step in ("pause", "resume", "limit")},
        **{f"longest_{step}_ms": max(found[step]) for step in ("pause", "resume", "limit")},
        "units_sold_while_paused": int(sum(found["sold"])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one case with few pauses; nothing is written")
    quick = parser.parse_args().quick
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder, prepared(ROOT, Path(folder) / "0") as version:
        for case in CASES[-1:] if quick else CASES:
            version.database.set_commit_delay(case.commit_delay_ms)
            with version.servers(case.processes) as servers:
                rows.append(measure(version, servers, case, FEW_PAUSES if quick else PAUSES))
    print_table("Pauses beside purchases", rows)
    if not quick:
        console.print(f"written to {write_json('pauses', rows)}")


if __name__ == "__main__":
    main()
