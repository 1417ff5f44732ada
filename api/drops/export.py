"""The export of orders: all orders of a product or of all products, as they are at one moment."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from api.database.database import Database
from api.database.pool import Transaction
from api.database.retry import RetryBudget, run_again
from api.drops.errors import NotFound
from api.drops.keyset import EARLIEST, FIRST_ID, LATEST
from api.drops.operator_log import Step, write_steps
from api.drops.order_search import CONDITIONS
from api.drops.orders import SELECT_ORDERS, Order, OrderStatus, order_of

DEADLINE = 280.0
"""Seconds for a whole export. Aurora DSQL ends a transaction after 300."""

PAGE = 500
"""Orders of one statement. The driver decodes them in one step of the event loop: 1 ms (measured on 2 shared cores)."""

KEPT_NAMES = 10_000
"""Names of products that an export of all products keeps, at most."""

_READ_SUMS = """
SELECT clock_timestamp() AS at, coalesce(sum(stocked), 0)::bigint AS stocked, coalesce(sum(stock), 0)::bigint AS stock
FROM stock_shards
"""
_READ_NAMES = "SELECT id, name FROM products WHERE id = ANY($1::text[]::uuid[])"


@dataclass(frozen=True, slots=True)
class ExportedOrder:
    """An order, and the name of its product; None if there is no such product."""

    order: Order
    product_name: str | None


@dataclass(frozen=True, slots=True)
class ExportFilter:
    """Which orders are exported; None for what does not matter. `since` is included, `until` is not."""

    product_id: UUID | None = None
    status: OrderStatus | None = None
    since: datetime | None = None
    until: datetime | None = None


class Export:
    """An export that has begun. `stocked` and `stock` are the sums of all exported products at the moment `at`. Without
    a filter, `stocked - stock` are the units of the held and the confirmed orders."""

    def __init__(self, transaction: Transaction, chosen: ExportFilter, at: datetime, stocked: int, stock: int) -> None:
        self._transaction = transaction
        self._filter = chosen
        self._names: dict[UUID, str] = {}
        self.at = at
        self.stocked = stocked
        self.stock = stock

    async def pages(self) -> AsyncIterator[Iterator[ExportedOrder]]:
        """The orders of one product, oldest first; or those of all products, by id. An order of a page is made when it
        is taken. Raises Conflict, Unavailable."""
        place = (self._filter.since or EARLIEST, FIRST_ID)
        while True:
            statement, arguments = self._page_after(*place)
            rows = await self._transaction.fetch(statement, *arguments)
            await self.read_names({row["product_id"] for row in rows})
            yield (ExportedOrder(order_of(row), self._names.get(row["product_id"])) for row in rows)
            if len(rows) < PAGE:
                return
            place = rows[-1]["created_at"], rows[-1]["id"]

    def _page_after(self, created_at: datetime, order_id: UUID) -> tuple[str, list[object]]:
        """The statement for the page behind an order, and its arguments. Each page is a range of an index."""
        chosen = self._filter
        status = "true" if chosen.status is None else CONDITIONS[chosen.status]
        since, until = chosen.since or EARLIEST, chosen.until or LATEST
        if chosen.product_id is None:
            statement = f"""
{SELECT_ORDERS} WHERE id > $1 AND created_at >= $2 AND created_at < $3 AND {status} ORDER BY id LIMIT {PAGE}
"""
            return statement, [order_id, since, until]
        statement = f"""
{SELECT_ORDERS} WHERE (product_id, created_at, id) > ($1, $2, $3) AND (product_id, created_at) < ($1, $4) AND {status}
ORDER BY product_id, created_at, id LIMIT {PAGE}
"""
        return statement, [chosen.product_id, created_at, order_id, until]

    async def read_names(self, product_ids: set[UUID]) -> None:
        """Read the names of products that are not known yet."""
        missing = product_ids - self._names.keys()
        if not missing:
            return
        if len(self._names) > KEPT_NAMES:
            self._names.clear()
            missing = product_ids
        rows = await self._transaction.fetch(_READ_NAMES, [str(product_id) for product_id in missing])
        self._names.update((row["id"], row["name"]) for row in rows)

    def knows(self, product_id: UUID) -> bool:
        """Whether the product exists, once its name was to be read."""
        return product_id in self._names


@asynccontextmanager
async def exporting(database: Database, chosen: ExportFilter) -> AsyncIterator[Export]:
    """Begin an export: one transaction at snapshot isolation, which ends with the block or after DEADLINE seconds.

    Raises NotFound for an unknown product, Conflict, Unavailable.
    """
    async with database.begin_reading(DEADLINE) as transaction:
        # The first statement takes the snapshot that all others read.
        if chosen.product_id is None:
            sums = await transaction.fetch(_READ_SUMS)
        else:
            sums = await transaction.fetch(f"{_READ_SUMS} WHERE product_id = $1", chosen.product_id)
        export = Export(transaction, chosen, *sums[0].values())
        if chosen.product_id is not None:
            await export.read_names({chosen.product_id})
            if not export.knows(chosen.product_id):
                raise NotFound(f"there is no product {chosen.product_id}")
        yield export


async def record_export(database: Database, step: Step) -> None:
    """Write an export into the operator log. Raises Conflict, Unavailable, OutcomeUnknown."""

    async def attempt() -> None:
        async with database.begin() as transaction:
            await write_steps(transaction, [step])
            await transaction.commit()

    await run_again(attempt, RetryBudget(), safe_after_lost_commit=False)
