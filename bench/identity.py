"""What identity costs: the server's processor time for a purchase without a token, and with each kind of token.

    python -m bench.identity            about two minutes
    python -m bench.identity --quick    a few purchases of each kind

One server on an embedded PostgreSQL answers all of them. Anonymous callers may name any buyer there. A token is *seen
before* when its caller has bought before, as a storefront's buyers have; *new* is another token for each purchase, as
at the opening of a drop.
"""

import argparse
import signal
import statistics
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from api.identity.guests import GuestTokens
from bench import metrics
from bench.database import Database
from bench.products import new_product
from bench.report import console, print_table, write_json
from bench.servers import Process, dropzero
from bench.sign_in import SignIn, sign_in

SCRIPT = Path(__file__).with_name("identity.lua")
GUEST_KEY = "the-key-of-guest-tokens-of-a-bench"
BUYERS = 50
PURCHASES, ROUNDS = 6_000, 5
QUICK_PURCHASES, QUICK_ROUNDS = 300, 1
LIMIT_SECONDS = 120
ENOUGH = "ENOUGH\n"
"""What wrk writes when it has all answers."""
SEEN, NEW = "seen before", "new"
MOST = {SEEN: 1.1, NEW: 1.4}
"""The most that a purchase with a token may cost, as a multiple of one without."""


@dataclass(frozen=True)
class Kind:
    """A kind of purchase. `token` makes a token, an empty one for a caller without; `seen` is SEEN, NEW, or empty.
    `named`: the purchase names its buyer."""

    name: str
    seen: str
    token: Callable[[], str]
    named: bool = False

    def tokens(self, purchases: int) -> list[str]:
        """The tokens for a load. wrk sends at most BUYERS purchases more than it is to send."""
        return [self.token() for _ in range(purchases + BUYERS if self.seen == NEW else BUYERS)]


def kinds(server: Process, issuer: SignIn) -> list[Kind]:
    guests = GuestTokens([GUEST_KEY])

    def guest() -> str:
        return guests.issue(time.time()).token

    return [
        Kind("no token", "", lambda: "", named=True),
        Kind("operator", SEEN, lambda: server.token, named=True),
        Kind("guest", SEEN, guest),
        *(Kind(f"issuer, {name}", SEEN, partial(issuer.token, name)) for name in issuer.keys),
        Kind("guest", NEW, guest),
        *(Kind(f"issuer, {name}", NEW, partial(issuer.token, name)) for name in issuer.keys),
    ]


def load(server: Process, product_id: str, kind: Kind, tokens: Sequence[str], purchases: int, log: Path) -> None:
    """Send purchases with wrk. Ends the bench if one is not confirmed."""
    prefix, file = uuid.uuid4().hex[:8], log / "tokens"
    file.write_text("".join(f"{token}\n" for token in tokens), encoding="ascii")
    command = ["wrk", "-t1", f"-c{BUYERS}", f"-d{LIMIT_SECONDS}s", "--timeout", "60s", "-s", str(SCRIPT), server.url]
    arguments = [product_id, prefix, str(file), str(purchases), "named" if kind.named else "own"]
    with subprocess.Popen([*command, "--", *arguments], stdout=subprocess.PIPE, text=True) as wrk:
        if wrk.stdout is None:
            raise AssertionError("it is a pipe")
        lines = []
        for line in wrk.stdout:
            lines.append(line)
            if line == ENOUGH:
                wrk.send_signal(signal.SIGINT)
    wrong = [line for line in lines if line.startswith("OTHER ")]
    if wrong:
        raise SystemExit(f"{kind.name}: {wrong[0]}")
    if wrk.returncode or ENOUGH not in lines:
        raise SystemExit(f"{kind.name}: wrk ended with status {wrk.returncode}, and before all purchases were answered")


def measure(server: Process, database: Database, kind: Kind, tokens: list[str], purchases: int, log: Path) -> float:
    """The server's microseconds for one purchase."""
    product_id = new_product(server)
    if kind.seen != NEW:  # once each, so that they have been seen, and as many without a token
        load(server, product_id, kind, tokens, BUYERS * 2, log)
    metrics.drain([server])
    sold, cpu = len(database.order_ids(product_id)), server.cpu_seconds()
    load(server, product_id, kind, tokens, purchases, log)
    metrics.drain([server])
    cpu = server.cpu_seconds() - cpu
    return cpu / (len(database.order_ids(product_id)) - sold) * 1e6


def run(purchases: int, rounds: int) -> list[dict[str, Any]]:
    """Measure all kinds, one after the other, in each round in the opposite order."""
    with tempfile.TemporaryDirectory() as folder, sign_in() as issuer:
        database = Database(Path(folder) / "data")
        with dropzero(database.data, DROPZERO_GUEST_KEY=GUEST_KEY, **issuer.environment()) as server:
            measured = kinds(server, issuer)
            cost: dict[tuple[str, str], list[float]] = {(kind.name, kind.seen): [] for kind in measured}
            measure(server, database, measured[0], measured[0].tokens(purchases), purchases, Path(folder))  # warms up
            for number in range(rounds):
                tokens = [kind.tokens(purchases) for kind in measured]
                order = list(zip(measured, tokens, strict=True))[:: -1 if number % 2 else 1]
                for kind, own in order:
                    microseconds = measure(server, database, kind, own, purchases, Path(folder))
                    cost[kind.name, kind.seen].append(microseconds)
                    console.print(f"{kind.name} {kind.seen}: {microseconds:,.0f} us", highlight=False)
    return [_row(kind, cost[kind.name, kind.seen], cost["no token", ""]) for kind in measured]


def _row(kind: Kind, costs: Sequence[float], without: Sequence[float]) -> dict[str, Any]:
    ratio = statistics.median(costs) / statistics.median(without)
    most = MOST.get(kind.seen)
    return {
        "caller": kind.name,
        "token": kind.seen or "none",
        "server_us_per_purchase": statistics.median(costs),
        "least_us": min(costs),
        "most_us": max(costs),
        "of_no_token": ratio,
        "allowed": "" if most is None else most,
        "holds": "" if most is None else "yes" if ratio <= most else "no",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_PURCHASES} purchases of each kind")
    quick = parser.parse_args().quick
    rows = run(*((QUICK_PURCHASES, QUICK_ROUNDS) if quick else (PURCHASES, ROUNDS)))
    print_table(f"What a purchase costs the server, {BUYERS} buyers", rows)
    if not quick:
        console.print(f"written to {write_json('identity', rows)}")


if __name__ == "__main__":
    main()
