"""One row of the table: a server of its own, honest buyers, and an attack in their midst."""

import asyncio
import json
import signal
import time
from collections import Counter
from dataclasses import dataclass
from os import kill
from pathlib import Path
from typing import Any

import uvloop

from bench.abuse import books, guests, steps
from bench.abuse.attack import Attack, Tally, Target
from bench.abuse.attacker import attacker
from bench.abuse.buyers import Buyers, Window, buyers
from bench.servers import Process
from bench.version import Version

WARM_UP = 1.0
RECOVERED = 0.8
"""The server counts as recovered at this share of the purchases before the attack."""

RECOVERY_TIMEOUT = 15.0
MOST_STEP_MS = 5.0
LEFT_BESIDE_ONE, LEFT_BESIDE_MANY = 0.8, 0.5
"""The least shares of purchases that honest buyers must keep, beside one hostile connection and beside many."""

ANSWERS_SHOWN = 3
STEPS_TIMEOUT = 20.0
STEP_RUNS = 3
FEW_STEPS = 2
"""Up to this many long steps in a run may be the machine's. A virtual machine that is not scheduled for 20 ms counts
them as CPU time of the running process. The run is then repeated."""


@dataclass(frozen=True)
class Times:
    """Seconds before the attack, during it, after it, and during a second attack for the longest step."""

    before: float = 3.0
    under: float = 4.0
    after: float = 3.0
    steps: float = 3.0


@dataclass(frozen=True)
class Bench(Version):
    """The version under attack, and how it is measured."""

    times: Times
    most_per_s: float
    """Purchases that the honest buyers make at most, all together."""

    def environment(self) -> dict[str, str]:
        """The settings of production, with guests."""
        return {**super().environment(), "DROPZERO_GUEST_KEY": guests.KEY}


def measure(bench: Bench, attack: Attack) -> dict[str, Any]:
    """Measure the row of one attack. Its `objection` is empty if the books balance."""
    with bench.server("-m", "api") as server:  # not the measured one, whose memory begins with the row
        product_id, sold_out_id, others = books.seed(server, bench.database, attack.seeds)
        with_guests = guests.has_guests(server)

    def target(server: Process) -> Target:
        return Target("127.0.0.1", int(server.url.rpartition(":")[2]), product_id, sold_out_id, others, with_guests)

    with bench.server("-m", "api") as server, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        row, crowd = runner.run(_shares(bench, attack, server, target(server)))
    row["log_lines"] = (bench.folder / "server.log").read_bytes().count(b"\n")
    confirmed, lost = crowd.order_ids, crowd.lost
    runs: list[dict[str, Any]] = []
    while not runs or (len(runs) < STEP_RUNS and 0 < runs[-1]["over_5_ms"] <= FEW_STEPS):
        written = bench.folder / f"steps-{len(runs)}.json"
        written.unlink(missing_ok=True)
        with (
            bench.server(steps.__file__, str(written)) as server,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            crowd = runner.run(_steps(bench, attack, server, target(server)))
            _wait_for(written)
        confirmed |= crowd.order_ids
        lost += crowd.lost
        runs.append(json.loads(written.read_text(encoding="utf-8")))
    row |= _longest(runs)
    row["objection"] = books.objection(bench.database, product_id, confirmed, lost) or bench.audit()
    return {**row, "verdict": verdict(attack, row)}


def verdict(attack: Attack, row: dict[str, Any]) -> str:
    """`holds`, or what does not hold."""
    least = LEFT_BESIDE_MANY if attack.connections > 1 else LEFT_BESIDE_ONE
    wrong = []
    if row["left"] < least:
        wrong.append(f"< {least:.0%}")
    if row["step_ms"] > MOST_STEP_MS:
        wrong.append(f"step > {MOST_STEP_MS:g} ms")
    if row["objection"]:
        wrong.append("books")
    return ", ".join(wrong) or "holds"


async def _shares(bench: Bench, attack: Attack, server: Process, target: Target) -> tuple[dict[str, Any], Buyers]:
    times = bench.times
    memory_at_start = server.memory_mib()
    async with buyers(server.url, target, bench.most_per_s) as crowd:
        with attacker(attack, target) as attacking:
            await asyncio.sleep(WARM_UP)
            cpu = server.cpu_seconds()
            before = await crowd.window(times.before)
            busy = (server.cpu_seconds() - cpu) / times.before
            memory = server.memory_mib()
            await attacking.begin()
            under = await crowd.window(times.under)
            tally = await attacking.end()
            memory_at_end = server.memory_mib()
        recovery = await _recover(crowd, before)
        after = await crowd.window(times.after)
    alone = (before.per_s + after.per_s) / 2
    return {
        "attack": attack.name,
        "sends": attack.sends,
        "connections": attack.connections,
        "left": under.per_s / alone if alone else 0.0,
        "before_per_s": before.per_s,
        "under_per_s": under.per_s,
        "after_per_s": after.per_s,
        "p99_before_ms": before.p99,
        "p99_under_ms": under.p99,
        "unsold": _words(before.unsold + under.unsold + after.unsold),
        **_attack_figures(tally, times.under),
        "recovery_s": recovery,
        "server_cpu_before": busy,
        "memory_at_start_mib": memory_at_start,
        "memory_before_mib": memory,
        "memory_at_end_mib": memory_at_end,
        "memory_peak_mib": server.peak_memory_mib(),
        "memory_after_mib": server.memory_mib(),
    }, crowd


async def _recover(crowd: Buyers, before: Window) -> float:
    """Wait until the buyers have nearly as many purchases as before the attack. Returns the seconds that it took, or
    RECOVERY_TIMEOUT if it did not happen."""
    begun = time.perf_counter()
    while (waited := time.perf_counter() - begun) < RECOVERY_TIMEOUT:
        if (await crowd.window(0.5)).per_s >= RECOVERED * before.per_s:
            return round(waited, 1)
    return RECOVERY_TIMEOUT


def _attack_figures(tally: Tally, seconds: float) -> dict[str, Any]:
    return {
        "attack_per_s": tally.sent / seconds,
        "attack_answers_per_s": tally.answers.total() / seconds,
        "attack_kib_per_s": tally.sent_bytes / seconds / 1024,
        "attack_connections": tally.connections,
        "attack_cpu": tally.cpu / seconds,
        "answers": _words(tally.answers),
    }


def _words(counts: Counter[str]) -> str:
    """The most frequent answers, with their numbers."""
    shown = [f"{count:,} x {name}" for name, count in counts.most_common(ANSWERS_SHOWN)]
    return "; ".join(shown + ["..."] * (len(counts) > ANSWERS_SHOWN))


async def _steps(bench: Bench, attack: Attack, server: Process, target: Target) -> Buyers:
    """Attack a server that times its steps, among as many buyers."""
    async with buyers(server.url, target, bench.most_per_s) as crowd:
        with attacker(attack, target) as attacking:
            await asyncio.sleep(WARM_UP)
            kill(server.pid, signal.SIGUSR1)
            await attacking.begin()
            await asyncio.sleep(bench.times.steps)
            await attacking.end()
        await asyncio.sleep(WARM_UP)  # the work after the attacker has left counts too
        kill(server.pid, signal.SIGUSR2)
    return crowd


def _wait_for(written: Path) -> None:
    deadline = time.monotonic() + STEPS_TIMEOUT
    while not written.exists():
        if time.monotonic() > deadline:
            raise SystemExit(f"the server did not write its steps within {STEPS_TIMEOUT:g} s")
        time.sleep(0.05)


def _longest(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The figures of the run whose longest step is the shortest. The effect of an attack is in every run."""
    report = min(runs, key=lambda run: run["longest"][0]["ms"] if run["longest"] else 0.0)
    longest: dict[str, Any] = report["longest"][0] if report["longest"] else {"ms": 0.0, "callback": "", "in": []}
    return {
        "step_ms": longest["ms"],
        "step": longest["callback"],
        "step_in": "; ".join(longest["in"]),
        "step_runs": len(runs),
        "steps": report["steps"],
        "steps_over_5_ms": report["over_5_ms"],
        "collection_ms": report["longest_collection_ms"],
        "longest_steps": report["longest"],
    }
