"""The purchase: one transaction that decides a group of purchases, cancellations and restocks of one product.

It sells exactly the stock: every rival writes the product's inventory row, and the first to commit wins. So what this
transaction has read is as safe as what it has written: the buyers' held units, and the orders of the same ids.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

from api.database.database import Database
from api.database.errors import Conflict, OutcomeUnknown
from api.database.pool import TRANSACTION_TIMEOUT, Transaction
from api.drops.decisions import Decision, Purchase, Request, RestockRequest, Sale, Snapshot
from api.drops.errors import NotFound
from api.drops.orders import SELECT_ORDERS, Order, order_of
from api.drops.products import SELECT_PRODUCTS, Product, product_of

_READ_PRODUCT = f"SELECT now() AS now, product.* FROM ({SELECT_PRODUCTS} WHERE products.id = $1) AS product"
_READ_ORDERS = f"{SELECT_ORDERS} WHERE id = ANY($1::text[]::uuid[])"
_READ_HELD = """
SELECT user_ref, coalesce(sum(quantity) FILTER (WHERE status = 'CONFIRMED'), 0) AS held
FROM orders WHERE user_ref = ANY($2::text[]) AND product_id = $1 GROUP BY user_ref
"""
_READ_RESTOCKS = "SELECT id, delta FROM restocks WHERE id = ANY($1::text[]::uuid[])"
_TAKE_UNITS = """
UPDATE inventory SET stock = stock - $2, stocked = stocked + $3, version = version + 1
WHERE product_id = $1 AND stock >= $2 RETURNING stock, stocked, version
"""
_INSERT_ORDERS = """
INSERT INTO orders (id, product_id, user_ref, quantity, status, region)
SELECT batch.id, $1, batch.user_ref, batch.quantity, 'CONFIRMED', $2
FROM unnest($3::text[]::uuid[], $4::text[], $5::text[]::integer[]) AS batch (id, user_ref, quantity)
"""
_INSERT_RESTOCKS = """
INSERT INTO restocks (id, product_id, delta)
SELECT batch.id, $1, batch.delta FROM unnest($2::text[]::uuid[], $3::text[]::integer[]) AS batch (id, delta)
"""
_CANCEL_ORDERS = """
UPDATE orders SET status = 'CANCELLED' WHERE id = ANY($1::text[]::uuid[]) AND status = 'CONFIRMED' RETURNING id
"""


@dataclass(frozen=True, slots=True)
class Batch:
    """What one transaction did: a decision for each request, in their order.

    `product`: as the transaction left it; None when there is no such product. `region`: the Region that decided.
    `committed`: whether it changed anything; otherwise it was rolled back.
    """

    decisions: list[Decision]
    product: Product | None
    region: str
    committed: bool


class GroupFailed(Exception):
    """The transaction changed nothing. If `error` is OutcomeUnknown, it is not known whether it did.

    `error`: what ended the transaction, at the endpoint of `region`. `sale`: what had been decided by then.
    Its `settled` decisions are true all the same. Its other decisions are not.
    """

    def __init__(self, error: Exception, region: str, sale: Sale | None) -> None:
        super().__init__(str(error))
        self.error = error
        self.region = region
        self.sale = sale

    @property
    def unknown(self) -> Sale | None:
        """What was to be written by a COMMIT whose outcome is unknown; None if no COMMIT was sent."""
        return self.sale if isinstance(self.error, OutcomeUnknown) else None


async def execute_group(
    database: Database, product_id: UUID, requests: Sequence[Request], timeout: float = TRANSACTION_TIMEOUT
) -> Batch:
    """Decide all requests, which are of this one product, in one transaction: all of it or nothing.

    `timeout` in seconds, up to the COMMIT. Raises GroupFailed. After a Conflict, Unavailable or OutcomeUnknown the
    caller runs the group again. Any other error shows that one of the requests can never be executed.
    """
    region = database.region  # when an error arrives, `database` can already use another
    sale: Sale | None = None
    try:
        async with database.begin(timeout) as transaction:
            region = transaction.region
            row = await transaction.fetchrow(_READ_PRODUCT, product_id)
            if row is None:
                missing = [NotFound(f"there is no product {product_id}") for _ in requests]
                return Batch([*missing], None, region, committed=False)
            product = product_of(row)
            orders = await _read_orders(transaction, requests)
            restocks = await _read_restocks(transaction, requests)
            held = await _read_held(transaction, product, requests)

            sale = Sale(Snapshot(row["now"], product, orders, restocks, held), region)
            for request in requests:
                sale.decide(request)
            if not sale.written:
                return Batch(sale.decisions, product, region, committed=False)  # a read conflicts with nobody

            product = await _take_units(transaction, product, sale.units, sale.stocked)
            await _insert_orders(transaction, product_id, sale.confirmed)
            await _cancel_orders(transaction, sale.cancelled)
            await _insert_restocks(transaction, product_id, sale.restocked)
            await transaction.commit()
            return Batch(sale.decisions, product, region, committed=True)
    except Exception as error:
        raise GroupFailed(error, region, sale) from error


async def _read_orders(transaction: Transaction, requests: Sequence[Request]) -> dict[UUID, Order]:
    ids = [str(request.order_id) for request in requests if not isinstance(request, RestockRequest)]
    rows = await transaction.fetch(_READ_ORDERS, ids) if ids else []
    return {row["id"]: order_of(row) for row in rows}


async def _read_restocks(transaction: Transaction, requests: Sequence[Request]) -> dict[UUID, int]:
    """The deltas of the restocks that are stored, by their ids."""
    ids = [str(request.restock_id) for request in requests if isinstance(request, RestockRequest)]
    rows = await transaction.fetch(_READ_RESTOCKS, ids) if ids else []
    return {row["id"]: row["delta"] for row in rows}


async def _read_held(transaction: Transaction, product: Product, requests: Sequence[Request]) -> dict[str, int]:
    """Units in confirmed orders of each buyer; nothing for a product without a limit per buyer."""
    if product.limit_per_buyer is None:
        return {}
    buyers = list({request.user_ref for request in requests if isinstance(request, Purchase)})
    if not buyers:
        return {}
    return {row["user_ref"]: row["held"] for row in await transaction.fetch(_READ_HELD, product.id, buyers)}


async def _take_units(transaction: Transaction, product: Product, units: int, stocked: int) -> Product:
    """Take units from the stock, or add them to it when `units` is negative. `stocked` are added to the units ever put
    in. Returns the product after that."""
    row = await transaction.fetchrow(_TAKE_UNITS, product.id, units, stocked)
    if row is None:
        # Cannot happen at snapshot isolation, where a changed row is a conflict; guarded for any other.
        raise Conflict("the stock changed between read and write")
    left = replace(product, stock=row["stock"], stocked=row["stocked"], version=row["version"])
    assert left.stock == product.stock - units, "units taken equal units sold"
    assert left.version > product.version, "versions rise"
    return left


async def _insert_orders(transaction: Transaction, product_id: UUID, confirmed: Sequence[Order]) -> None:
    if not confirmed:
        return
    await transaction.execute(
        _INSERT_ORDERS,
        product_id,
        transaction.region,
        [str(order.id) for order in confirmed],
        [order.user_ref for order in confirmed],
        [str(order.quantity) for order in confirmed],
    )


async def _cancel_orders(transaction: Transaction, cancelled: Sequence[Order]) -> None:
    if not cancelled:
        return
    changed = await transaction.fetch(_CANCEL_ORDERS, [str(order.id) for order in cancelled])
    if len(changed) != len(cancelled):
        # Cannot happen at snapshot isolation, where a changed row is a conflict; guarded for any other.
        raise Conflict("an order was cancelled between read and write")


async def _insert_restocks(transaction: Transaction, product_id: UUID, restocked: Sequence[RestockRequest]) -> None:
    if not restocked:
        return
    ids, deltas = [str(restock.restock_id) for restock in restocked], [str(restock.delta) for restock in restocked]
    await transaction.execute(_INSERT_RESTOCKS, product_id, ids, deltas)
