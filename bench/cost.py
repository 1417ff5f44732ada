"""What the writes of 1,000 orders cost on Aurora DSQL in two Regions, by its public formula.

    python -m bench.cost                     this checkout, about half a minute
    python -m bench.cost --before FOLDER     beside the checkout of an earlier version

The rows are counted by an embedded PostgreSQL that sells the orders, in groups of up to 500 and one by one. A product
has no limit per buyer, and another has one. Reads and compute are billed too; these figures are the writes alone.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from api.cost.formulas import write_dpu
from bench import metrics, written
from bench.client import purchase
from bench.database import Database
from bench.products import new_product
from bench.report import console, print_table, write_json
from bench.servers import Process
from bench.version import ROOT, Version, code_folder, prepared
from bench.written import Counts, Written

GROUPED, ONE_BY_ONE = 2_000, 200
"""Orders of a measurement."""

LIMIT = 2
"""Units that a buyer can hold of the product with a limit. Each buyer buys one."""

WAIT = 60.0
"""Seconds for all purchases to wait, for all answers, and for the counts of ended sessions."""

REGIONS = 2
USD_PER_DPU = 10 / 1e6
"""In Tokyo and Osaka. In us-east-1 a million DPU cost 8 USD."""

_WAITING = "dropzero_purchases_waiting"


def measure(version: Version, name: str, limit: int | None, grouped: bool) -> dict[str, Any]:
    """Sell one product, and count what was written for its orders."""
    # The counts of a session are complete when it has ended. So a server of its own creates the product.
    before = written.counts(version.database)
    with version.server("-m", "api") as server:
        product_id = new_product(server, limit=limit)
    before = _wait_for(version.database, "products", before["products"][0] + 1)
    switch = {} if grouped else {"DROPZERO_GROUP_COMMIT": "off"}
    with version.server("-m", "api", DROPZERO_DEADLINE_MS="60000", **switch) as server:
        selling = _sell_grouped(version.database, server, product_id) if grouped else _sell(server, product_id, 1)
        confirmed = asyncio.run(selling)
        transactions = metrics.by_label(server, "dropzero_purchase_transactions_total", "end")["sold"]
    _wait_for(version.database, "orders", before["orders"][0] + len(confirmed))
    version.database.check_books(product_id, confirmed, in_flight=0)
    tables = written.since(version.database, before)
    dpu = dpu_per_transaction(tables, transactions) * transactions / len(confirmed) * 1000 * REGIONS
    return {
        "version": name,
        "limit": str(limit or "none"),
        "sold": "in groups" if grouped else "one by one",
        "orders": len(confirmed),
        "orders_per_transaction": len(confirmed) / transactions,
        "rows_per_1000": sum(table.rows for table in tables) / len(confirmed) * 1000,
        "index_entries_per_1000": sum(table.entries for table in tables) / len(confirmed) * 1000,
        "billed_bytes_per_order": sum(table.bytes for table in tables) / len(confirmed),
        "write_dpu_per_1000": dpu,
        "usd_per_million": dpu * 1000 * USD_PER_DPU,
    }


def dpu_per_transaction(tables: Sequence[Written], transactions: int) -> float:
    """The WriteDPU of one of these transactions in one Region, if all wrote equally much."""
    return write_dpu(sum(table.bytes for table in tables) / transactions)


async def _sell_grouped(database: Database, server: Process, product_id: str) -> frozenset[str]:
    """Sell GROUPED units. The first transaction waits for a lock until all other purchases wait in the line, so that
    every machine sells in groups as large as they can be."""
    connection = await asyncpg.connect(database.url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE orders IN EXCLUSIVE MODE")
            selling = asyncio.create_task(_sell(server, product_id, GROUPED))
            await _until_waiting(server, GROUPED)
        return await selling
    finally:
        await connection.close()


async def _until_waiting(server: Process, purchases: int) -> None:
    async with asyncio.timeout(WAIT):
        while True:
            if await asyncio.to_thread(metrics.total, server.url, _WAITING, server.token) >= purchases:
                return
            await asyncio.sleep(0.1)


async def _sell(server: Process, product_id: str, at_a_time: int) -> frozenset[str]:
    """Sell GROUPED units at the same time, or ONE_BY_ONE one after the other, and return the ids of the orders."""
    numbers = iter(range(GROUPED if at_a_time > 1 else ONE_BY_ONE))
    confirmed: set[str] = set()
    timeout = aiohttp.ClientTimeout(total=2 * WAIT)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=timeout, headers=server.authorization
    ) as session:

        async def buyer() -> None:
            for _ in numbers:
                answer = await purchase(session, server.url, product_id, time.perf_counter())
                if answer.order_id is None:
                    raise SystemExit(f"a purchase was answered with {answer.status}")
                confirmed.add(answer.order_id)

        await asyncio.gather(*(buyer() for _ in range(at_a_time)))
    return frozenset(confirmed)


def _wait_for(database: Database, table: str, inserted: int) -> Counts:
    """Wait until the sessions that wrote to a table have ended, and return the counts. Ends the bench if rows were
    counted whose transaction was rolled back."""
    deadline = time.monotonic() + WAIT
    while (counts := written.counts(database))[table][0] < inserted:
        if time.monotonic() > deadline:
            raise SystemExit(f"PostgreSQL has not counted {inserted} rows of {table} within {WAIT:g} s")
        time.sleep(0.1)
    if counts[table][0] > inserted:
        raise SystemExit(f"transactions were rolled back: {counts[table][0] - inserted} rows of {table} are not stored")
    return counts


def run(code: Path, name: str) -> list[dict[str, Any]]:
    """Measure one version on an embedded PostgreSQL of its own."""
    with tempfile.TemporaryDirectory() as folder, prepared(code, Path(folder) / "version") as version:
        return [measure(version, name, limit, grouped) for limit in (None, LIMIT) for grouped in (True, False)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=code_folder, help="a folder with the code of an earlier version")
    asked = parser.parse_args()
    rows = [] if asked.before is None else run(asked.before, "before")
    rows += run(ROOT, "this")
    print_table(f"Writes of 1,000 orders in {REGIONS} Regions", rows)
    console.print(f"written to {write_json('cost', rows)}")


if __name__ == "__main__":
    main()
