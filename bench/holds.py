"""Holds: what they cost purchases, and how fast 100,000 of them end while purchases go on.

    python -m bench.holds              everything, about 3 minutes
    python -m bench.holds --quick      one round, and 10,000 holds; nothing is written

50 buyers purchase a product whose purchases are final at once, and one whose purchases are held, in turns on the same
server. Then so many holds of a product, made by the bench, run out within 10 s, while 50 buyers purchase that product:
their rate is compared with the rate before. Every answer is compared with the table of orders.
"""

import argparse
import asyncio
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg

from bench import wrk
from bench.database import Database
from bench.products import new_product
from bench.report import console, print_table, write_json
from bench.servers import Process
from bench.version import ROOT, Version, prepared

BUYERS = 50
SECONDS = 6
SHORT = 2
"""Seconds for which the buyers purchase, again and again, while holds run out."""

ROUNDS = 5
HOLDS, FEW_HOLDS = 100_000, 10_000
SPREAD = 10.0
"""Seconds in which the holds run out."""

LEAD = 5.0
"""Seconds from the making of the holds to the first that runs out."""

HOLD_SECONDS = 3600
PATIENCE = 120.0
"""Seconds until the bench stops waiting for the last hold to end."""

# The clock starts once the holds are there, as making them takes seconds.
_MAKE = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region, held_until)
SELECT gen_random_uuid(), $1, 'holder-' || number, 1, 'CONFIRMED', 'us-east-1', now() + interval '1 day'
FROM generate_series(1, $2::integer) AS number
"""
_STOCK = "UPDATE stock_shards SET stocked = stocked + $2, version = version + 1 WHERE product_id = $1 AND shard = 0"
_START = """
UPDATE orders SET held_until = now() + make_interval(secs => $2::float8 + $3::float8 * random())
WHERE product_id = $1 AND held_until IS NOT NULL
"""
_ANY_HELD = "SELECT EXISTS (SELECT FROM orders WHERE held_until IS NOT NULL)"


@contextmanager
def running() -> Iterator[tuple[Version, Process]]:
    """A server on a database of its own."""
    with (
        tempfile.TemporaryDirectory() as folder,
        prepared(ROOT, Path(folder) / "0") as version,
        version.server("-m", "api") as server,
    ):
        yield version, server


def sell(server: Process, product_id: str, *, held: bool, seconds: int = SECONDS) -> wrk.Load:
    """Let the buyers purchase a product for some seconds. Ends the bench at an error."""
    with tempfile.TemporaryDirectory() as log:
        load = wrk.purchases(server, product_id, BUYERS, seconds, Path(log), held=held)
    if load.other or load.lost:
        raise SystemExit(f"{load.other + load.lost} purchases failed")
    return load


def cost(version: Version, server: Process, rounds: int) -> list[dict[str, Any]]:
    """Purchases per second with holds and without, in turns; of each, the round with the median rate."""
    rates: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
    for _ in range(rounds):
        for held, found in rates.items():
            product_id = new_product(server, hold_seconds=HOLD_SECONDS if held else None)
            cpu = server.cpu_seconds()
            load = sell(server, product_id, held=held)
            cpu = (server.cpu_seconds() - cpu) / load.confirmed * 1e6
            version.database.check_books(product_id, load.order_ids, in_flight=BUYERS)
            found.append((load.confirmed / load.seconds, load.p99, cpu))
    medians = {held: sorted(found)[rounds // 2] for held, found in rates.items()}
    return [
        {
            "purchases are": "held" if held else "final at once",
            "purchases_per_s": rate,
            "of_final": rate / medians[False][0],
            "p99_ms": p99,
            "server_us_per_purchase": cpu,
        }
        for held, (rate, p99, cpu) in medians.items()
    ]


def run_out(version: Version, server: Process, holds: int) -> list[dict[str, Any]]:
    """Let the holds of a product run out while it is sold."""
    product_id = new_product(server)
    make_holds(version.database, product_id, holds)
    sell(server, product_id, held=False)  # the first purchases of a product are slower
    before = [sell(server, product_id, held=False, seconds=SHORT) for _ in range(SECONDS // SHORT)]
    start_clock(version.database, product_id)
    time.sleep(LEAD)
    begun = time.monotonic()
    ended: list[float] = []
    watching = threading.Thread(target=lambda: ended.append(wait_for_end(version.database, begun)))
    watching.start()
    loads: list[wrk.Load] = []
    while watching.is_alive():
        loads.append(sell(server, product_id, held=False, seconds=SHORT))
    watching.join()
    rates = [sum(load.confirmed for load in each) / sum(load.seconds for load in each) for each in (before, loads)]
    return [
        {
            "holds": holds,
            "ended_after_s": ended[0],
            "purchases_per_s_before": rates[0],
            "purchases_per_s_while_ending": rates[1],
            "of_before": rates[1] / rates[0],
            "p99_ms_before": wrk.percentile(before, 99),
            "p99_ms_while_ending": wrk.percentile(loads, 99),
        }
    ]


def make_holds(database: Database, product_id: str, holds: int) -> None:
    """Make holds that do not run out yet, of units that are put in for them."""

    async def make(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        async with connection.transaction():
            await connection.execute(_STOCK, product_id, holds)
            await connection.execute(_MAKE, product_id, holds)
        await connection.execute("VACUUM ANALYZE orders")

    database.run(make)


def start_clock(database: Database, product_id: str) -> None:
    """Let the holds run out within SPREAD, from LEAD on."""

    async def start(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        await connection.execute(_START, product_id, LEAD, SPREAD)

    database.run(start)


def wait_for_end(database: Database, begun: float) -> float:
    """Wait until no order is held. Returns the seconds since `begun`, when the first hold ran out."""

    async def wait(connection: "asyncpg.Connection[asyncpg.Record]") -> float:
        while time.monotonic() - begun < PATIENCE:
            if not await connection.fetchval(_ANY_HELD):
                return time.monotonic() - begun
            await asyncio.sleep(0.25)
        raise SystemExit(f"after {PATIENCE:g} s there are still holds")

    return database.run(wait)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round and 10,000 holds; nothing is written")
    quick = parser.parse_args().quick
    with running() as (version, server):
        costs = cost(version, server, 1 if quick else ROUNDS)
    print_table("What holds cost", costs)
    with running() as (version, server):
        ends = run_out(version, server, FEW_HOLDS if quick else HOLDS)
    print_table("Holds that run out within 10 s", ends)
    if not quick:
        console.print(f"written to {write_json('holds', [*costs, *ends])}")


if __name__ == "__main__":
    main()
