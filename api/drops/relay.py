"""The relay: moves what happened from the outbox to the table `events`, and numbers it.

Positions have no gaps, and a lower one is never committed after a higher one. So a reader that has read the events up
to a position has missed none. Every process has a relay. Of two relays that number events at the same time, the later
one conflicts on the primary key of `events`, and nothing of it is stored.
"""

import asyncio
import logging
import random
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from uuid import UUID

import orjson

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import Conflict, DatabaseError
from api.database.pool import Record, Transaction
from api.drops.events import EventType, product_data
from api.drops.products import Product, get_products

logger = logging.getLogger("dropzero.events")

MAX_EVENTS = 1000
"""Events in one transaction, but for a single row of the outbox with more: a group has some 600 at most. Aurora DSQL
allows 3,000 changed rows, and 10 MiB. An event has half a kilobyte, and 4 kB with the longest names."""

MAX_ROWS = 500
"""Rows of the outbox that one transaction reads at most."""

_SOLD_OUT_NAMESPACE = uuid.UUID("8e0b7c52-1f64-5a0c-9a3e-5d1c7b0f4e29")
"""It must never change: the ids of all `product.sold_out` derive from it."""

_READ_AGE = "SELECT extract(epoch FROM now() - min(created_at))::float8 AS age FROM outbox"
_READ_OUTBOX = f"""
SELECT id, product_id, events, units, extract(epoch FROM now() - created_at)::float8 AS age,
    (SELECT coalesce(max(position), 0) FROM events) AS newest
FROM outbox ORDER BY created_at, id LIMIT {MAX_ROWS + 1}
"""
_MOVE = """
INSERT INTO events (position, id, type, occurred_at, product_id, order_id, data)
SELECT $1::bigint + row_number() OVER (ORDER BY outbox.created_at, outbox.id, happening.number),
    gen_random_uuid(), happening.event ->> 0, outbox.created_at, outbox.product_id,
    (happening.event ->> 1)::uuid, (happening.event -> 2)::text
FROM outbox CROSS JOIN LATERAL json_array_elements(outbox.happened::json) WITH ORDINALITY AS happening (event, number)
WHERE outbox.id = ANY($2::text[]::uuid[])
"""
_DELETE_MOVED = "DELETE FROM outbox WHERE id = ANY($1::text[]::uuid[])"
_PRODUCTS_LEFT = "SELECT DISTINCT product_id FROM outbox WHERE units > 0 AND NOT id = ANY($1::text[]::uuid[])"
_INSERT_SOLD_OUT = """
INSERT INTO events (position, id, type, occurred_at, product_id, data) VALUES ($1, $2, $3, now(), $4, $5)
"""


@dataclass(frozen=True, slots=True)
class RelayTimes:
    """When a relay looks at the outbox, in seconds.

    `gather`: from a commit of this process to the look of a relay that leads. What is committed meanwhile is moved
    together.
    `patience`: a relay that follows moves only what no other relay has moved for so long.
    `idle`: between two looks when this process commits nothing. A row that a killed process has left is found then.
    `backoff`: while the database is away.
    Each wait is jittered by a third, so that processes do not look in step.
    """

    gather: float = 0.075
    patience: float = 0.25
    idle: float = 2.0
    backoff: Backoff = field(default=Backoff(base=0.25, cap=5.0))


@dataclass(frozen=True, slots=True)
class Move:
    """What one transaction has moved. `complete`: nothing was left in the outbox of its snapshot."""

    events: int
    complete: bool


class Relay:
    """Moves the rows of the outbox, from `start` to `close`.

    One relay leads, as a rule: it moves what all processes have written, soon after a commit of its own. The others
    follow: they look whether a row has waited. A relay leads from the first row that it has moved until another relay
    moves faster. So relays seldom conflict, however many there are, and none depends on another one.
    """

    def __init__(self, database: Database, moved: Callable[[], None], times: RelayTimes = RelayTimes()) -> None:
        """`moved` is called after each transaction that has moved events."""
        self._database = database
        self._moved = moved
        self._times = times
        self._woken = asyncio.Event()
        self._leads = False
        self._failures = 0
        self._task: asyncio.Task[None] | None = None
        self._oldest_since: float | None = None
        """When the oldest row that this process knows of was written, by the event loop's clock."""
        self.events = 0
        """Events that this process has moved since its start."""

    @property
    def oldest_age(self) -> float:
        """Seconds since the oldest row of the outbox was written, as this process has seen it last; 0 if there was
        none. It grows while the database is away."""
        if self._oldest_since is None:
            return 0.0
        return max(0.0, asyncio.get_running_loop().time() - self._oldest_since)

    def _see_oldest(self, age: float | None) -> None:
        """Remember the oldest row by its age in seconds; None if the outbox is empty."""
        self._oldest_since = None if age is None else asyncio.get_running_loop().time() - age

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="relay")

    def wake(self) -> None:
        """Look soon: this process has just committed a row."""
        self._woken.set()
        if self._oldest_since is None:
            self._see_oldest(0.0)

    async def close(self, grace: float) -> None:
        """Stop. What this process has committed is moved before, if that takes no longer than `grace` seconds."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        if self._woken.is_set():
            with suppress(DatabaseError, TimeoutError):  # any other relay moves it, or the next start's
                async with asyncio.timeout(grace):
                    await self.move()

    async def move(self) -> Move:
        """Move rows of the outbox, the oldest first, in one transaction. Raises Conflict when another relay has
        committed first; Unavailable; OutcomeUnknown, which does no harm: the rows are gone from the outbox, or the next
        call finds them."""
        async with self._database.begin() as transaction:
            rows = await transaction.fetch(_READ_OUTBOX)
            if not rows:
                self._see_oldest(None)
                return Move(0, complete=True)
            chosen = _choose(rows)
            ids, complete = [str(row["id"]) for row in chosen], len(chosen) == len(rows)
            newest, events = rows[0]["newest"], sum(row["events"] for row in chosen)
            inserted = await transaction.execute(_MOVE, newest, ids)
            assert inserted == f"INSERT 0 {events}", "a row of the outbox has as many events as it says"
            await transaction.execute(_DELETE_MOVED, ids)
            sold_out = await _find_sold_out(transaction, chosen, ids, complete)
            for number, product in enumerate(sold_out, start=newest + events + 1):
                await _insert_sold_out(transaction, number, product)
            await transaction.commit()
        self._see_oldest(None if complete else rows[len(chosen)]["age"])
        events += len(sold_out)
        self.events += events
        self._moved()
        return Move(events, complete)

    async def look(self) -> None:
        """Move what waits, and decide whether this relay leads. After an error, and when it is cancelled, the next look
        is due soon, and `close` knows that something waits. Raises Conflict, Unavailable, OutcomeUnknown."""
        woken = self._woken.is_set()
        self._woken.clear()
        try:
            if not (self._leads and woken):
                age = await self._read_age()
                if age is None:
                    return
                if age < self._times.patience:  # another relay may be about to move the row
                    self._woken.set()
                    return
            complete = False
            while not complete:
                move = await self.move()
                complete = move.complete
                self._leads = move.events > 0
        except BaseException:
            self._woken.set()
            raise

    async def _run(self) -> None:
        while True:
            await self._wait()
            try:
                await self.look()
            except Conflict:
                self._leads = False
            except Exception as error:
                # A defect is caught too: without this task no event would reach anybody.
                self._failures += 1
                if self._failures == 1:
                    defect = None if isinstance(error, DatabaseError) else error
                    logger.warning(
                        "events wait in the outbox, and cannot be moved yet: %s; this is tried again. If it goes on, "
                        "look at /readyz; report a traceback",
                        error,
                        exc_info=defect,
                    )
            else:
                if self._failures:
                    logger.info("events are moved from the outbox again, after %d failures", self._failures)
                self._failures = 0

    async def _wait(self) -> None:
        """Wait until the next look is due."""
        times = self._times
        if self._failures:
            await asyncio.sleep(times.gather + times.backoff.delay(self._failures))
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_jittered(times.idle)):
                await self._woken.wait()
        if self._woken.is_set():
            await asyncio.sleep(_jittered(times.gather if self._leads else times.patience))

    async def _read_age(self) -> float | None:
        """Seconds since the oldest row of the outbox was written; None if there is no row. Raises Conflict,
        Unavailable."""
        rows = await self._database.fetch(_READ_AGE)
        age: float | None = rows[0]["age"]
        self._see_oldest(age)
        return age


def _choose(rows: list[Record]) -> list[Record]:
    """The first rows that have MAX_EVENTS together at most; the first one in any case."""
    events = 0
    for number, row in enumerate(rows[:MAX_ROWS]):
        events += row["events"]
        if events > MAX_EVENTS and number:
            return rows[:number]
    return rows[:MAX_ROWS]


async def _find_sold_out(
    transaction: Transaction, moved: Iterable[Record], ids: list[str], complete: bool
) -> list[Product]:
    """The products of which the moved rows took units, and of which none is left.

    It is true at the transaction's snapshot. No single purchase can know it: of two that take the last units from two
    shards at the same moment, each sees the units of the other. While rows of a product are left in the outbox, the
    event waits for them, so that the same moment is not found twice.
    """
    products: set[UUID] = {row["product_id"] for row in moved if row["units"] > 0}
    if products and not complete:
        products -= {row["product_id"] for row in await transaction.fetch(_PRODUCTS_LEFT, ids)}
    found = await get_products(transaction, products) if products else {}
    return [product for product in found.values() if product.stock == 0]


async def _insert_sold_out(transaction: Transaction, position: int, product: Product) -> None:
    """The id of the event derives from the version of the product's stock, at which there was no unit left."""
    event_id = uuid.uuid5(_SOLD_OUT_NAMESPACE, f"{product.id}:{product.version}")
    data = orjson.dumps(product_data(product)).decode()
    await transaction.execute(_INSERT_SOLD_OUT, position, event_id, EventType.PRODUCT_SOLD_OUT, product.id, data)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(1.0, 1.33)  # noqa: S311
