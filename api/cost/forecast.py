"""What a drop will cost, from its size and from how the servers work."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from api.cost.bill import Bill, Line
from api.cost.formulas import LEAST_BYTES, read_dpu, write_dpu
from api.database.monitor import RegionTimes
from api.drops.parcels import MAX_PARCEL
from api.drops.shards import DEFAULT_SHARDS
from api.drops.stock import PollingTimes

EVENT_BYTES = 460
"""Of one event, in the outbox and in the table of events. Measured with names of usual length."""

WRITE_SECONDS = 0.010
READ_SECONDS = 0.001
"""Compute of a transaction that writes, and of one that only reads: 1 s is one ComputeDPU. Assumed: AWS publishes no
figures, and its metric ComputeDPU shows them for a cluster."""

LOOK_FOR_HOLDS, LOOK_FOR_EVENTS, LOOK_FOR_PARCELS = 3.25, 2.33, 1.0
"""Seconds between two looks of a process for holds that run out, for events to move, and for events to send."""

ACTIVITY_EVERY, ACTIVITY_BYTES = 2.0, 600
"""Seconds between two rows of activity of a product in one process, while it sells, and the bytes of a row. It has an
index entry, and the row of the process is written with it."""

HEARTBEAT_EVERY, HEARTBEAT_BYTES = 5.0, 1_000
"""Seconds between two writes of the row of a process while nothing sells, and the bytes of the row."""

MONTH = 730.0
"""Hours."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A drop of one product, as it is expected.

    `orders`: purchases that get units. `purchases`: all that are sent. `regions`: of the cluster. `holds`: whether
    units are held until they are paid; the share `lapsed` is not. `limit`: whether a buyer has a limit. `group`:
    purchases in one transaction. `watched`: whether pages watch the stock. `processes` serve for `hours`, in which the
    product sells.
    """

    orders: int
    purchases: int
    regions: int = 2
    holds: bool = False
    lapsed: float = 0.1
    limit: bool = False
    group: int = 50
    watched: bool = True
    processes: int = 2
    hours: float = 1.0
    events: bool = False
    webhook: bool = False
    price: float = 8.0
    storage_price: float = 0.33


def forecast(plan: Plan) -> Bill:
    """The bill of a drop."""
    lines = [line for line in (*_sales(plan), *_events(plan), *_while_it_runs(plan)) if line.transactions]
    entries = 3  # the row and its two index entries that stay
    stored = plan.orders * (entries + plan.limit) * LEAST_BYTES + _event_count(plan) * EVENT_BYTES
    return Bill(lines, plan.price, stored, plan.storage_price, list(_assumptions(plan)))


def idle_month(plan: Plan) -> float:
    """DPU of a month in which the processes run and nobody buys or watches."""
    idle = replace(plan, orders=0, purchases=0, watched=False, hours=MONTH)
    beats = MONTH * 3600 * plan.processes / HEARTBEAT_EVERY
    heartbeats = _written("heartbeats of the processes", beats, 1, HEARTBEAT_BYTES, idle, reads=0, shard=False)
    return sum(line.dpu for line in (*_reads_while_it_runs(idle), heartbeats))


def _sales(plan: Plan) -> Iterator[Line]:
    order = LEAST_BYTES * (3 + plan.holds + plan.limit) + EVENT_BYTES * plan.events
    reads = 1 + plan.limit
    yield _written("purchases that get units", plan.orders, plan.group, order, plan, reads)
    refused = max(0, plan.purchases - plan.orders)
    yield _read("purchases that get none", refused, -(-refused // plan.group), plan, reads * plan.group)
    if plan.holds:
        changed = LEAST_BYTES * 2 + EVENT_BYTES * plan.events
        yield _written("payments", plan.orders - _lapses(plan), 1, changed, plan, reads, shard=False)
        lapsed = changed + LEAST_BYTES * plan.limit
        yield _written("holds that lapse", _lapses(plan), min(plan.group, 100), lapsed, plan, reads)


def _events(plan: Plan) -> Iterator[Line]:
    if not plan.events:
        return
    count = _event_count(plan)
    yield _written("events that are numbered", count, plan.group, EVENT_BYTES, plan, reads=4)
    if plan.webhook:
        parcels = -(-count // MAX_PARCEL)
        yield _written("parcels for the webhook", 2 * parcels, 1, 2 * LEAST_BYTES, plan, reads=MAX_PARCEL)


def _while_it_runs(plan: Plan) -> Iterator[Line]:
    """What the processes do while the product sells, beside selling it."""
    yield from _reads_while_it_runs(plan)
    rows = plan.hours * 3600 * plan.processes / ACTIVITY_EVERY
    size = ACTIVITY_BYTES + LEAST_BYTES + HEARTBEAT_BYTES
    yield _written("activity of the product and the processes", rows, 1, size, plan, reads=DEFAULT_SHARDS, shard=False)


def _reads_while_it_runs(plan: Plan) -> Iterator[Line]:
    """What the processes read whether anybody buys or not."""
    seconds = plan.hours * 3600 * plan.processes
    if plan.watched:
        polls = seconds / PollingTimes().interval
        yield _read("readings of the watched stock", polls, polls, plan, DEFAULT_SHARDS)
    if plan.regions > 1:
        pings = seconds / RegionTimes().ping_interval * plan.regions
        yield _read("pings of the endpoints", pings, pings, plan, 0)
    looks = seconds / LOOK_FOR_HOLDS
    looks += seconds / LOOK_FOR_EVENTS if plan.events else 0
    looks += seconds / LOOK_FOR_PARCELS if plan.webhook else 0
    yield _read("looks for work that is due", looks, looks, plan, 1)


def _lapses(plan: Plan) -> int:
    return round(plan.orders * plan.lapsed) if plan.holds else 0


def _event_count(plan: Plan) -> int:
    """A hold, and its payment or its end: two events. An order that is final at once has one."""
    return plan.orders * (1 + plan.holds) if plan.events else 0


def _written(
    what: str, times: float, together: int, size: float, plan: Plan, reads: int, *, shard: bool = True
) -> Line:
    """A line of transactions of up to `together` items, which write `size` bytes and read `reads` rows for each, and a
    shard if `shard`."""
    whole, rest = divmod(times, together)
    stock = LEAST_BYTES if shard else 0
    written = whole * write_dpu(together * size + stock) + (write_dpu(rest * size + stock) if rest else 0)
    transactions = whole + (1 if rest else 0)
    read = transactions * read_dpu((1 + DEFAULT_SHARDS * shard + together * reads) * LEAST_BYTES)
    return Line(what, times, transactions, written * plan.regions, read, transactions * WRITE_SECONDS)


def _read(what: str, times: float, transactions: float, plan: Plan, rows: int) -> Line:
    """A line of transactions that read `rows` rows each, and the product."""
    read = transactions * read_dpu((1 + rows) * LEAST_BYTES)
    return Line(what, times, transactions, 0.0, read, transactions * READ_SECONDS)


def _assumptions(plan: Plan) -> Iterator[str]:
    yield f"{plan.group} purchases in each transaction; dropzero cost --product shows what a drop had"
    yield f"{plan.purchases:,} purchases in all, for {plan.orders:,} orders"
    if plan.holds:
        yield f"{plan.lapsed:.0%} of the holds lapse; every payment comes alone"
    yield "no row or index entry has more than 128 bytes: a userRef has up to 50 characters"
    yield f"each of {plan.processes} processes runs for {plan.hours:g} h, and the product sells all the time"
    yield f"{WRITE_SECONDS * 1000:g} ms of compute for a transaction that writes, {READ_SECONDS * 1000:g} ms for a read"
    if plan.events:
        yield f"an event has {EVENT_BYTES} bytes; deleted rows of events cost nothing"
    yield f"{plan.price:g} USD for a million DPU, {plan.storage_price:g} USD for a GB and month"
