"""Lapsing: orders whose hold has run out give their units back.

Every process looks for them, and any of them can end a hold: a server that starts ends those that ran out while none
was running. Whether a hold has run out is decided in the transaction, by the database's clock.
"""

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from uuid import UUID

from api.database.backoff import Backoff
from api.database.database import Database
from api.database.errors import DatabaseError
from api.drops.decisions import Lapsed
from api.drops.errors import DropError
from api.drops.group_commit import GroupCommit
from api.drops.requests import LapseRequest

logger = logging.getLogger("dropzero.holds")

SHORTEST_PAUSE, LONGEST_PAUSE = 2.0, 4.5
"""Seconds from one look at the holds to the next, so that each is ended within 5 s. Each pause is random, so that
processes do not end the same holds at the same moment."""

LOOKS = 2
"""Looks at a time. While one ends 100,000 holds of a product, or waits for a slow line, the other one ends those of
other products."""

WINDOW = 1600
"""Holds that one look reads at most, of those that have run out the earliest."""

PARTS = 16
"""Where many holds of a product have run out, a process ends them in so many parts, in a random order. The part of a
hold follows from its id, so that processes which end different parts do not conflict."""

MAX_LAPSED = 100
"""Holds that one request ends at most. Each writes its order, an index entry and perhaps its buyer's holding: with a
full group of purchases, see GroupPolicy.size, that is fewer than the 3,000 rows that Aurora DSQL allows."""

PACE = 0.035
"""Seconds from one request of a product to its next, at least, so that purchases keep most of the processor:
without it, they kept two thirds of their rate, and 100,000 holds were ended in 20 s."""

PRODUCTS_AT_ONCE = 8
"""Products whose holds are ended at the same time."""

CLIENT = "holds that ran out"
"""The client of these requests in the lines."""

READ_HOLDS = f"""
SELECT id, product_id, user_ref, extract(epoch FROM now() - held_until)::float8 AS overdue FROM orders
WHERE held_until <= now() AND NOT product_id = ANY($1::text[]::uuid[])
ORDER BY held_until, product_id, id LIMIT {WINDOW}
"""


class Lapsing:
    """Ends the holds that have run out, from `start` to `close`."""

    def __init__(self, database: Database, group_commit: GroupCommit, backoff: Backoff = Backoff(base=0.5, cap=5.0)):
        """`backoff` is added to the pauses while the database is away."""
        self._database = database
        self._group_commit = group_commit
        self._backoff = backoff
        self._tasks: list[asyncio.Task[None]] = []
        self.busy: set[UUID] = set()
        """The products whose holds are being ended."""
        self._failures = 0
        self.overdue = 0.0
        """Seconds since the oldest hold ran out that the last look has found; 0 if it has found none."""
        self._stuck: set[UUID] = set()
        """Products whose holds cannot be ended. Each is logged once."""
        self.lapsed = 0
        """Orders that this process has ended since its start."""

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run(), name="lapsing") for _ in range(LOOKS)]

    async def close(self) -> None:
        """Stop. A request that is in a line already is answered by the line."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def end_holds(self) -> float:
        """End the holds that have run out, up to WINDOW, but for products whose holds are being ended already. Returns
        how many seconds later to look again. Raises Conflict, Unavailable, OutcomeUnknown; holds that have not been
        ended by then are found again."""
        rows = await self._database.fetch(READ_HOLDS, [str(product_id) for product_id in self.busy])
        oldest = rows[0]["overdue"] if rows else 0.0
        self.overdue = max(oldest, self.overdue) if self.busy else oldest  # the other look's holds are not among these
        due: defaultdict[UUID, list[tuple[UUID, str]]] = defaultdict(list)
        for order_id, product_id, user_ref, _ in rows:
            if product_id not in self.busy:  # another look has read them at the same time
                due[product_id].append((order_id, user_ref))
        limit = asyncio.Semaphore(PRODUCTS_AT_ONCE)
        ending = (self._end_holds_of(product_id, orders, limit) for product_id, orders in due.items())
        self.busy |= due.keys()
        before = self.lapsed
        try:
            failures = await asyncio.gather(*ending, return_exceptions=True)
        finally:
            self.busy -= due.keys()
        for failure in failures:
            if failure is not None:
                raise failure
        # A look that ended nothing is not repeated at once: its lines are too long, or its holds cannot be ended.
        return 0.0 if len(rows) == WINDOW and self.lapsed > before else _pause()

    async def _run(self) -> None:
        pause = _pause()
        while True:
            await asyncio.sleep(pause)
            try:
                pause = await self.end_holds()
            except Exception as error:
                # A defect is caught too: without this task, units would stay blocked for ever.
                self._failures += 1
                if self._failures == 1:
                    defect = None if isinstance(error, DatabaseError) else error
                    logger.warning(
                        "holds that have run out cannot be ended yet: %s; this is tried again. If it goes on, look at "
                        "/readyz; report a traceback",
                        error,
                        exc_info=defect,
                    )
                pause = self._backoff.delay(self._failures)
            else:
                if self._failures:
                    logger.info("holds that run out are ended again, after %d failures", self._failures)
                self._failures = 0

    async def _end_holds_of(
        self, product_id: UUID, orders: Sequence[tuple[UUID, str]], limit: asyncio.Semaphore
    ) -> None:
        """End holds of one product, one request after the other."""
        lapsed = 0
        async with limit:
            try:
                for part in _parts(orders):
                    next_at = asyncio.get_running_loop().time() + PACE
                    decision = (await self._group_commit.submit(LapseRequest(product_id, part), CLIENT)).decision
                    lapsed += decision.orders if isinstance(decision, Lapsed) else 0  # else the line is too long
                    await asyncio.sleep(max(0.0, next_at - asyncio.get_running_loop().time()))
                self._stuck.discard(product_id)
            except DropError as error:
                if product_id not in self._stuck:  # each look finds them again
                    logger.error(
                        "holds of the product %s cannot be ended: %s; run dropzero audit, and report it",
                        product_id,
                        error,
                    )
                self._stuck.add(product_id)
            finally:
                self.lapsed += lapsed
                if lapsed:
                    logger.debug(
                        "holds of the product %s that ran out, whose units are on sale: %d", product_id, lapsed
                    )


def _pause() -> float:
    return random.uniform(SHORTEST_PAUSE, LONGEST_PAUSE)  # noqa: S311


def _parts(orders: Sequence[tuple[UUID, str]]) -> Iterable[tuple[tuple[UUID, str], ...]]:
    if len(orders) <= MAX_LAPSED:
        return [tuple(orders)]
    parts: list[list[tuple[UUID, str]]] = [[] for _ in range(PARTS)]
    for order in orders:
        parts[order[0].int % PARTS].append(order)
    random.shuffle(parts)
    return [tuple(part[:MAX_LAPSED]) for part in parts if part]
