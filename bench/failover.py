"""Losing the home Region under load, and what connecting costs the event loop.

    python -m bench.failover

Purchases come at a fixed rate and name no Region; latency is from the moment a purchase was due. The Regions are two
stand-ins for Aurora DSQL in a process of their own, whose commits take 20 ms. Needs the extras `local` and `test`.
"""

import asyncio
import os
import subprocess
import sys
import time
from collections import Counter
from typing import IO, Any

from api.client.load import percentile
from api.database.connect import Connector
from api.database.endpoint import DsqlAddress, Endpoint
from api.database.errors import DatabaseError
from api.database.pool import Pool
from api.database.regions import Regions
from api.database.retry import RetryBudget
from api.database.tokens import AuthTokens
from api.drops.audit import audit
from api.drops.drops import Drops
from api.drops.group_policy import GroupPolicy
from api.drops.new_product import NewProduct, create_product
from api.drops.requests import Purchase
from api.drops.stock import PollingTimes
from bench.report import print_table, write_json
from bench.stand_in import REGIONS
from tests.dsql.token import CREDENTIALS

RATE = 300
SECONDS = 12.0
LOST_AT, BACK_AT = 3.0, 8.0
SWITCH = 3.0
"""Seconds after the loss that are reported as the switch."""

CONNECTIONS = 100


async def lose_home(urls: list[str], behind_url: str, commands: IO[str], fault: str) -> dict[str, Any]:
    regions = Regions(tuple(map(Endpoint, REGIONS, urls)), connections=10)
    drops = Drops(regions, GroupPolicy(), RetryBudget(), PollingTimes())
    await drops.open()
    await regions.warm_up(3)
    async with Pool(Endpoint("behind", behind_url), size=1) as behind:
        new = NewProduct.checked(name="Tee", drop_name="Failover", stock=10**6, limit_per_buyer=None, opens_at=None)
        product_id = (await create_product(behind, new)).id
        answers: list[tuple[float, float, str]] = []
        start = time.perf_counter() + 0.2

        async def buy(number: int, due: float) -> None:
            wish = Purchase.checked(product_id=product_id, user_ref=f"buyer-{number}", quantity=1)
            try:
                outcome = await drops.purchase(wish, None)
                ended = f"{type(outcome.decision).__name__} {outcome.region}"
            except DatabaseError as error:
                ended = f"error {type(error).__name__}"
            answers.append((due - start, (time.perf_counter() - due) * 1000, ended))

        async def weather() -> None:
            await asyncio.sleep(start + LOST_AT - time.perf_counter())
            print(fault, file=commands, flush=True)
            await asyncio.sleep(start + BACK_AT - time.perf_counter())
            print("up", file=commands, flush=True)

        async with asyncio.TaskGroup() as group:
            group.create_task(weather())
            for number in range(int(RATE * SECONDS)):
                due = start + number / RATE
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                group.create_task(buy(number, due))
        balanced = all(line.balanced for line in await audit(behind))
    await drops.close(grace=5)
    calm = [latency for due, latency, _ in answers if due < LOST_AT - 0.5]
    switch = [latency for due, latency, _ in answers if LOST_AT - 0.1 <= due < LOST_AT + SWITCH]
    ended = Counter(ended for *_, ended in answers)
    return {
        "fault": fault,
        "purchases": len(answers),
        "errors": sum(count for end, count in ended.items() if not end.startswith("Confirmed")),
        "through_the_peer": ended[f"Confirmed {REGIONS[1]}"],
        "calm_p99_ms": percentile(calm, 99),
        "switch_p50_ms": percentile(switch, 50),
        "switch_p99_ms": percentile(switch, 99),
        "switch_max_ms": max(switch),
        "balanced": balanced,
    }


async def connect_many(url: str) -> dict[str, Any]:
    """Open connections one after the other, while a ticker records how late the event loop is."""
    tokens, late, done = AuthTokens(), list[float](), asyncio.Event()
    endpoint = Endpoint(REGIONS[0], url)
    connector = Connector(endpoint, tokens)
    (await connector.connect()).terminate()  # makes the client and reads the certificate authorities, as a start does

    async def tick() -> None:
        while not done.is_set():
            begun = time.perf_counter()
            await asyncio.sleep(0.001)
            late.append((time.perf_counter() - begun - 0.001) * 1000)

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(1)
    idle, late = late, []
    begun = time.perf_counter()
    address = endpoint.dsql or DsqlAddress("")
    for _ in range(CONNECTIONS):
        await tokens.token(REGIONS[0], address)
    signing, late = late, []
    signing_ms = (time.perf_counter() - begun) * 1000 / CONNECTIONS
    for _ in range(CONNECTIONS):
        (await connector.connect()).terminate()
    done.set()
    await ticking
    return {
        "signing_ms": signing_ms,
        "late_idle_max_ms": max(idle),
        "late_signing_max_ms": max(signing),
        "late_connecting_p99_ms": percentile(late, 99),
        "late_connecting_max_ms": max(late),
    }


def main() -> None:
    os.environ.update(CREDENTIALS)
    with subprocess.Popen(
        [sys.executable, "-m", "bench.stand_in"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as regions:
        if regions.stdin is None or regions.stdout is None:
            raise AssertionError("they are pipes")
        home, peer, behind_url = regions.stdout.readline().split()
        connecting = asyncio.run(connect_many(home))
        losses = [asyncio.run(lose_home([home, peer], behind_url, regions.stdin, fault)) for fault in ("down", "hang")]
        regions.stdin.close()
    print_table("Connecting", [connecting])
    print_table("Losing the home Region", losses)
    write_json("connecting", [connecting])
    write_json("failover", losses)


if __name__ == "__main__":
    main()
