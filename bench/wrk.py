"""wrk as the load generator. It is light, so that the machine is left to the server."""

import json
import subprocess
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from bench.servers import Process

SCRIPT = Path(__file__).with_name("purchase.lua")


@dataclass(frozen=True)
class Load:
    """What wrk counted. Latencies are in milliseconds; `lost` are requests without an answer."""

    seconds: float
    confirmed: int
    sold_out: int
    busy: int
    other: int
    attempts: int
    most_attempts: int
    lost: int
    p50: float
    p95: float
    p99: float
    max: float
    quantiles: list[list[float]]
    """Pairs of a percent and its latency, up to 100 percent."""
    order_ids: frozenset[str]

    @property
    def answered(self) -> int:
        return self.confirmed + self.sold_out + self.busy + self.other


def purchases(server: Process, product_id: str, buyers: int, seconds: int, log: Path, *, held: bool = False) -> Load:
    """Let `buyers` purchase one unit after the other for some seconds, each purchase with a name and key of its own.
    The operator sends them, if the server has one. `held`: the product's orders are held, and count as confirmed."""
    prefix = uuid.uuid4().hex[:8]
    command = ["wrk", "-t1", f"-c{buyers}", f"-d{seconds}s", "--timeout", "60s", "-s", str(SCRIPT), server.url]
    orders = log / prefix
    finished = subprocess.run(
        [*command, "--", product_id, prefix, str(orders), server.token, "held" if held else ""],
        check=True,
        capture_output=True,
        text=True,
    )
    counted = next(line[5:] for line in finished.stdout.splitlines() if line.startswith("JSON "))
    lines = orders.with_name(f"{prefix}.0").read_text(encoding="ascii").split()
    return Load(**json.loads(counted), order_ids=frozenset(lines))


def side_by_side(
    servers: Sequence[Process], product_id: str, buyers: Sequence[int], seconds: int, log: Path
) -> tuple[Load, ...]:
    """Let the buyers of several servers purchase the same product at the same time, with a wrk for each server."""
    with ThreadPoolExecutor(len(servers)) as pool:
        running = [
            pool.submit(purchases, server, product_id, count, seconds, log)
            for server, count in zip(servers, buyers, strict=True)
        ]
        return tuple(load.result() for load in running)


def percentile(loads: Sequence[Load], percent: float) -> float:
    """A percentile of the latencies of several loads together, in milliseconds.

    wrk prints no single latencies. Those between two printed quantiles count with the upper one, so that the result is
    too large rather than too small.
    """
    weighted: list[tuple[float, float]] = []
    for load in loads:
        below = 0.0
        for upto, latency in load.quantiles:
            weighted.append((latency, (upto - below) / 100 * load.answered))
            below = upto
    left = percent / 100 * sum(weight for _, weight in weighted)
    for latency, weight in sorted(weighted):
        left -= weight
        if left <= 1e-6:
            return latency
    return 0.0
